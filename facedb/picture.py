"""An answer as a picture: the probe with its faces marked, and whom the gallery shows for each.

The state of a face is told by colour, by a mark and by words, so that no reader needs the colour.
"""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image, ImageDraw

from facedb.decision import accepts
from facedb.errors import InputError, PhotoError
from facedb.lettering import Ink, draw_text, fitted
from facedb.photos import load_photo
from facedb.photos.reasons import NO_FACE, UNRECOGNISABLE
from facedb.strangers import in_words
from facedb.types import Box, Candidate, Identification, Photo, PhotoAnswer

ACCEPTED: Final = "#00734f"
NOT_IDENTIFIED: Final = "#b84300"
NOT_DECIDED: Final = "#5b6470"
"""The colours of a face's box and frame, as #rrggbb; white text on each is readable."""

MOST_ROWS: Final = 8
MOST_CANDIDATES: Final = 12
_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_PAPER, _PALE, _LINE, _EMPTY = "#fbfbfa", "#5b6470", "#d5d8dc", "#e9ebee"
_EDGE, _HEADER, _HEADING, _CAPTION, _GAP, _DIVIDER = 28, 104, 42, 68, 18, 44
_Point = tuple[int, int]
_Rectangle = tuple[int, int, int, int]


class _Verdict(NamedTuple):
    """What is said of a face: `mark` is lines between points of a 10 x 10 square."""

    colour: str
    words: str
    why: str
    mark: tuple[tuple[int, int, int, int], ...]


def draw_answer(answer: PhotoAnswer, file: str) -> None:
    """Draw the answer for one photo into `file`, a .png, .jpg or .webp.

    The photo with its faces boxed, numbered and named; beside it a row a face (at most MOST_ROWS):
    the face and the gallery's nearest people (at most MOST_CANDIDATES) with their distances. A
    gallery photo that is gone is drawn as a silhouette.

    Raises:
        InputError: the suffix names no such format, or `file` is one of the photos shown or cannot
            be written; nothing is left half-written.
        PhotoError: the photo of the answer cannot be read.
    """
    kind = _FORMATS.get(os.path.splitext(file)[1].casefold())
    if kind is None:
        raise InputError(f"{file}: a picture is a .png, .jpg or .webp; name it like that")
    candidates = [candidate for face in answer.faces for candidate in face.candidates]
    for shown in {answer.path, *(candidate.photo for candidate in candidates)}:
        if os.path.exists(file) and os.path.exists(shown) and os.path.samefile(file, shown):
            raise InputError(f"{file}: is one of the photos shown; name another file")
    buffer = io.BytesIO()
    _Sheet(answer, load_photo(answer.path)).drawn().save(buffer, kind, quality=92)
    _write(buffer.getvalue(), file)


def _write(data: bytes, file: str) -> None:
    target = Path(file)
    if not target.parent.is_dir():
        raise InputError(f"{file}: there is no folder {target.parent}; make it first")
    unfinished = target.with_name(f".facedb-{os.getpid()}.part")
    try:
        try:
            unfinished.write_bytes(data)
            os.replace(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{file}: cannot write here: {why}; name another file") from error


class _Sheet:
    """One answer on paper; all sizes in pixels of the picture."""

    def __init__(self, answer: PhotoAnswer, probe: Photo) -> None:
        self.answer, self.probe = answer, probe
        self.gallery: dict[str, Photo | None] = {}
        self.rows = min(len(answer.faces), MOST_ROWS)
        few = self.rows <= 3
        self.thumb = 168 if few else 132
        self.row = _HEADING + self.thumb + _CAPTION
        self.left_over = len(answer.faces) - self.rows
        columns = min(
            max((len(face.candidates) for face in answer.faces), default=0), MOST_CANDIDATES
        )
        cells = self.thumb + _DIVIDER + columns * (self.thumb + _GAP) - _GAP
        self.row_width = max(620, cells) if self.rows else 0
        tall, wide = max(480, min(1080, self._height_of(self.rows))), 720 if few else 960
        self.scale = min(wide / probe.width, tall / probe.height, 3.0)
        # Where a photo would stand beside a column far longer than itself, two stand below it.
        self.below = self._height_of(self.rows) > 1.6 * self.scale * probe.height and not few
        self.a_column = math.ceil(self.rows / 2) if self.below else self.rows
        if self.below:
            wide = 2 * self.row_width + _DIVIDER
            self.scale = min(wide / probe.width, 900 / probe.height, 3.0)
        self.photo = Image.fromarray(probe.pixels).resize(
            (max(1, round(probe.width * self.scale)), max(1, round(probe.height * self.scale))),
            Image.Resampling.LANCZOS,
        )

    def _height_of(self, rows: int) -> int:
        return self.row * rows + (40 if self.left_over else 0)

    def drawn(self) -> Image.Image:
        high = self._height_of(self.a_column)
        if self.below:
            width = max(self.photo.width, 2 * self.row_width + _DIVIDER)
            left, top = _EDGE, _HEADER + self.photo.height + _EDGE
            inner = self.photo.height + _EDGE + high
        else:
            width = self.photo.width + (_DIVIDER + self.row_width if self.rows else 0)
            inner = max(self.photo.height, high)
            left, top = _EDGE + self.photo.width + _DIVIDER, _HEADER + (inner - high) // 2
        width = max(width, 640) + 2 * _EDGE
        self.canvas = Image.new("RGB", (width, inner + _HEADER + _EDGE), _PAPER)
        room = width - 2 * _EDGE
        draw_text(self.canvas, (_EDGE, 48), Path(self.answer.path).name, Ink(28, bold=True), room)
        draw_text(self.canvas, (_EDGE, 80), _summary(self.answer), Ink(19, _PALE), room)
        self._photo()
        for place, face in enumerate(self.answer.faces[: self.rows]):
            column, line = divmod(place, self.a_column)
            across = left + column * (self.row_width + _DIVIDER)
            self._row(across, top + line * self.row, place + 1, face)
        if self.left_over:
            words = f"and {self.left_over} more of {len(self.answer.faces)} faces"
            draw_text(self.canvas, (left, top + high - 10), words, Ink(20, _PALE))
        return self.canvas

    def _photo(self) -> None:
        self.canvas.paste(self.photo, (_EDGE, _HEADER))
        boxes = [self._placed(face.box) for face in self.answer.faces]
        draw = ImageDraw.Draw(self.canvas)
        verdicts = [_verdict(face) for face in self.answer.faces]
        for (left, top, right, bottom), verdict in zip(boxes, verdicts, strict=True):
            draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), None, "white", 5)
            draw.rectangle((left, top, right, bottom), None, verdict.colour, 3)
        taken = list(boxes)
        for number, verdict in enumerate(verdicts, start=1):
            plate, place = self._label(boxes[number - 1], verdict, number, taken)
            self.canvas.paste(plate, place[:2], plate)
            taken.append(place)

    def _placed(self, box: Box) -> _Rectangle:
        """A face's box on the picture, held inside the photo."""
        x, y, width, height = (value * self.scale for value in box)
        columns = [round(min(max(at, 0), self.photo.width - 1)) for at in (x, x + width)]
        rows = [round(min(max(at, 0), self.photo.height - 1)) for at in (y, y + height)]
        return _EDGE + columns[0], _HEADER + rows[0], _EDGE + columns[1], _HEADER + rows[1]

    def _label(
        self, box: _Rectangle, verdict: _Verdict, number: int, taken: list[_Rectangle]
    ) -> tuple[Image.Image, _Rectangle]:
        """A face's name plate and its place: above or below the box where it hides no other."""
        named = _plate(f"{number} {verdict.words}", verdict, 260)
        short = _plate(str(number), verdict)
        for plate in (named, short):
            width, height = plate.size
            left = max(_EDGE, min(box[0], _EDGE + self.photo.width - width))
            for top in (box[1] - height - 4, box[3] + 5):
                place = (left, top, left + width, top + height)
                inside = _HEADER <= top <= _HEADER + self.photo.height - height
                if inside and not any(_overlap(place, other) for other in taken):
                    return plate, place
        plate = named if named.width <= box[2] - box[0] else short
        return plate, (box[0], box[3] - plate.height, box[0] + plate.width, box[3])

    def _row(self, left: int, top: int, number: int, face: Identification) -> None:
        verdict = _verdict(face)
        self._heading(left, top, number, verdict)
        top += _HEADING
        self._thumbnail((left, top), self.probe, face.box, (verdict.colour, 4))
        draw_text(self.canvas, (left, top + self.thumb + 28), f"face {number}", Ink(18, _PALE))
        left += self.thumb + _DIVIDER // 2
        ImageDraw.Draw(self.canvas).line((left, top, left, top + self.thumb), _LINE, 2)
        left += _DIVIDER // 2
        if not face.candidates:
            words = "the gallery is empty: nobody to compare with"
            draw_text(self.canvas, (left, top + self.thumb // 2), words, Ink(18, _PALE))
        for place, candidate in enumerate(face.candidates[:MOST_CANDIDATES]):
            self._candidate((left + place * (self.thumb + _GAP), top), candidate, face)

    def _heading(self, left: int, top: int, number: int, verdict: _Verdict) -> None:
        plate = _plate(str(number), verdict)
        self.canvas.paste(plate, (left, top + 2), plate)
        end = left + self.row_width
        left += plate.width + 10
        name, pale = Ink(22, verdict.colour, bold=True), Ink(18, _PALE)
        room = end - left - 14
        _, wanted = fitted(verdict.why, pale)
        words, width = fitted(verdict.words, name, max(room - wanted, room // 2))
        why, _ = fitted(verdict.why, pale, room - width)
        draw_text(self.canvas, (left, top + 23), words, name)
        draw_text(self.canvas, (left + width + 14, top + 23), why, pale)

    def _candidate(self, at: _Point, candidate: Candidate, face: Identification) -> None:
        accepted = candidate.identity == face.identity
        frame = (ACCEPTED, 6) if accepted else (_LINE, 2)
        self._thumbnail(at, self._gallery_photo(candidate.photo), candidate.box, frame)
        left, below = at[0], at[1] + self.thumb
        words, ink = f"{candidate.distance:.3f}", Ink(18, _PALE)
        if accepted:
            plate, ink = _plate("accepted", _verdict(face)), Ink(18, ACCEPTED, bold=True)
            place = left + (self.thumb - plate.width) // 2, below - plate.height + 8
            self.canvas.paste(plate, place, plate)
        elif face.threshold is not None:
            inside = accepts(candidate.distance, face.threshold) and not face.unrecognisable
            words += " near" if inside else "" if face.unrecognisable else " too far"
        draw_text(self.canvas, (left, below + 28), candidate.identity, Ink(18), self.thumb)
        draw_text(self.canvas, (left, below + 51), words, ink)

    def _gallery_photo(self, path: str) -> Photo | None:
        if path not in self.gallery:
            try:
                self.gallery[path] = load_photo(path)
            except PhotoError:
                self.gallery[path] = None
        return self.gallery[path]

    def _thumbnail(self, at: _Point, photo: Photo | None, box: Box, frame: tuple[str, int]) -> None:
        size = (self.thumb, self.thumb)
        image = None if photo is None else cut_face(photo, box, self.thumb)
        place = (*at, at[0] + self.thumb, at[1] + self.thumb)
        self.canvas.paste(image or _silhouette(self.thumb), place, _rounded(size, 12))
        self.canvas.paste(frame[0], place, _rounded(size, 12, frame[1]))


def _summary(answer: PhotoAnswer) -> str:
    if not answer.faces:
        return NO_FACE
    total, threshold = len(answer.faces), answer.faces[0].threshold
    words = f"{total} face{'s' if total > 1 else ''}"
    if threshold is None:
        return f"{words}, not decided: the encoder has no threshold; give one: --threshold"
    accepted = sum(face.identity is not None for face in answer.faces)
    for count, said in ((accepted, "accepted"), (total - accepted, "not identified")):
        words += f", {count} {said}" if count else ""
    return f"{words}; accepts up to a distance of {threshold:.3f}"


def _verdict(face: Identification) -> _Verdict:
    count = len(face.candidates)
    shown = f", {MOST_CANDIDATES} nearest of {count}" if count > MOST_CANDIDATES else ""
    if face.threshold is None:
        return _Verdict(NOT_DECIDED, "not decided", "no threshold" + shown, ((1, 5, 9, 5),))
    if face.unrecognisable:
        why = UNRECOGNISABLE + shown
        return _Verdict(NOT_IDENTIFIED, "not identified", why, ((1, 1, 9, 9), (1, 9, 9, 1)))
    if face.candidates and face.candidates[0].share is not None and face.strangers is not None:
        shown += f"; {in_words(face.candidates[0].share, face.strangers)}"
    if face.identity is None:
        why = f"nobody within {face.threshold:.3f}{shown}"
        return _Verdict(NOT_IDENTIFIED, "not identified", why, ((1, 1, 9, 9), (1, 9, 9, 1)))
    return _Verdict(ACCEPTED, face.identity, "accepted" + shown, ((0, 5, 4, 9), (4, 9, 10, 1)))


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _plate(words: str, verdict: _Verdict, most: int = 200) -> Image.Image:
    """White words behind the verdict's mark on its colour, RGBA."""
    ink = Ink(16, "white", bold=True)
    words, width = fitted(words, ink, most - 36)
    plate = Image.new("RGBA", (36 + width, 26), verdict.colour)
    plate.putalpha(_rounded(plate.size, 8))
    mark = Image.new("L", (60, 60))
    for line in verdict.mark:
        ImageDraw.Draw(mark).line([6 * at for at in line], 255, 10)
    plate.paste("white", (8, 6), mark.reduce(4))
    draw_text(plate, (28, 19), words, ink)
    return plate


def _rounded(size: tuple[int, int], radius: int, width: int = 0) -> Image.Image:
    """A mask of a rectangle with round corners: filled, or a line of that width."""
    mask = Image.new("L", (size[0] * 4, size[1] * 4))
    box = (0, 0, mask.width - 1, mask.height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius * 4, 0 if width else 255, 255, width * 4)
    return mask.reduce(4)


def cut_face(photo: Photo, box: Box, side: int) -> Image.Image | None:
    """A square of 1.3 times the box's longer side; None where the photo doesn't reach the box."""
    height, width = photo.pixels.shape[:2]
    scale = width / photo.width
    x, y = (box[0] + box[2] / 2) * scale, (box[1] + box[3] / 2) * scale
    if not (0 <= x < width and 0 <= y < height):
        return None
    square = max(1.0, min(1.3 * scale * max(box[2:]), width, height))
    left = min(max(x - square / 2, 0), width - square)
    top = min(max(y - square / 2, 0), height - square)
    area = (left, top, left + square, top + square)
    return Image.fromarray(photo.pixels).resize((side, side), Image.Resampling.LANCZOS, area)


def _silhouette(side: int) -> Image.Image:
    """Stands for a photo that is not there."""
    image = Image.new("RGB", (400, 400), _EMPTY)
    draw = ImageDraw.Draw(image)
    draw.ellipse((140, 90, 260, 230), "#c3c8ce")
    draw.ellipse((80, 255, 320, 560), "#c3c8ce")
    image = image.resize((side, side), Image.Resampling.LANCZOS)
    draw_text(image, (10, 22), "photo not found", Ink(14, _PALE), side - 20)
    return image
