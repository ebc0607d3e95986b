"""`facedb calibrate`."""

from __future__ import annotations

import click

from facedb.cli.options import (
    SHARE,
    Shared,
    aggregation_option,
    model_options,
    progress_bar,
    shared,
)
from facedb.render import as_json
from facedb.render_evaluation import calibration_text


@click.command("calibrate", short_help="Set the threshold by photos of strangers.")
@click.argument("strangers", metavar="[STRANGERS]", required=False)
@click.option(
    "--fpir",
    "wanted",
    type=SHARE,
    default=0.01,
    show_default=True,
    metavar="SHARE",
    help="The share of strangers that may be accepted.",
)
@click.option(
    "--leave-out",
    is_flag=True,
    help="Without strangers: hold the enrolled people out of the gallery in turn.",
)
@click.option("--reset", is_flag=True, help="Decide by the encoder's own threshold again.")
@click.option("--keep", is_flag=True, help="Keep the strangers' embeddings in the gallery.")
@aggregation_option()
@shared
@model_options
def calibrate_command(
    options: Shared,
    strangers: str | None,
    wanted: float,
    leave_out: bool,
    reset: bool,
    keep: bool,
) -> int:
    """Find the threshold at which at most a share of strangers is accepted, and decide by it.

    STRANGERS holds photos of people who are not enrolled: a folder per person, or loose photos of
    different people. A share of 0.01 needs 300 of them. The gallery keeps what was measured; query
    and evaluate use it, and query says how many strangers would come as close.

    \b
      facedb calibrate strangers/ --fpir 0.01
      facedb calibrate --leave-out
      facedb calibrate --reset
    """
    if sum((strangers is not None, leave_out, reset)) != 1:
        raise click.UsageError("give one of a folder of strangers, --leave-out and --reset")
    if reset:
        return _reset(options)
    with options.open() as db, progress_bar("calibrating") as progress:
        report = db.calibrate(strangers, wanted, keep=keep, progress=progress)
    for refusal in report.refused:
        click.echo(f"not counted: {refusal.path}: {refusal.reason}", err=True)
    click.echo(as_json("calibrate", report) if options.as_json else calibration_text(report))
    return 0


def _reset(options: Shared) -> int:
    with options.open() as db:
        there = db.forget_calibration()
        threshold = db.threshold
    if options.as_json:
        click.echo(as_json("reset", {"calibrated": there, "threshold": threshold}))
    else:
        words = "the calibration is forgotten" if there else "nobody had calibrated"
        limit = "none" if threshold is None else f"{threshold:.3f}"
        click.echo(f"{options.gallery}: {words}; the encoder's threshold decides: {limit}")
    return 0
