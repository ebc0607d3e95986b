"""Every index backend finds what sorting all distances finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from vectors import people, unit

from facedb.decision import accepts, first_of_each, rank
from facedb.errors import DependencyMissing
from facedb.index import SearchIndex
from facedb.index.device import search_cache
from facedb.index.faiss import IVF_FROM, FaissGpuIndex, FaissIndex, build, gpu_count, load
from facedb.types import Hits

DIM = 32


def flat(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> FaissIndex:
    return build("flat", vectors.shape[1], len(ids), lambda: [(ids, vectors)])


def on_faiss_gpu(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> SearchIndex:
    if gpu_count() == 0:
        pytest.skip("FAISS finds no GPU here")
    return FaissGpuIndex(flat(ids, vectors))


def on_torch(device: str) -> Callable[[NDArray[np.int64], NDArray[np.float32]], SearchIndex]:
    def make(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> SearchIndex:
        torch = pytest.importorskip("torch", reason="torch is not installed")
        if device == "cuda" and not torch.cuda.is_available():
            pytest.skip("torch finds no GPU here")
        from facedb.index.torch import TorchIndex

        return TorchIndex(ids, vectors, device)

    return make


BACKENDS = {
    "faiss-cpu": flat,
    "faiss-gpu": on_faiss_gpu,
    "torch-cpu": on_torch("cpu"),
    "torch-cuda": on_torch("cuda"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("count", "asked", "most"),
    [(1, 20, 10), (7, 1, 10), (2000, 20, 10), (2001, 5, 130), (2001, 5, 2001), (8999, 1, 130)],
)
def test_nearest_templates(backend: str, count: int, asked: int, most: int) -> None:
    vectors = people(count, 1, seed=2, dim=DIM)
    ids = np.arange(count, dtype=np.int64) * 3 + 5
    index = BACKENDS[backend](ids, vectors)
    probes = people(asked, 1, seed=3, dim=DIM)
    k = min(most, count)
    found, distances = index.search(probes, k)
    exact = np.sqrt(
        np.sum((probes[:, None].astype(np.float64) - vectors[None].astype(np.float64)) ** 2, axis=2)
    )
    assert index.count == count
    assert found.shape == distances.shape == (asked, k)
    assert all(len(set(row)) == k for row in found.tolist())
    best = np.sort(exact, axis=1)[:, :k]
    # Within the tolerance that the index declares, of squared distances.
    assert np.max(np.abs(distances.astype(np.float64) ** 2 - best**2)) <= index.tolerance
    rows = np.searchsorted(ids, found)
    of_found = np.take_along_axis(exact, rows, axis=1)
    assert np.max(np.abs(of_found**2 - best**2)) <= 2 * index.tolerance


def test_more_equals_than_are_wanted() -> None:
    vectors = np.concatenate([people(1000, 1, dim=DIM), np.repeat(people(1, 1, dim=DIM), 3000, 0)])
    index = flat(np.arange(4000), vectors)
    for probe in vectors[:1], vectors[5:6]:
        found, distances = index.search(probe, 40)
        exact = np.linalg.norm(vectors[found[0]].astype(np.float64) - probe, axis=1)
        best = np.sort(np.linalg.norm(vectors.astype(np.float64) - probe, axis=1))[:40]
        assert len(set(found[0].tolist())) == 40
        assert np.max(np.abs(exact**2 - best**2)) <= 2 * index.tolerance
        assert np.max(np.abs(distances[0].astype(np.float64) ** 2 - best**2)) <= index.tolerance


def test_torch_searches_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_index = pytest.importorskip("facedb.index.torch", reason="torch is not installed")
    monkeypatch.setattr(torch_index, "_CHUNK", 64)
    monkeypatch.setattr(torch_index, "_PROBES", 3)
    vectors = people(500, 1, seed=2, dim=DIM)
    index = torch_index.TorchIndex(np.arange(500), vectors, "cpu")
    found, _ = index.search(vectors[[3, 77, 480, 130]], 4)
    assert found[:, 0].tolist() == [3, 77, 480, 130]


def test_add_remove_save_load(tmp_path: Path) -> None:
    vectors = people(50, 1, dim=DIM)
    index = flat(np.arange(10), vectors[:10])
    assert index.search(vectors[30:31], 1)[0].item() < 10
    index.add(np.arange(10, 50), vectors[10:])
    assert index.search(vectors[30:31], 1)[0].item() == 30
    index.remove(np.array([3, 30, 999]))
    assert index.search(vectors[30:31], 1)[0].item() not in (3, 30)
    assert index.all_ids().tolist() == [n for n in range(50) if n not in (3, 30)]
    index.save(str(tmp_path / "x"))
    again = load(str(tmp_path / "x"))
    assert (again.count, again.dim, again.kind) == (48, DIM, "flat")
    np.testing.assert_array_equal(again.vectors_of(np.array([29, 31])), vectors[[29, 31]])
    with pytest.raises(RuntimeError):
        load(__file__)


def test_inverted_file_finds_nearly_everything(tmp_path: Path) -> None:
    count = IVF_FROM
    vectors = people(count // 10, 10, dim=DIM)
    ids = np.arange(count, dtype=np.int64)
    calls = []

    def blocks() -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        calls.append(1)
        return [(part, vectors[part]) for part in np.array_split(ids, 7)]

    index = build("ivf", DIM, count, blocks)
    assert (index.kind, index.count, len(calls)) == ("ivf", count, 2)
    exact = flat(ids, vectors)
    probes = unit(vectors[::97] + 0.05)
    recall = np.mean(index.search(probes, 1)[0] == exact.search(probes, 1)[0])
    assert recall > 0.97
    # Not every list is searched: who is wanted beyond those is nobody, infinitely far.
    found, distances = index.search(probes[:2], count)
    assert (found < 0).any()
    assert np.array_equal(found < 0, np.isinf(distances))
    assert index.all_ids().tolist() == ids.tolist()
    index.remove(ids[:5])
    index.save(str(tmp_path / "ivf"))
    assert load(str(tmp_path / "ivf")).all_ids().tolist() == ids[5:].tolist()
    assert index.vectors_of(ids[5:7]) is None


def test_few_templates_are_searched_exactly_whatever_was_asked() -> None:
    vectors = people(10, 1, dim=DIM)
    assert build("ivf", DIM, 10, lambda: [(np.arange(10), vectors)]).kind == "flat"


def test_cuda_without_a_gpu_is_an_error() -> None:
    index = flat(np.arange(3), people(3, 1, dim=DIM))
    assert search_cache(index, "cpu") is index
    if gpu_count() == 0:
        torch = pytest.importorskip("torch", reason="torch is not installed")
        if not torch.cuda.is_available():
            with pytest.raises(DependencyMissing, match="no GPU"):
                search_cache(index, "cuda")


def test_rank_keeps_each_identity_once() -> None:
    hits = Hits(
        np.array([[4, 9, 2, 7, 1], [5, 6, 8, -1, -1]]),
        np.array([[1, 1, 3, 1, 2], [3, 3, 3, -1, -1]]),
        np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, np.inf, np.inf]]),
    )
    ranked = rank(hits, 3)
    assert ranked.template_ids.tolist() == [[4, 2, 1], [5, -1, -1]]
    assert ranked.identity_ids.tolist() == [[1, 3, 2], [3, -1, -1]]
    assert ranked.distances.tolist() == [[0.1, 0.3, 0.5], [0.6, np.inf, np.inf]]
    assert first_of_each(hits.identity_ids).tolist() == [
        [True, False, True, False, True],
        [True, False, False, False, False],
    ]


@pytest.mark.parametrize(
    ("distance", "threshold", "expected"),
    [
        (0.5, 0.5, True),
        (0.5000001, 0.5, False),
        (0.0, 0.0, True),
        (float("nan"), 2.0, False),
        (float("inf"), 2.0, False),
        (0.1, None, False),
    ],
)
def test_accepts(distance: float, threshold: float | None, expected: bool) -> None:
    assert accepts(distance, threshold) is expected
