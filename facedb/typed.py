"""The command that a message tells its reader to type."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

DEFAULT_GALLERY = "facedb.gallery"


def typed(
    command: str,
    *words: str | os.PathLike[str],
    gallery: str | os.PathLike[str] | None = None,
    options: Sequence[str | os.PathLike[str]] = (),
) -> str:
    """A line that a shell takes as it stands.

    Args:
        command: "index", "people merge".
        words: its arguments, names with a leading dash among them.
        gallery: the one it is of; the usual one goes without saying, None is left out.
        options: such as "--photo", FILE.
    """
    arguments = [os.fspath(word) for word in words]
    named = DEFAULT_GALLERY if gallery is None else os.fspath(gallery)
    usual = gallery is None or (named == DEFAULT_GALLERY and "FACEDB_GALLERY" not in os.environ)
    given = [*([] if usual else ["-g", named]), *(os.fspath(option) for option in options)]
    if any(word.startswith("-") for word in arguments):
        return shlex.join(["facedb", *command.split(), *given, "--", *arguments])
    return shlex.join(["facedb", *command.split(), *arguments, *given])
