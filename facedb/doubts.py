"""What of the enrolled is worth a look: poor photos, several faces, somebody else's, two names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from facedb.gallery import Gallery
from facedb.lookalikes import Lookalike, lookalikes
from facedb.store import StoredTemplate
from facedb.twice import Twice, enrolled_twice
from facedb.types import Quality


@dataclass(frozen=True, slots=True)
class PoorFace:
    """A photo that was enrolled though its face is hard to recognise."""

    path: str
    quality: Quality
    identity: str


@dataclass(frozen=True, slots=True)
class Doubts:
    """What is doubtful about enrolled photos.

    Attributes:
        photos: how many were looked at.
        several_faces: photos with more than one face; the largest near the middle was taken.
        poor: photos of faces that are hard to recognise, which another photo would serve better;
            the poorest first.
        lookalikes: photos that look like somebody else, and unlike their own person's other
            photos: a wrong folder, or a bystander who was larger; the likest first.
        twice: people who look like one, under two names; the likest first.
        unknown: how many photos were enrolled before the gallery kept what tells the first two.
    """

    photos: int
    several_faces: list[str]
    poor: list[PoorFace]
    lookalikes: list[Lookalike]
    twice: list[Twice]
    unknown: int


def doubts(
    gallery: Gallery,
    templates: Iterable[StoredTemplate],
    threshold: float | None,
    since: int = 0,
) -> Doubts:
    """What is doubtful about templates of a gallery.

    Args:
        threshold: the largest distance that accepts; without one, nobody is like anybody.
        since: a revision before they were added.
    """
    looked_at = list(templates)
    poor = [
        PoorFace(one.photo, one.quality, one.identity)
        for one in looked_at
        if one.quality is not None and one.quality.poor
    ]
    clear = {one.photo for one in looked_at} - {face.path for face in poor}  # poor ones say little
    found, twice = [], []
    if threshold is not None and looked_at:
        names = {one.identity for one in looked_at}
        found = lookalikes(gallery, since, threshold)
        pairs = enrolled_twice(gallery, since, threshold)
        twice = [pair for pair in pairs if pair.name in names or pair.other in names]
    return Doubts(
        photos=len(looked_at),
        several_faces=[one.photo for one in looked_at if one.faces is not None and one.faces > 1],
        poor=sorted(poor, key=lambda face: face.quality.chance),
        lookalikes=[one for one in found if one.path in clear],
        twice=twice,
        unknown=sum(one.faces is None for one in looked_at),
    )
