"""`gallery export`: the vectors as .npz and what they are of as .csv."""

from __future__ import annotations

import csv
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from facedb.errors import InputError
from facedb.store import Store

_COLUMNS = (
    *("template_id", "identity", "photo", "sha256", "x", "y", "width", "height", "score"),
    *("quality", "poor", "faces"),
)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The two files written, and how many templates they hold."""

    vectors: str
    metadata: str
    templates: int


def export(store: Store, target: str) -> ExportReport:
    """Write TARGET.npz (`template_ids` int64[n], `vectors` float32[n, d], `encoder`) and
    TARGET.csv, rows in the same order.

    Raises:
        InputError: the files cannot be written, or TARGET is a folder.
    """
    stem = Path(target).with_suffix("") if target.endswith((".npz", ".csv")) else Path(target)
    if stem.is_dir():
        raise InputError(f"{target}: is a folder; name the files: {stem / 'vectors'}")
    vectors, metadata = Path(f"{stem}.npz"), Path(f"{stem}.csv")
    blocks = list(store.added(0, store.revision()))
    ids = np.concatenate([block[0] for block in blocks] or [np.empty(0, np.int64)])
    rows = np.concatenate(
        [block[1] for block in blocks] or [np.empty((0, store.pin.dim), np.float32)]
    )
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        written = np.isin(ids, _write_csv(store, metadata, set(ids.tolist())))
        ids, rows = ids[written], rows[written]
        np.savez(vectors, template_ids=ids, vectors=rows, encoder=store.pin.encoder_fingerprint)
    except OSError as error:
        raise InputError(f"{stem}: cannot write here: {error.strerror}") from error
    return ExportReport(os.fspath(vectors), os.fspath(metadata), len(ids))


def _write_csv(store: Store, file: Path, wanted: set[int]) -> list[int]:
    """Write those of these templates that are still stored; returns which they were."""
    written: list[int] = []
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        for template in store.templates():
            if template.template_id in wanted:
                fields = asdict(template)
                fields |= dict(zip(("x", "y", "width", "height"), template.box, strict=True))
                quality = template.quality
                fields["quality"] = None if quality is None else f"{quality.chance:.3f}"
                fields["poor"] = None if quality is None else quality.cause
                writer.writerow([fields[name] for name in _COLUMNS])
                written.append(template.template_id)
    return written
