"""`facedb evaluate`."""

from __future__ import annotations

import click

from facedb.cli.options import Shared, model_options, progress_bar, shared, threshold_option
from facedb.render import as_json, evaluation_text


class _Ranks(click.ParamType[tuple[int, ...]]):
    name = "ranks"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is not a list of ranks such as 1,5,10", param, ctx)
        return tuple(sorted({int(part) for part in parts}))


@click.command("evaluate")
@click.argument("folder", metavar="DIR")
@click.option(
    "-k",
    "--k",
    "ks",
    type=_Ranks(),
    default="1,5,10",
    show_default=True,
    metavar="K,...",
    help="The ranks to report.",
)
@shared
@model_options
@threshold_option
def evaluate_command(options: Shared, folder: str, ks: tuple[int, ...]) -> int:
    """Identify every photo of DIR, which holds a folder per person, and count.

    A photo of an enrolled person is a mated probe, any other a non-mated one. When nobody in DIR
    is enrolled, each photo is searched among the others. Photos of the gallery are left out.

    \b
      facedb evaluate data/val
      facedb evaluate data/val --k 1,5,20 --json
    """
    from facedb.evaluation.protocol import evaluate

    with options.open() as db, progress_bar("evaluating") as progress:
        report = evaluate(db, folder, ks, progress)
    for refusal in report.refused:
        click.echo(f"no template: {refusal.path}: {refusal.reason}", err=True)
    click.echo(as_json("evaluate", report) if options.as_json else evaluation_text(report))
    return 0
