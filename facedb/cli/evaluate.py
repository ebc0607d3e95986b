"""`facedb evaluate`."""

from __future__ import annotations

import click

from facedb.cli.options import Shared, deciding_options, model_options, progress_bar, shared
from facedb.render import as_json
from facedb.render_evaluation import evaluation_text


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


@click.command("evaluate", short_help="Identify the photos of DIR, and count how many are right.")
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
@click.option(
    "--split",
    metavar="FILE.json",
    help="Draw gallery, probes and strangers from DIR and store them in FILE by sha256; when FILE "
    "is there, take them from it.",
)
@click.option("--seed", type=int, help="Of the draw  [default: each person's first photo]")
@click.option(
    "--strangers",
    is_flag=True,
    help="Search the gallery though nobody in DIR is enrolled: how many strangers does it accept?",
)
@click.option("--force", is_flag=True, help="Take photos that the encoder was trained on, too.")
@click.option("--keep", is_flag=True, help="Keep the probes' embeddings in the gallery.")
@click.option("--report", "page", metavar="FILE.html", help="Write a page with curves, too.")
@click.option("--scores", metavar="FILE.csv", help="Write a row a probe: rank and distances.")
@click.option("--no-faces", is_flag=True, help="No photos of mistakes in the report.")
@shared
@model_options
@deciding_options
def evaluate_command(
    options: Shared,
    folder: str,
    ks: tuple[int, ...],
    split: str | None,
    seed: int | None,
    strangers: bool,
    force: bool,
    keep: bool,
    page: str | None,
    scores: str | None,
    no_faces: bool,
) -> int:
    """Identify every photo of DIR, which holds a folder per person, and count.

    A photo of an enrolled person is a mated probe, any other a non-mated one. When nobody in DIR
    is enrolled, each photo is searched among the others, or with --strangers in the gallery all
    the same. Photos of the gallery are left out.

    DIR may bring its own gallery: gallery/, probe/ and unknown/, or train/ and val/; or be LFW
    with its pairs.txt. Photos named distortion/NAME_KIND.jpg are counted apart, by kind.

    \b
      facedb evaluate data/val
      facedb evaluate data/val --k 1,5,20 --json
      facedb evaluate data --report figures.html --scores scores.csv
      facedb evaluate photos --split split.json --seed 1
    """
    from facedb.evaluation.protocol import EvaluationOptions, run_evaluation

    chosen = EvaluationOptions(ks, split, seed, force, keep, strangers)
    with options.open() as db, progress_bar("evaluating") as progress:
        if not strangers:  # who need it
            options.say_if_missing(db)
        report, trial = run_evaluation(db, folder, chosen, progress)
        for refusal in report.refused:
            click.echo(f"no template: {refusal.path}: {refusal.reason}", err=True)
        click.echo(as_json("evaluate", report) if options.as_json else evaluation_text(report))
        # Now: a file that cannot be written must not cost the figures.
        if page is not None:
            from facedb.evaluation.report import write_report

            write_report(report, trial, page, faces=not no_faces)
        if scores is not None:
            from facedb.evaluation.scores import write_scores

            write_scores(trial, report.threshold, scores)
    if page is scores is None and (report.fpir or report.tpir not in (1.0, None)):
        click.echo(
            "which ones: --report FILE.html shows the worst, --scores FILE.csv all", err=True
        )
    return 0
