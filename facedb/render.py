"""Results -> JSON and text. Pure: what the command line writes, without writing it."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from facedb.typed import typed

if TYPE_CHECKING:
    from facedb.people import PersonDetails
    from facedb.store import Person, StoredTemplate
    from facedb.types import Comparison, GalleryInfo, Identification, PhotoAnswer, Quality

CSV_COLUMNS = (
    *("photo", "face", "box_x", "box_y", "box_width", "box_height", "identity", "threshold"),
    *("quality", "rank", "candidate", "distance", "file", "reason"),
)


SHOWN = 10
UNKNOWN = "(file unknown)"


def as_json(schema: str, result: Any, **more: Any) -> str:
    """One line of JSON: the result's own fields behind the schema's name; never NaN.

    In ASCII where the output is not UTF-8, which could not show every name.
    """
    utf_8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    fields = asdict(result) if is_dataclass(result) and not isinstance(result, type) else result
    return json.dumps(
        _finite({"schema": f"facedb.{schema}/1", **fields, **more}),
        ensure_ascii=not utf_8,
        allow_nan=False,
    )


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case float():
            return value if math.isfinite(value) else None
    return value


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns, numbers to the right."""
    from rich.cells import cell_len

    lines = [list(headers), *([str(cell) for cell in row] for row in rows)]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(headers))]
    right = [
        len(lines) > 1 and all(_is_number(line[column]) for line in lines[1:])
        for column in range(len(headers))
    ]

    def pad(cell: str, column: int) -> str:
        space = " " * (widths[column] - cell_len(cell))
        return space + cell if right[column] else cell + space

    return "\n".join(
        "  ".join(pad(cell, column) for column, cell in enumerate(line)).rstrip() for line in lines
    )


def _is_number(cell: str) -> bool:
    return cell.replace(".", "").replace(",", "").replace("%", "").strip().isdigit()


def counted(count: int, one: str, many: str = "") -> str:
    """ "1 photo", "2,000 photos", "2 people"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(
    lines: list[str], most: int | None = SHOWN, indent: str = "  ", how: str = "--json lists them"
) -> list[str]:
    """The lines, of which at most so many; then how to see the others."""
    if most is None:
        return lines
    more = len(lines) - most
    return lines if more <= 0 else [*lines[:most], f"{indent}and {more:,} more: {how}"]


def poor_words(quality: Quality) -> str:
    """Why a face is poor, and how poor."""
    return f"{quality.cause}, quality {quality.chance:.2f}"


def answer_text(answer: PhotoAnswer) -> str:
    """Who is in a photo."""
    if not answer.faces:
        return f"{answer.path}: {answer.reason}"
    lines = [f"{answer.path}: {counted(len(answer.faces), 'face')}"]
    for face in answer.faces:
        lines += _face_lines(face)
    return "\n".join(lines)


def _face_lines(face: Identification) -> list[str]:
    from facedb.photos.reasons import UNRECOGNISABLE
    from facedb.strangers import in_words

    x, y, width, height = (round(value) for value in face.box)
    place = f"at {x},{y} {width}x{height}"
    if face.threshold is None:
        head = f"  not decided, {place}: the encoder has no threshold; give one: --threshold"
    elif face.identity is None:
        why = UNRECOGNISABLE if face.unrecognisable else f"nobody within {face.threshold:.3f}"
        head = f"  not identified, {place}: {why}"
    else:
        head = f"  {face.identity}, {place}"
    if face.quality is not None and face.quality.poor:
        head += f" ({poor_words(face.quality)})"
    told = not face.unrecognisable
    lines = [head]
    for number, candidate in enumerate(face.candidates, start=1):
        inside = told and face.threshold is not None and candidate.distance <= face.threshold
        mark = "accepted" if inside and number == 1 else "near" if inside else ""
        line = f"    {number}. {candidate.distance:.3f}  {candidate.identity}  {mark}".rstrip()
        if told and number == 1 and candidate.share is not None and face.strangers is not None:
            line += f"  ({in_words(candidate.share, face.strangers)})"
        lines.append(line)
    return lines


def answer_rows(answers: Iterable[PhotoAnswer]) -> list[list[object]]:
    """A row a candidate, under CSV_COLUMNS; a photo without a face has one row of its own."""
    rows: list[list[object]] = []
    for answer in answers:
        if not answer.faces:
            blank = [""] * (len(CSV_COLUMNS) - 2)
            rows.append([answer.path, *blank, answer.reason])
        for number, face in enumerate(answer.faces, start=1):
            head = [answer.path, number, *(round(value, 1) for value in face.box)]
            head += [face.identity or "", "" if face.threshold is None else face.threshold]
            head += ["" if face.quality is None else f"{face.quality.chance:.3f}"]
            rows += [
                [*head, rank, candidate.identity, f"{candidate.distance:.6f}", candidate.photo, ""]
                for rank, candidate in enumerate(face.candidates, start=1)
            ] or [[*head, "", "", "", "", ""]]
    return rows


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows as RFC 4180 lines, without the last line's end."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().removesuffix("\n")


def comparison_text(comparison: Comparison, photos: tuple[str, str]) -> str:
    """Whether two photos show one person."""
    lines = [_verdict(comparison)]
    for path, faces, quality in zip(photos, comparison.faces, comparison.qualities, strict=True):
        if faces > 1:
            lines.append(f"  {path}: {faces} faces; the largest near the middle was compared")
        if quality is not None and quality.poor:
            lines.append(f"  {path}: {poor_words(quality)}")
    return "\n".join(lines)


def _verdict(comparison: Comparison) -> str:
    from facedb.photos.reasons import UNRECOGNISABLE
    from facedb.strangers import in_words

    distance, limit = f"distance {comparison.distance:.3f}", comparison.threshold
    if limit is None:
        return f"{distance}; no threshold, give one: --threshold"
    if comparison.same is None:
        return f"not decided, {UNRECOGNISABLE}: {distance}"
    words = "the same person" if comparison.same else "different people"
    line = f"{words}: {distance}, threshold {limit:.3f}"
    if comparison.share is not None and comparison.strangers is not None:
        line += f" ({in_words(comparison.share, comparison.strangers)})"
    return line


def people_text(people: Sequence[Person]) -> str:
    """Everyone enrolled."""
    if not people:
        return "nobody is enrolled"
    rows = [[person.name, person.templates, ", ".join(person.aliases)] for person in people]
    return table(["name", "templates", "also"], rows)


def person_text(details: PersonDetails) -> str:
    """One person and where their templates came from."""
    person = details.person
    lines = [f"{person.name}: {counted(person.templates, 'template')}"]
    if person.aliases:
        lines.append("also: " + ", ".join(person.aliases))
    lines += [
        f"  {template.photo or UNKNOWN}{_doubted(template)}" for template in details.templates
    ]
    lines += [f"  {row.path}  left out: {row.reason}" for row in details.refused]
    return "\n".join(lines)


def _doubted(template: StoredTemplate) -> str:
    quality, faces = template.quality, template.faces or 1
    words = [f"{faces} faces"] if faces > 1 else []
    words += [poor_words(quality)] if quality is not None and quality.poor else []
    return f"  ({'; '.join(words)})" if words else ""


def gallery_text(info: GalleryInfo) -> str:
    """What a gallery holds."""
    threshold = "none" if info.threshold is None else f"{info.threshold:.3f}, {_set_by(info)}"
    behind = f", {counted(info.waiting, 'template')} behind" if info.waiting else ""
    rows = [
        ("gallery", info.folder),
        ("people", f"{info.people:,}"),
        ("templates", f"{info.templates:,}"),
        ("left out", counted(info.refused, "file")),
        ("encoder", f"{info.encoder_name} ({info.encoder_fingerprint[:8]}), {info.dim}-d"),
        ("detector", info.detector_fingerprint),
        ("threshold", threshold),
        ("index", info.index_kind + behind),
        ("on disk", f"{info.bytes / 1e6:,.1f} MB"),
        ("terms", info.terms),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows if value)


def _set_by(info: GalleryInfo) -> str:
    from facedb.strangers import ENCODERS_FPIR, people_needed

    if info.calibrated_fpir is not None and info.calibrated_strangers is not None:
        share = f"{100 * info.calibrated_fpir:g} %"
        return f"calibrated: {share} of {counted(info.calibrated_strangers, 'stranger')}"
    if info.strangers is None:
        return "the encoder's"
    words = f"the encoder's, set on {counted(info.strangers, 'stranger')}"
    if info.strangers < people_needed(ENCODERS_FPIR):
        words += f", too few for {100 * ENCODERS_FPIR:g} %: "
        words += typed("calibrate", "STRANGERS", gallery=info.folder)
    return words


def percent(share: float) -> str:
    """A share in hundredths, six places wide: " 12.34 %"."""
    return f"{100 * share:6.2f} %"
