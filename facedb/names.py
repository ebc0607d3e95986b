"""The names of people: how they are stored, and when two are nearly one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

from facedb.errors import InputError

_NOT_OF_A_LINE = ("Cc", "Zl", "Zp")
"""Unicode's categories of controls and of ends of lines; joiners belong to letters."""

_NO_LETTERS = re.compile(r"[\W_]+")


def checked_name(name: str) -> str:
    """A person's name in Unicode's composed form, as folder names are; InputError for none."""
    name = composed(name)
    if not name.strip():
        raise InputError("a person needs a name")
    if any(unicodedata.category(letter) in _NOT_OF_A_LINE for letter in name):
        raise InputError(f"{name!r}: a name is one line of printable characters")
    return name


def composed(text: str) -> str:
    """In the form that names are stored in; InputError for what is no text."""
    if not isinstance(text, str):
        raise InputError(f"a {type(text).__name__} is no name: a person's is text")
    if not is_text(text):
        raise InputError(f"{text!r}: a name is text that UTF-8 can hold")
    return unicodedata.normalize("NFC", text)


def is_text(name: str) -> bool:
    """Whether UTF-8 can hold it: bytes of a file's name that are no UTF-8 cannot be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def bare(name: str) -> str:
    """The letters, marks and digits of a name, without case; the name where it has none."""
    if name.isascii():  # most are, and there may be a hundred thousand
        return _NO_LETTERS.sub("", name).casefold() or name
    kept = (letter for letter in name.casefold() if unicodedata.category(letter)[0] in "LMN")
    return "".join(kept) or name


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Which of these names was meant, accents and case aside; None where none is near."""
    plain = {_plain(other): other for other in sorted(names)}
    near = get_close_matches(_plain(name), plain, 1)
    return plain[near[0]] if near else None


def _plain(name: str) -> str:
    parts = unicodedata.normalize("NFKD", name.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))
