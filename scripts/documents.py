"""Tables of measured figures, and the place where they stand in a document."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fill(document: Path, parts: Mapping[str, str]) -> None:
    """Put each part between `<!-- NAME -->` and the next `<!-- end -->` of a document.

    Raises:
        click.ClickException: a marker is missing; nothing was written then.
    """
    text = document.read_text(encoding="utf-8")
    for name, part in parts.items():
        begin = f"<!-- {name} -->"
        pattern = re.compile(re.escape(begin) + r".*?<!-- end -->", re.DOTALL)
        whole = f"{begin}\n\n{part}\n\n<!-- end -->"
        text, count = pattern.subn(lambda _, whole=whole: whole, text)
        if not count:
            raise click.ClickException(
                f"{document}: no {begin} ... <!-- end --> in it; put it back"
            )
    document.write_text(text, encoding="utf-8")
