"""`facedb gallery info|check|rebuild|reencode|export`."""

from __future__ import annotations

from functools import partial

import click

from facedb.cli.options import Shared, model_options, progress_bar, shared
from facedb.render import as_json, counted, gallery_text
from facedb.typed import typed


@click.group("gallery")
def gallery_command() -> None:
    """Look after a gallery: info, check, rebuild, reencode, export.

    \b
      facedb gallery info
      facedb gallery check
      facedb gallery rebuild --index ivf
      facedb gallery reencode --encoder runs/mine/encoder
      facedb gallery export vectors
    """


@gallery_command.command("info", short_help="What it holds, and the terms of its encoder.")
@shared
def info_command(options: Shared) -> None:
    """What the gallery holds, and what its encoder is and may be used for.

    \b
      facedb gallery info -g family.gallery
    """
    with options.open() as db:
        info = db.info()
    click.echo(as_json("gallery", info) if options.as_json else gallery_text(info))


@gallery_command.command("check", short_help="Read every byte, and say what is wrong.")
@shared
def check_command(options: Shared) -> int:
    """Read every byte of the store and the index file, and compare them.

    Exits with 5 when something is wrong; an index file that is wrong is mended by
    `facedb gallery rebuild`. A gallery is backed up by copying its folder while nobody writes.

    \b
      facedb gallery check && cp -r facedb.gallery backup
    """
    with options.open() as db:
        wrong = db.gallery.check()
    if options.as_json:
        click.echo(as_json("check", {"sound": not wrong, "wrong": wrong}))
    else:
        click.echo("\n".join(wrong) if wrong else "sound")
    if wrong:
        click.echo(f"mend the index: {typed('gallery rebuild', gallery=options.gallery)}", err=True)
    return 5 if wrong else 0


@gallery_command.command("rebuild")
@click.option(
    "--index", "kind", type=click.Choice(["flat", "ivf"]), help="Make the index another kind."
)
@shared
def rebuild_command(options: Shared, kind: str | None) -> None:
    """Make the index file anew from the store.

    \b
      facedb gallery rebuild --index ivf
    """
    with options.open() as db:
        db.gallery.rebuild(kind)  # type: ignore[arg-type]
        count = db.gallery.store.count()
    words = f"{options.gallery}: index of {counted(count, 'template')} made anew"
    click.echo(as_json("rebuild", {"templates": count}) if options.as_json else words)


@gallery_command.command("reencode")
@click.option(
    "--drop-missing",
    is_flag=True,
    help="Drop templates whose photo is gone or shows no usable face.",
)
@shared
@partial(model_options, default="bundled")
def reencode_command(options: Shared, drop_missing: bool) -> None:
    """Make every template anew by another encoder or detector.

    The old templates answer until all new ones are there. Without options, the bundled encoder
    and the gallery's detector are taken. A calibration is of the old templates, and is forgotten.

    \b
      facedb gallery reencode --encoder runs/mine/encoder
    """
    from facedb.store import Measurements

    with options.open() as db, progress_bar("re-encoding") as progress:
        calibrated = Measurements(db.gallery.store).operating_point(db.settings.aggregation)
        report = db.reencode(drop_missing=drop_missing, progress=progress)
    for refusal in report.dropped:
        click.echo(f"dropped: {refusal.path}: {refusal.reason}", err=True)
    if calibrated is not None:
        again = typed("calibrate", "STRANGERS", gallery=options.gallery)
        click.echo(f"the calibration was of the old templates: {again}", err=True)
    words = f"{options.gallery}: {counted(report.reencoded, 'template')} made anew"
    click.echo(as_json("reencode", report) if options.as_json else words)


@gallery_command.command("export")
@click.argument("target", metavar="NAME")
@shared
def export_command(options: Shared, target: str) -> None:
    """Write the vectors to NAME.npz and what they are of to NAME.csv.

    \b
      facedb gallery export vectors
    """
    from facedb.export import export

    with options.open() as db:
        report = export(db.gallery.store, target)
    words = f"{counted(report.templates, 'template')}: {report.vectors}, {report.metadata}"
    click.echo(as_json("export", report) if options.as_json else words)
