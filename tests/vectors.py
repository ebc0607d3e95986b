"""Galleries of made-up unit vectors, and brute force over their store to compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facedb.gallery import Gallery
from facedb.store import FileRow, NewTemplate, Pin

DIM = 16
PIN = Pin("bundled", "made-up", "f" * 64, DIM, "none", "none")


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def people(count: int, each: int, seed: int = 1, dim: int = DIM) -> NDArray[np.float32]:
    """float32[count * each, dim]: `each` vectors scattered around each of `count` centres."""
    random = np.random.default_rng(seed)
    centres = np.repeat(random.normal(size=(count, dim)), each, axis=0)
    return unit(centres + 0.4 * random.normal(size=centres.shape))


def add(gallery: Gallery, vectors: NDArray[np.float32], names: list[str], prefix: str = "") -> None:
    rows = zip(names, vectors, strict=True)
    templates = [
        NewTemplate(name, f"{prefix}{number}-{name}", (1.0, 2.0, 3.0, 4.0), 0.9, vector)
        for number, (name, vector) in enumerate(rows)
    ]
    with gallery.writing() as writer:
        writer.add_templates(templates)
        writer.put_files(
            [
                FileRow(f"/photos/{t.identity}/{t.sha256}.jpg", t.identity, 1, 1, t.sha256, None)
                for t in templates
            ]
        )


def filled(folder: Path, count: int = 30, each: int = 3, seed: int = 1) -> Gallery:
    gallery = Gallery.create(folder, PIN)
    names = [f"person{number:03}" for number in range(count) for _ in range(each)]
    add(gallery, people(count, each, seed), names)
    gallery.settle()
    return gallery


def stored(gallery: Gallery) -> dict[int, tuple[int, NDArray[np.float64]]]:
    """template id -> (identity id, float64[d]), read straight from the store."""
    owners = dict(zip(*(part.tolist() for part in gallery.store.identity_ids()), strict=True))
    rows: dict[int, tuple[int, NDArray[np.float64]]] = {}
    for ids, vectors in gallery.store.added(0, gallery.store.revision()):
        for number, vector in zip(ids.tolist(), vectors, strict=True):
            rows[number] = owners[number], vector.astype(np.float64)
    return rows


def brute_force(
    gallery: Gallery, probe: NDArray[np.float32], k: int
) -> list[tuple[int, int, float]]:
    """(template id, identity id, distance) of the k nearest identities, by sorting everything."""
    wide = probe.astype(np.float64)
    everything = sorted(
        (float(np.sqrt(np.sum((vector - wide) ** 2))), number, owner)
        for number, (owner, vector) in stored(gallery).items()
    )
    best: dict[int, tuple[int, int, float]] = {}
    for distance, number, owner in everything:
        best.setdefault(owner, (number, owner, distance))
    return list(best.values())[:k]


def assert_equals_brute_force(gallery: Gallery, k: int = 5, probes: int = 12) -> None:
    from facedb.decision import rank

    wanted = unit(np.random.default_rng(9).normal(size=(probes, gallery.store.pin.dim)))
    found = rank(gallery.search(wanted, k), k)
    for row, probe in enumerate(wanted):
        expected = brute_force(gallery, probe, k)
        shown = found.template_ids[row] >= 0
        assert found.template_ids[row][shown].tolist() == [item[0] for item in expected]
        assert found.identity_ids[row][shown].tolist() == [item[1] for item in expected]
        np.testing.assert_allclose(
            found.distances[row][shown], [item[2] for item in expected], atol=1e-12
        )
