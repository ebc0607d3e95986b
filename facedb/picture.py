"""An answer as a picture: the probe with its faces marked, and whom the gallery shows for each.

The state of a face is told by colour, by a mark and by words, so that no reader needs the colour.
"""

from __future__ import annotations

import io
import math
import os
import unicodedata
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from facedb.decision import accepts
from facedb.errors import InputError, PhotoError
from facedb.photos import load_photo
from facedb.types import Box, Candidate, Identification, Photo

if TYPE_CHECKING:
    from facedb.types import PhotoAnswer

ACCEPTED: Final = "#00734f"
NOT_IDENTIFIED: Final = "#b84300"
NOT_DECIDED: Final = "#5b6470"
"""The colours of a face's box and frame, as #rrggbb; white text on each is readable."""

MOST_ROWS: Final = 8
MOST_CANDIDATES: Final = 12

_PAPER: Final = "#fbfbfa"
_INK: Final = "#1d2126"
_PALE: Final = "#5b6470"
_LINE: Final = "#d5d8dc"
_EMPTY: Final = "#e9ebee"

_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_OPTIONS: Final = {"PNG": {"optimize": True}, "JPEG": {"quality": 92}, "WEBP": {"quality": 92}}

_EDGE: Final = 28
_HEADER: Final = 104
_HEADING: Final = 42
_CAPTION: Final = 68
_GAP: Final = 18
_DIVIDER: Final = 44
_MARGIN: Final = 1.3
"""A thumbnail's side over the longer side of the face's box."""

_FONTS: Final = (
    ("NotoSans-Regular.ttf", "NotoSans-Bold.ttf"), ("segoeui.ttf", "segoeuib.ttf"),
    ("Arial.ttf", "Arial Bold.ttf"), ("arial.ttf", "arialbd.ttf"),
    ("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf"),
    ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    ("NotoSansCJK-Regular.ttc", "NotoSansCJK-Bold.ttc"),
    ("NotoSansJP-Regular.otf", "NotoSansJP-Bold.otf"), ("YuGothM.ttc", "YuGothB.ttc"),
    ("msyh.ttc", "msyhbd.ttc"), ("malgun.ttf", "malgunbd.ttf"), ("Nirmala.ttf", "NirmalaB.ttf"),
    ("Hiragino Sans GB.ttc", ""), ("AppleSDGothicNeo.ttc", ""), ("Arial Unicode.ttf", ""),
    ("wqy-microhei.ttc", ""), ("DroidSansFallbackFull.ttf", ""), ("FreeSans.ttf", ""),
    ("NotoSansArabic-Regular.ttf", "NotoSansArabic-Bold.ttf"),
    ("NotoSansHebrew-Regular.ttf", "NotoSansHebrew-Bold.ttf"),
    ("NotoSansDevanagari-Regular.ttf", "NotoSansDevanagari-Bold.ttf"),
    ("NotoSansBengali-Regular.ttf", "NotoSansBengali-Bold.ttf"),
    ("NotoSansTamil-Regular.ttf", "NotoSansTamil-Bold.ttf"),
    ("NotoSansThai-Regular.ttf", "NotoSansThai-Bold.ttf"),
)  # fmt: skip
"""Regular and bold of families that systems bring along, the first that has the letters wins."""

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_Rectangle = tuple[int, int, int, int]


class _Ink(NamedTuple):
    size: int
    colour: str = _INK
    bold: bool = False


def draw_answer(answer: PhotoAnswer, file: str) -> None:
    """Draw the answer for one photo into `file`, a .png, .jpg or .webp.

    The photo with its faces boxed, numbered and named; beside it a row a face (at most MOST_ROWS):
    the face and the gallery's nearest people (at most MOST_CANDIDATES) with their distances. A
    gallery photo that is gone is drawn as a silhouette.

    Raises:
        InputError: the suffix names no such format, `file` is one of the photos shown or cannot be
            written; nothing is left half-written.
        PhotoError: the photo of the answer cannot be read.
    """
    suffix = os.path.splitext(file)[1].casefold()
    if suffix not in _FORMATS:
        raise InputError(f"{file}: a picture is a .png, .jpg or .webp; name it like that")
    for shown in _photos_shown(answer):
        if os.path.exists(file) and os.path.exists(shown) and os.path.samefile(file, shown):
            raise InputError(f"{file}: is one of the photos; draw into another file")
    _write(_Sheet(answer, load_photo(answer.path)).drawn(), file, _FORMATS[suffix])


def _photos_shown(answer: PhotoAnswer) -> set[str]:
    candidates = [candidate for face in answer.faces for candidate in face.candidates]
    return {answer.path, *(candidate.photo for candidate in candidates)}


def _write(picture: Image.Image, file: str, kind: str) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **_OPTIONS[kind])
    target = Path(file)
    unfinished = target.with_name(f".facedb-{os.getpid()}.part")
    try:
        if not target.parent.is_dir():
            raise InputError(f"{file}: there is no folder {target.parent}; make it first")
        try:
            unfinished.write_bytes(buffer.getvalue())
            os.replace(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{file}: cannot write here: {why}; name another file") from error


class _Sheet:
    """One answer on paper; sizes in pixels of the picture."""

    def __init__(self, answer: PhotoAnswer, probe: Photo) -> None:
        self.answer, self.probe = answer, probe
        self.faces = answer.faces[:MOST_ROWS]
        self.thumb = 168 if len(self.faces) <= 3 else 132
        self.row = _HEADING + self.thumb + _CAPTION
        self.gallery: dict[str, Photo | None] = {}

    @cached_property
    def scale(self) -> float:
        """From the photo at full size to the picture."""
        tall = max(480, min(1080, self.rows_height))
        wide = 720 if len(self.faces) <= 3 else 960
        return min(wide / self.probe.width, tall / self.probe.height, 3.0)

    @property
    def photo_size(self) -> tuple[int, int]:
        across, down = self.probe.width * self.scale, self.probe.height * self.scale
        return max(1, round(across)), max(1, round(down))

    @property
    def rows_height(self) -> int:
        return self.row * len(self.faces) + (40 if self.left_over else 0)

    @property
    def left_over(self) -> int:
        return len(self.answer.faces) - len(self.faces)

    @property
    def size(self) -> tuple[int, int]:
        shown = [min(len(face.candidates), MOST_CANDIDATES) for face in self.faces]
        rows_width = self.thumb + _DIVIDER + max(shown, default=0) * (self.thumb + _GAP)
        beside = _DIVIDER + max(620, rows_width) if self.faces else 0
        width = max(self.photo_size[0] + beside, 640)
        return width + 2 * _EDGE, max(self.photo_size[1], self.rows_height) + _HEADER + _EDGE

    def drawn(self) -> Image.Image:
        """The finished picture."""
        self.canvas = Image.new("RGB", self.size, _PAPER)
        self._header()
        inner = self.size[1] - _HEADER - _EDGE
        self._photo(_HEADER + (inner - self.photo_size[1]) // 2)
        left = _EDGE + self.photo_size[0] + _DIVIDER
        top = _HEADER + (inner - self.rows_height) // 2
        for number, face in enumerate(self.faces, start=1):
            self._row(left, top + (number - 1) * self.row, number, face)
        if self.left_over:
            words = f"and {self.left_over} more face{'s' if self.left_over > 1 else ''}"
            _text(self.canvas, (left, top + self.rows_height - 10), words, _Ink(20, _PALE))
        return self.canvas

    def _header(self) -> None:
        room = self.size[0] - 2 * _EDGE
        _text(self.canvas, (_EDGE, 48), Path(self.answer.path).name, _Ink(28, bold=True), room)
        _text(self.canvas, (_EDGE, 80), _summary(self.answer), _Ink(19, _PALE), room)

    def _photo(self, top: int) -> None:
        image = Image.fromarray(self.probe.pixels)
        self.canvas.paste(image.resize(self.photo_size, Image.Resampling.LANCZOS), (_EDGE, top))
        width, height = self.photo_size
        boxes = [self._placed(face.box, top) for face in self.answer.faces]
        draw = ImageDraw.Draw(self.canvas)
        for box, face in zip(boxes, self.answer.faces, strict=True):
            draw.rectangle(_grown(box, 1), outline="white", width=5)
            draw.rectangle(box, outline=_colour(face), width=3)
        taken = list(boxes)
        frame = (_EDGE, top, _EDGE + width, top + height)
        for number, (box, face) in enumerate(zip(boxes, self.answer.faces, strict=True), start=1):
            plate, place = _label(frame, taken, number, (box, face))
            self.canvas.paste(plate, place[:2], plate)
            taken.append(place)

    def _placed(self, box: Box, top: int) -> _Rectangle:
        """A face's box on the picture, held inside the photo."""
        x, y, width, height = box
        right, bottom = (side - 1 for side in self.photo_size)
        columns = [round(min(max(at * self.scale, 0), right)) for at in (x, x + width)]
        rows = [round(min(max(at * self.scale, 0), bottom)) for at in (y, y + height)]
        return _EDGE + columns[0], top + rows[0], _EDGE + columns[1], top + rows[1]

    def _row(self, left: int, top: int, number: int, face: Identification) -> None:
        colour = _colour(face)
        self._heading(left, top, number, face)
        below = top + _HEADING
        self._thumbnail(left, below, self.probe, face.box, (colour, 4))
        _text(self.canvas, (left, below + self.thumb + 24), f"face {number}", _Ink(18, _PALE))
        left += self.thumb + _DIVIDER // 2
        ImageDraw.Draw(self.canvas).line((left, below, left, below + self.thumb), _LINE, 2)
        left += _DIVIDER // 2
        if not face.candidates:
            words = "the gallery is empty: nobody to compare with"
            _text(self.canvas, (left, below + self.thumb // 2), words, _Ink(18, _PALE))
        for place, candidate in enumerate(face.candidates[:MOST_CANDIDATES]):
            self._candidate(left + place * (self.thumb + _GAP), below, candidate, face)

    def _heading(self, left: int, top: int, number: int, face: Identification) -> None:
        plate = _plate(str(number), face)
        self.canvas.paste(plate, (left, top + 2), plate)
        left += plate.width + 10
        why, pale = _why(face), _Ink(18, _PALE)
        room = self.size[0] - _EDGE - left - _width(why, pale) - 14
        name = _fitted(_who(face), _Ink(22, _colour(face), bold=True), room)
        left += 14 + _text(self.canvas, (left, top + 23), name, _Ink(22, _colour(face), bold=True))
        _text(self.canvas, (left, top + 23), why, pale)

    def _candidate(self, left: int, top: int, candidate: Candidate, face: Identification) -> None:
        accepted = candidate.identity == face.identity
        frame = (ACCEPTED, 6) if accepted else (_LINE, 2)
        self._thumbnail(left, top, self._gallery_photo(candidate), candidate.box, frame)
        below = top + self.thumb
        if accepted:
            plate = _plate("accepted", face)
            place = left + (self.thumb - plate.width) // 2, below - plate.height + 8
            self.canvas.paste(plate, place, plate)
        _text(self.canvas, (left, below + 28), candidate.identity, _Ink(18), self.thumb)
        distance = f"{candidate.distance:.3f}"
        ink = _Ink(18, ACCEPTED if accepted else _PALE, bold=accepted)
        far = face.threshold is not None and not accepts(candidate.distance, face.threshold)
        words = f"{distance}  too far" if far else distance
        _text(self.canvas, (left, below + 51), words, ink, self.thumb)

    def _gallery_photo(self, candidate: Candidate) -> Photo | None:
        path = candidate.photo
        if path not in self.gallery:
            try:
                self.gallery[path] = load_photo(path)
            except PhotoError:
                self.gallery[path] = None
        return self.gallery[path]

    def _thumbnail(
        self, left: int, top: int, photo: Photo | None, box: Box, frame: tuple[str, int]
    ) -> None:
        side = self.thumb
        image = None if photo is None else _cut(photo, box, side)
        place = (left, top, left + side, top + side)
        inside = _rounded((side, side), 12)
        self.canvas.paste(_silhouette(side) if image is None else image, place, inside)
        self.canvas.paste(frame[0], place, _rounded((side, side), 12, frame[1]))


def _summary(answer: PhotoAnswer) -> str:
    if not answer.faces:
        return "no face found"
    counts = [f"{len(answer.faces)} face{'s' if len(answer.faces) > 1 else ''}"]
    threshold = answer.faces[0].threshold
    if threshold is None:
        return f"{counts[0]}, not decided: the encoder has no threshold, give one: --threshold"
    accepted = sum(face.identity is not None for face in answer.faces)
    if accepted:
        counts.append(f"{accepted} accepted")
    if accepted < len(answer.faces):
        counts.append(f"{len(answer.faces) - accepted} not identified")
    return ", ".join(counts) + f"; accepts up to a distance of {threshold:.3f}"


def _colour(face: Identification) -> str:
    if face.threshold is None:
        return NOT_DECIDED
    return NOT_IDENTIFIED if face.identity is None else ACCEPTED


def _who(face: Identification) -> str:
    if face.threshold is None:
        return "not decided"
    return "not identified" if face.identity is None else face.identity


def _why(face: Identification) -> str:
    more = len(face.candidates) - MOST_CANDIDATES
    shown = f", nearest {MOST_CANDIDATES} of {len(face.candidates)}" if more > 0 else ""
    if face.threshold is None:
        return "no threshold" + shown
    if face.identity is None:
        return f"nobody within {face.threshold:.3f}{shown}"
    return f"accepted{shown}"


def _label(
    frame: _Rectangle,
    taken: list[_Rectangle],
    number: int,
    marked: tuple[_Rectangle, Identification],
) -> tuple[Image.Image, _Rectangle]:
    """A face's name plate and its place in the photo, free of others where there is room."""
    (left, top, right, bottom), face = marked
    plates = [_plate(f"{number}  {_who(face)}", face, 260), _plate(str(number), face)]
    places: list[tuple[Image.Image, _Rectangle]] = []
    for plate in plates:
        width, height = plate.size
        x = max(frame[0], min(left, frame[2] - width))
        outside = [y for y in (top - height - 4, bottom + 5) if frame[1] <= y <= frame[3] - height]
        places += [(plate, (x, y, x + width, y + height)) for y in outside]
    for plate, place in places:
        if not any(_overlap(place, other) for other in taken):
            return plate, place
    plate = plates[0] if plates[0].width <= right - left else plates[1]
    return plate, (left, bottom - plate.height, left + plate.width, bottom)


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    across = one[0] < other[2] and other[0] < one[2]
    return across and one[1] < other[3] and other[1] < one[3]


def _grown(box: _Rectangle, by: int) -> _Rectangle:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _plate(words: str, face: Identification, most: int = 200) -> Image.Image:
    """The words behind the face's mark on its colour, RGBA."""
    ink = _Ink(16, "white", bold=True)
    words = _fitted(words, ink, most - 36)
    plate = Image.new("RGBA", (36 + _width(words, ink), 26), _colour(face))
    plate.putalpha(_rounded(plate.size, 8))
    plate.paste("white", (8, 6), _mark(face, 14))
    _text(plate, (28, 19), words, ink)
    return plate


def _mark(face: Identification, side: int) -> Image.Image:
    """A check, a cross or, undecided, a dash; as a mask."""
    match face.threshold, face.identity:
        case None, _:
            lines = [((1, 5), (9, 5))]
        case _, None:
            lines = [((1, 1), (9, 9)), ((1, 9), (9, 1))]
        case _:
            lines = [((0, 5), (4, 9)), ((4, 9), (10, 1))]
    mask = Image.new("L", (side * 4, side * 4))
    unit = side * 4 / 10
    for line in lines:
        ends = [(x * unit, y * unit) for x, y in line]
        ImageDraw.Draw(mask).line(ends, 255, side * 4 // 6)
    return mask.reduce(4)


def _rounded(size: tuple[int, int], radius: int, width: int = 0) -> Image.Image:
    """A mask of a rectangle with round corners: filled, or a line of that width."""
    mask = Image.new("L", (size[0] * 4, size[1] * 4))
    box = (0, 0, mask.width - 1, mask.height - 1)
    draw = ImageDraw.Draw(mask)
    draw.rounded_rectangle(box, radius * 4, None if width else 255, 255, width * 4)
    return mask.reduce(4)


def _cut(photo: Photo, box: Box, side: int) -> Image.Image | None:
    """The face with some margin, [side, side]; None where the photo doesn't reach the box."""
    height, width = photo.pixels.shape[:2]
    scale = width / photo.width
    across, down = box[2] * scale, box[3] * scale
    middle = box[0] * scale + across / 2, box[1] * scale + down / 2
    if not (0 <= middle[0] < width and 0 <= middle[1] < height):
        return None
    square = max(1.0, min(_MARGIN * max(across, down), width, height))
    left = min(max(middle[0] - square / 2, 0), width - square)
    top = min(max(middle[1] - square / 2, 0), height - square)
    area = (left, top, left + square, top + square)
    image = Image.fromarray(photo.pixels)
    return image.resize((side, side), Image.Resampling.LANCZOS, area)


def _silhouette(side: int) -> Image.Image:
    """Stands for a photo that is not there."""
    image = Image.new("RGB", (400, 400), _EMPTY)
    draw = ImageDraw.Draw(image)
    draw.ellipse((140, 90, 260, 230), "#c3c8ce")
    draw.ellipse((80, 255, 320, 560), "#c3c8ce")
    image = image.resize((side, side), Image.Resampling.LANCZOS)
    _text(image, (10, 22), "photo not found", _Ink(14, _PALE), side - 20)
    return image


def _text(
    image: Image.Image, at: tuple[int, int], words: str, ink: _Ink, room: float = math.inf
) -> int:
    """Write on the base line at `at`; returns the width in pixels."""
    words = _fitted(words, ink, room)
    font = _font(words, ink.size, ink.bold)
    ImageDraw.Draw(image).text(at, words, ink.colour, font, "ls")
    return _width(words, ink)


def _width(words: str, ink: _Ink) -> int:
    return math.ceil(_font(words, ink.size, ink.bold).getlength(words))


def _fitted(words: str, ink: _Ink, room: float) -> str:
    """The words on one line, cut with an ellipsis where the room ends."""
    words = " ".join(words.encode("utf-8", "replace").decode().split())
    if _width(words, ink) <= room:
        return words
    while words and _width(words + "…", ink) > room:
        words = words[:-1].rstrip()
    return words + "…"


@lru_cache(maxsize=512)
def _font(words: str, size: int, bold: bool) -> _Font:
    """The first font with all letters of the words, else that with the most of them."""
    letters = {letter for letter in words if unicodedata.category(letter)[0] not in "CMZ"}
    best, most = None, -1
    for font in _fonts(size, bold):
        missing = bytes(font.getmask("\U0010ffff"))
        found = sum(bytes(font.getmask(letter)) != missing for letter in letters)
        if found > most:
            best, most = font, found
        if found == len(letters):
            break
    return best or ImageFont.load_default(size)


def _fonts(size: int, bold: bool) -> Iterator[ImageFont.FreeTypeFont]:
    names = [pair[1] for pair in _FONTS if bold and pair[1]] + [pair[0] for pair in _FONTS]
    for name in names:
        font = _opened(name, size)
        if font is not None:
            yield font


@lru_cache(maxsize=256)
def _opened(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None
