"""`gallery info`: what a gallery holds and was made with."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from facedb.encoder import Encoder
from facedb.gallery import Gallery
from facedb.operating import Operating
from facedb.types import GalleryInfo


def describe(gallery: Gallery, encoder: Encoder, operating: Operating) -> GalleryInfo:
    """What a gallery holds, and how it decides."""
    point = operating.calibrated
    store = gallery.store
    state, pin = store.state(), store.pin
    added, removed = store.pending(state.snapshot.revision if state.snapshot else 0)
    return GalleryInfo(
        folder=os.fspath(gallery.folder),
        people=store.count_people(),
        templates=store.count(),
        refused=store.refused(),
        encoder_name=pin.encoder_name,
        encoder_fingerprint=pin.encoder_fingerprint,
        dim=pin.dim,
        detector_fingerprint=pin.detector_fingerprint,
        threshold=operating.threshold,
        calibrated_fpir=None if point is None else point.fpir,
        calibrated_strangers=None if point is None else point.strangers,
        strangers=None if operating.curve is None else operating.curve.people,
        index_kind=state.index_kind,
        waiting=added + removed,
        bytes=_bytes(gallery.folder),
        terms=encoder.terms,
    )


def _bytes(folder: Path) -> int:
    """What the files of a folder take; a writer may delete some meanwhile."""
    total = 0
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total
