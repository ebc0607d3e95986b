"""`facedb people list|show|doubts|rename|merge|remove`."""

from __future__ import annotations

import click

from facedb.cli.options import Shared, shared
from facedb.render import as_json, counted, people_text, person_text
from facedb.render_index import doubts_text


@click.group("people")
def people_command() -> None:
    """Who is enrolled: list, show, doubts, rename, merge, remove.

    \b
      facedb people list
      facedb people show "Ada Lovelace"
      facedb people doubts
      facedb people rename ada "Ada Lovelace"
      facedb people merge "A. Lovelace" "Ada Lovelace"
      facedb people remove "Ada Lovelace"
    """


@people_command.command("list")
@shared
def list_command(options: Shared) -> None:
    """Everyone enrolled, by name.

    \b
      facedb people list --json
    """
    with options.open() as db:
        people = db.people.list()
    if options.as_json:
        click.echo(as_json("people", {"people": [_fields(person) for person in people]}))
    else:
        click.echo(people_text(people))


@people_command.command("show")
@click.argument("name")
@shared
def show_command(options: Shared, name: str) -> None:
    """One person: templates, their files, and files that were left out.

    \b
      facedb people show "Ada Lovelace"
    """
    with options.open() as db:
        details = db.people.show(name)
    click.echo(as_json("person", details) if options.as_json else person_text(details))


@people_command.command("doubts")
@click.argument("name", required=False)
@shared
def doubts_command(options: Shared, name: str | None) -> None:
    """Enrolled photos worth a look, of everyone or of NAME.

    Those whose face is hard to recognise, those that show several faces, and those that look like
    somebody else and unlike the person's other photos, as one in a wrong folder does; and people
    who seem to be enrolled under several names.

    \b
      facedb people doubts
      facedb people doubts "Ada Lovelace" --json
    """
    with options.open() as db:
        doubts = db.doubts(name)
    if options.as_json:
        click.echo(as_json("doubts", doubts))
    else:
        click.echo(doubts_text(doubts, options.gallery))


@people_command.command("rename")
@click.argument("name")
@click.argument("new")
@shared
def rename_command(options: Shared, name: str, new: str) -> None:
    """Give NAME the name NEW.

    The old name stays as an alias: indexing the same folder again adds to the same person.

    \b
      facedb people rename ada "Ada Lovelace"
    """
    with options.open() as db:
        person = db.people.rename(name, new)
    words = f"{name} is now {person.name}; the folder name {name} still leads to them"
    click.echo(as_json("renamed", {"person": _fields(person)}) if options.as_json else words)


@people_command.command("merge")
@click.argument("name")
@click.argument("into")
@shared
def merge_command(options: Shared, name: str, into: str) -> None:
    """NAME and INTO are one person: give NAME's templates to INTO.

    \b
      facedb people merge "A. Lovelace" "Ada Lovelace"
    """
    with options.open() as db:
        person = db.people.merge(name, into)
    held = counted(person.templates, "template")
    words = f"{person.name} has {held} now; {name} leads to them"
    click.echo(as_json("merged", {"person": _fields(person)}) if options.as_json else words)


@people_command.command("remove")
@click.argument("name")
@click.option(
    "--photo",
    "photos",
    multiple=True,
    metavar="FILE",
    help="Only what was enrolled from this file, as `people show` lists it; may be repeated.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared
def remove_command(options: Shared, name: str, photos: tuple[str, ...], yes: bool) -> int:
    """Remove NAME for good: vectors, index entries, file names, aliases. Files stay where they are.

    \b
      facedb people remove "Ada Lovelace" --yes
      facedb people remove "Ada Lovelace" --photo photos/ada/blurred.jpg
    """
    with options.open() as db:
        found = db.people.find(name)
        if not yes and (found is not None or db.people.refused(name)):
            own = name if found is None else found.name
            whom = name if own == name else f"{own}, to whom {name} leads,"
            held = counted(0 if found is None else found.templates, "template")
            what = f"{whom} and all that is theirs ({held})"
            if photos:
                what = f"{counted(len(photos), 'photo')} of {own} (who has {held})"
            if not _confirmed(f"remove {what}?"):
                click.echo("nothing was removed" if photos else "nobody was removed", err=True)
                return 1
        removal = db.people.remove_photos(name, photos) if photos else db.people.remove(name)
    for folder in removal.folders:
        click.echo(f"{folder} still holds their photos; enrolled again, they are back", err=True)
    held = counted(removal.templates, "template")
    words = f"removed {held} of {removal.name}" if photos else f"removed {removal.name}: {held}"
    click.echo(as_json("remove", removal) if options.as_json else words)
    return 0


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):  # and not Ctrl-C
            click.echo(err=True)
            raise click.UsageError("nobody is there to answer; to remove unasked: --yes") from error
        raise


def _fields(person: object) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(person)  # type: ignore[call-overload,no-any-return]
