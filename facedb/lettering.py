"""Words on pictures: in fonts that the system brings along, cut where the room ends."""

from __future__ import annotations

import math
import unicodedata
from functools import lru_cache
from typing import Any, Final, NamedTuple

from PIL import Image, ImageDraw, ImageFont

_BOLD: Final = (
    "NotoSans-Bold", "segoeuib", "Arial Bold", "arialbd", "LiberationSans-Bold", "DejaVuSans-Bold",
    "NotoSansCJK-Bold", "NotoSansJP-Bold", "YuGothB", "msyhbd", "malgunbd", "NirmalaB",
)  # fmt: skip
_REGULAR: Final = (
    "NotoSans-Regular", "segoeui", "Arial", "arial", "LiberationSans-Regular", "DejaVuSans",
    "NotoSansCJK-Regular", "NotoSansJP-Regular", "YuGothM", "msyh", "malgun", "Nirmala",
    "Hiragino Sans GB", "AppleSDGothicNeo", "Arial Unicode", "wqy-microhei", "FreeSans",
    "DroidSansFallbackFull", "NotoSansArabic-Regular", "NotoSansHebrew-Regular",
    "NotoSansDevanagari-Regular", "NotoSansBengali-Regular", "NotoSansTamil-Regular",
    "NotoSansThai-Regular",
)  # fmt: skip
"""Font files that systems bring along; the first that has all the letters is taken."""


class Ink(NamedTuple):
    """Size in pixels, colour as #rrggbb, and weight of letters."""

    size: int
    colour: str = "#1d2126"
    bold: bool = False


def draw_text(
    image: Image.Image, at: tuple[int, int], words: str, ink: Ink, room: float = math.inf
) -> None:
    """Write on one line of at most `room` pixels; `at` is the left end of its baseline."""
    words, _ = fitted(words, ink, room)
    ImageDraw.Draw(image).text(at, words, ink.colour, _font(words, ink.size, ink.bold), "ls")


def fitted(words: str, ink: Ink, room: float = math.inf) -> tuple[str, int]:
    """The words on one line, cut with an ellipsis where the room ends, and their width."""
    words = " ".join(words.encode("utf-8", "replace").decode().split())
    font, end = _font(words, ink.size, ink.bold), ""
    while font.getlength(words + end) > room and words:
        words, end = words[:-1].rstrip(), "…"
    return words + end, math.ceil(font.getlength(words + end))


@lru_cache(maxsize=512)
def _font(words: str, size: int, bold: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The first font with all letters of the words, else the one with the most of them."""
    letters = {letter for letter in words if unicodedata.category(letter)[0] not in "CMZ"}
    best, most = None, -1
    names = (*_BOLD, *_REGULAR) if bold else _REGULAR
    for font in filter(None, (_opened(name, size) for name in names)):
        glyph: Any = font.getmask
        found = sum(bytes(glyph(letter)) != bytes(glyph("\U0010ffff")) for letter in letters)
        if found > most:
            best, most = font, found
        if found == len(letters):
            break
    return best or ImageFont.load_default(size)


@lru_cache(maxsize=256)
def _opened(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None
