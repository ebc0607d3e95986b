"""Photos of people -> embeddings beside their names: what every protocol works on."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facedb.encoder import Encoder
from facedb.faces import Detector
from facedb.photos import PersonPhoto, Refusal, digest_of
from facedb.photos.reasons import NO_FACE, UNRECOGNISABLE
from facedb.pipeline import encode_photos, quality_model
from facedb.store import Measurements, StoredProbe
from facedb.types import Box, Embeddings, Progress

KINDS = ("blurred", "foggy", "lowlight", "noisy", "rainy", "resized", "sunny")
"""The distortions that FACECOM's folders name."""

_DISTORTED = re.compile(rf"(?P<stem>.+)_(?P<kind>(?:{'|'.join(KINDS)})(?:_\w+)?)")


@dataclass(frozen=True, slots=True)
class Samples:
    """n photos of people, the largest face of each.

    Attributes:
        names: str[n], the folder each lay in.
        paths: the files.
        digests: str[n], sha256 of each file; "" where it could not be read.
        origins: str[n], the digest of the photo that a distorted one was made of; else its own.
        kinds: str[n], the distortion, "" for a photo as it was taken.
        vectors: float32[n, d]; zeros where no face was found.
        shown: bool[n], whether a face was found that can be made out.
        boxes: the face's place in each photo; None where no face was found.
        reasons: why a photo shows no such face, or None.
    """

    names: NDArray[np.str_]
    paths: tuple[str, ...]
    digests: NDArray[np.str_]
    origins: NDArray[np.str_]
    kinds: NDArray[np.str_]
    vectors: Embeddings
    shown: NDArray[np.bool_]
    boxes: tuple[Box | None, ...]
    reasons: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Samples:
        """These rows only."""
        numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Samples(
            self.names[numbers],
            tuple(self.paths[row] for row in numbers),
            self.digests[numbers],
            self.origins[numbers],
            self.kinds[numbers],
            self.vectors[numbers],
            self.shown[numbers],
            tuple(self.boxes[row] for row in numbers),
            tuple(self.reasons[row] for row in numbers),
        )

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """The photos that could not be read, or showed no face that can be made out."""
        found = zip(self.paths, self.reasons, strict=True)
        return tuple(Refusal(path, reason) for path, reason in found if reason is not None)


@dataclass(frozen=True, slots=True)
class Eyes:
    """What turns photos into embeddings, and where to keep them (None: nowhere)."""

    detector: Detector
    encoder: Encoder
    keep: Measurements | None = None


def read_samples(
    entries: Sequence[PersonPhoto], eyes: Eyes, progress: Progress | None = None
) -> Samples:
    """Read, detect and encode photos of people; those that were kept are not encoded again.

    A photo `<person>/distortion/<stem>_<kind>.jpg` is a distorted copy of the person's `<stem>`.
    """
    paths = [entry.path for entry in entries]
    found = _encoded(paths, eyes, progress)
    digests = np.array([digest for digest, _, _ in found], dtype=np.str_)
    kinds = [_distortion(path) for path in paths]
    names = np.array([entry.identity for entry in entries], dtype=np.str_)
    vectors = np.zeros((len(paths), eyes.encoder.dim), dtype=np.float32)
    for row, (_, _, probe) in enumerate(found):
        if probe is not None and probe.vector is not None:
            vectors[row] = probe.vector
    shown = np.array([p is not None and p.vector is not None for _, _, p in found], dtype=np.bool_)
    model = quality_model(eyes.detector, eyes.encoder)
    lost = shown & model.cannot_tell(vectors) if model is not None else np.zeros_like(shown)
    return Samples(
        names,
        tuple(paths),
        digests,
        _origins(entries, digests, kinds),
        np.array([kind for _, kind in kinds], dtype=np.str_),
        vectors,
        shown & ~lost,
        tuple(None if probe is None else probe.box for _, _, probe in found),
        tuple(
            UNRECOGNISABLE if nobody else reason
            for nobody, (_, reason, _) in zip(lost, found, strict=True)
        ),
    )


_Found = tuple[str, str | None, StoredProbe | None]
"""A photo's sha256 ("" where it cannot be read), why it has no embedding, and the embedding."""


def _encoded(paths: Sequence[str], eyes: Eyes, progress: Progress | None) -> list[_Found]:
    known = _kept(paths, eyes.keep)
    todo = [path for path in paths if path not in known]
    new: dict[str, _Found] = {}
    for done, result in enumerate(encode_photos(todo, eyes.detector, eyes.encoder), start=1):
        new[result.path] = result.sha256 or "", result.reason, None
        if result.sha256 is not None:
            box = result.faces[0].box if result.faces else None
            vector = result.embeddings[0] if result.faces else None
            probe = StoredProbe(result.sha256, box, vector)
            new[result.path] = result.sha256, None if result.faces else NO_FACE, probe
        if progress is not None:
            progress(len(known) + done, len(paths))
    if eyes.keep is not None and new:
        eyes.keep.put_probes([probe for _, _, probe in new.values() if probe is not None])
    return [known[path] if path in known else new[path] for path in paths]


def _kept(paths: Sequence[str], keep: Measurements | None) -> dict[str, _Found]:
    if keep is None:
        return {}
    digests = {path: digest for path in paths if (digest := digest_of(path))}
    probes = keep.probes(sorted(set(digests.values())))
    return {
        path: (digest, None if probes[digest].vector is not None else NO_FACE, probes[digest])
        for path, digest in digests.items()
        if digest in probes
    }


def _distortion(path: str) -> tuple[str, str]:
    """The stem and the kind of a distorted photo; its own stem and "" of any other."""
    folder, name = os.path.split(path)
    stem = os.path.splitext(name)[0]
    found = _DISTORTED.fullmatch(stem)
    if found is None or os.path.basename(folder) != "distortion":
        return stem, ""
    return found["stem"], found["kind"]


def _origins(
    entries: Sequence[PersonPhoto],
    digests: NDArray[np.str_],
    kinds: Sequence[tuple[str, str]],
) -> NDArray[np.str_]:
    originals = {
        (entry.identity, stem): digest
        for entry, digest, (stem, kind) in zip(entries, digests.tolist(), kinds, strict=True)
        if not kind
    }
    return np.array(
        [
            originals.get((entry.identity, stem), digest)
            for entry, digest, (stem, _) in zip(entries, digests.tolist(), kinds, strict=True)
        ],
        dtype=np.str_,
    )
