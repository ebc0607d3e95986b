"""What indexing and enrolling did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from facedb.doubts import PoorFace
from facedb.lookalikes import Lookalike
from facedb.photos import Refusal, reasons
from facedb.twice import Twice


@dataclass(frozen=True, slots=True)
class Moved:
    """Photos that are enrolled as `owner` and lie with `person` now; the old files are gone."""

    owner: str
    person: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WithTwo:
    """A photo that lies with two people: `path` was left out, `other` is enrolled as `owner`."""

    path: str
    other: str
    owner: str


@dataclass(slots=True)
class IndexReport:
    """What indexing did.

    Attributes:
        photos: photo files found: enrolled, unchanged, copies, or left out.
        enrolled: new templates.
        unchanged: files whose photo had been read before: as they were, touched, or moved.
        duplicates: files whose photo is enrolled for the same person from another that is there.
        removed: templates removed because their file has vanished or changed.
        people: identities enrolled now, in the whole gallery.
        refused: files and folders left out; the gallery remembers the files.
        skipped: how many of them are no photos, but other files and folders.
        several_faces, poor, lookalikes, twice: the `Doubts` about the new templates.
        seconds: wall time.
        moved, with_two: of the refused, those that are enrolled as somebody else, and why.
        vanished: enrolled photos of the folder whose files are gone.
        nested: the folder of the only person found, who is new, where several folders in it hold
            the photos, as where people lie a level deeper than was meant; else "".
    """

    photos: int = 0
    enrolled: int = 0
    unchanged: int = 0
    duplicates: int = 0
    removed: int = 0
    people: int = 0
    refused: list[Refusal] = field(default_factory=list)
    several_faces: list[str] = field(default_factory=list)
    poor: list[PoorFace] = field(default_factory=list)
    lookalikes: list[Lookalike] = field(default_factory=list)
    seconds: float = 0.0
    skipped: int = 0
    moved: list[Moved] = field(default_factory=list)
    with_two: list[WithTwo] = field(default_factory=list)
    vanished: int = 0
    nested: str = ""
    twice: list[Twice] = field(default_factory=list)

    @classmethod
    def of(cls, photos: int, skipped: Iterable[Refusal]) -> IndexReport:
        """The beginning of one, by what a walk found and what it skipped."""
        refused = list(skipped)
        loose = sum(item.reason == reasons.NO_PERSON for item in refused)
        return cls(photos + loose, refused=refused, skipped=len(refused) - loose)
