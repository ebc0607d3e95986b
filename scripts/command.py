"""Commands of the scripts: help as it is written, and a message where facedb has one to give."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

import click


class Script(click.Command):
    """For `click.command(cls=Script)`."""

    def __init__(self, *names: Any, **options: Any) -> None:
        options["help"] = verbatim(options.get("help") or "")
        super().__init__(*names, **options)

    def invoke(self, context: click.Context) -> Any:
        from facedb.errors import FacedbError

        try:
            return super().invoke(context)
        except FacedbError as error:
            click.echo(f"error: {error}", err=True)
            context.exit(error.exit_code)


class Scripts(Script, click.Group):
    """For `click.group(cls=Scripts)`."""

    command_class = Script


def verbatim(text: str) -> str:
    """The help text, of which click leaves paragraphs with indented lines as they are."""
    paragraphs = cleandoc(text).split("\n\n")
    laid_out = (any(line.startswith("  ") for line in one.splitlines()) for one in paragraphs)
    return "\n\n".join(
        f"\b\n{one}" if kept else one for one, kept in zip(paragraphs, laid_out, strict=True)
    )
