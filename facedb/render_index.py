"""What indexing did, what was left out, and what is doubtful -> text. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from facedb.render import SHOWN, UNKNOWN, counted, listed, poor_words
from facedb.typed import typed

if TYPE_CHECKING:
    from facedb.doubts import Doubts
    from facedb.outcome import IndexReport
    from facedb.photos import Refusal

_FEW = 3  # files of a kind that are no photos and are named each


def index_text(report: IndexReport, gallery: str, folder: str = "") -> str:
    """What indexing did, in a line or two; `folder` is what was indexed."""
    rate = report.photos / report.seconds if report.seconds > 0 else 0.0
    left_out = len(report.refused) - report.skipped
    unchanged = report.photos - report.enrolled - report.duplicates - left_out
    copies = "copy of an enrolled photo" if report.duplicates == 1 else "copies of enrolled photos"
    parts = [f"{report.enrolled:,} enrolled"] + [
        f"{count:,} {words}"
        for count, words in (
            (unchanged, "unchanged"),
            (report.duplicates, copies),
            (left_out, "left out"),
        )
        if count
    ]
    apart = [f"; {report.removed:,} removed"] if report.removed else []
    if report.skipped:
        apart.append(
            f"; {counted(report.skipped, 'other file or folder', 'other files or folders')} skipped"
        )
    lines = [
        f"{counted(report.photos, 'photo')} in {report.seconds:.1f} s ({rate:,.0f}/s): "
        + ", ".join(parts)
        + "".join(apart),
        f"{gallery}: {counted(report.people, 'person', 'people') if report.people else 'nobody'}",
    ]
    if report.nested:
        name = os.path.basename(report.nested)
        lines.append(
            f"all photos are of one person, {name}; if the folders in {report.nested} are people: "
            f"{typed('people remove', name, gallery=gallery)}, then "
            + typed("index", report.nested, gallery=gallery)
        )
    lines += _moves(report, gallery, folder)
    # Of all that is new a few are shown; the gallery knows the others.
    how = f"{typed('people doubts', gallery=gallery)} lists all"
    return "\n".join(lines + _doubt_lines(report, gallery, SHOWN, how, pruned=bool(folder)))


def doubts_text(doubts: Doubts, gallery: str) -> str:
    """Every enrolled photo that is worth a look, and why."""
    lines = _doubt_lines(doubts, gallery, None, "", pruned=True)
    if doubts.unknown:
        older = counted(doubts.unknown, "photo was", "photos were")
        them = "it" if doubts.unknown == 1 else "them"
        lines.append(
            f"{older} enrolled by an older facedb, which kept neither quality nor how many faces "
            f"there are: {typed('gallery reencode', gallery=gallery)} looks at {them} again"
        )
    looked = counted(doubts.photos, "enrolled photo")
    return "\n".join(lines) if lines else f"{looked}: none is doubtful"


def _doubt_lines(
    doubts: Doubts | IndexReport, gallery: str, most: int | None, how: str, *, pruned: bool
) -> list[str]:
    lines: list[str] = []
    if doubts.twice:
        # Each pair joins two groups of names, so that of n names in a group n - 1 pairs speak.
        names = {name for pair in doubts.twice for name in (pair.name, pair.other)}
        seem = counted(len(names) - len(doubts.twice), "person seems", "people seem")
        lines.append(f"{seem} to be enrolled under several names; if it is so, merge them:")
        merges = [
            f"  {pair.distance:.2f} apart: "
            + typed("people merge", pair.name, pair.other, gallery=gallery)
            for pair in doubts.twice
        ]
        lines += listed(merges, most, how=how)
    if doubts.lookalikes:
        looks = counted(len(doubts.lookalikes), "enrolled face looks", "enrolled faces look")
        lines.append(
            f"{looks} like somebody else and unlike the person's other photos: a wrong person, or "
            "a bystander?" + " Move or crop the file, and index again with --prune:" * pruned
        )
        alike = [
            f"  {one.path or UNKNOWN}: like {one.other} "
            f"({one.distance:.2f} from {one.photo or UNKNOWN})"
            for one in doubts.lookalikes
        ]
        lines += listed(alike, most, how=how)
    if doubts.poor:
        poor = counted(len(doubts.poor), "enrolled face is", "enrolled faces are")
        lines.append(f"{poor} hard to recognise; other photos of these people would serve better:")
        faces = [f"  {poor_words(face.quality)}: {face.path or UNKNOWN}" for face in doubts.poor]
        lines += listed(faces, most, how=how)
    if doubts.several_faces:
        shows = counted(len(doubts.several_faces), "photo shows", "photos show")
        lines.append(f"{shows} several faces; the largest near the middle was taken:")
        lines += listed([f"  {path or UNKNOWN}" for path in doubts.several_faces], most, how=how)
    return lines


def _moves(report: IndexReport, gallery: str, folder: str) -> list[str]:
    """What became of files that were enrolled, and what to type."""
    again = typed("index", folder, gallery=gallery, options=("--prune",))
    lines = []
    for move in report.moved:
        photos = counted(len(move.paths), "photo")
        are, them = ("is", "it") if len(move.paths) == 1 else ("are", "them")
        lines.append(
            f"{photos} enrolled as {move.owner} {are} in {move.person} now: {again} follows {them}"
        )
    if report.vanished:
        photos = counted(report.vanished, "enrolled photo is", "enrolled photos are")
        them = "it" if report.vanished == 1 else "them"
        lines.append(f"{photos} gone from this folder: {again} forgets {them}")
    pairs = []
    for pair in report.with_two:
        one, other = (os.path.relpath(path, folder) for path in (pair.other, pair.path))
        pairs.append(
            f"one photo lies with two people: {one} and {other}; it counts as {pair.owner} "
            "until one is deleted and index --prune run"
        )
    return lines + listed(pairs, indent="")


def left_out_lines(refused: Iterable[Refusal], most: int | None = None) -> list[str]:
    """A line a photo that was left out, of which at most so many; other files by their kind."""
    from facedb.photos.reasons import BAD_NAME, NO_PHOTOS, NOT_A_PHOTO, RAW_PHOTO, SYMLINK_LOOP

    photos: list[str] = []
    others: dict[tuple[str, str], list[str]] = {}
    for item in refused:
        if item.reason in (NOT_A_PHOTO, RAW_PHOTO):
            suffix = os.path.splitext(item.path)[1].casefold()
            others.setdefault((item.reason, suffix), []).append(item.path)
        else:
            folder = item.reason in (BAD_NAME, NO_PHOTOS, SYMLINK_LOOP)
            photos.append(f"{'skipped' if folder else 'left out'}: {item.path}: {item.reason}")
    lines = photos if most is None else listed(photos, most, "")
    for (reason, suffix), paths in sorted(others.items()):
        if len(paths) > _FEW:
            kind = f"{suffix} files" if suffix else "files without a suffix"
            why = "not photos" if reason == NOT_A_PHOTO else reason
            lines.append(f"skipped: {len(paths):,} {kind}: {why}")
        else:
            lines += [f"skipped: {path}: {reason}" for path in paths]
    return lines
