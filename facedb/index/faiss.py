"""FAISS behind the index protocol: exact or inverted-file search on the CPU, clones on a GPU."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facedb.errors import DependencyMissing
from facedb.index.base import IndexKind
from facedb.types import Embeddings

try:
    import faiss
except ImportError as error:
    raise DependencyMissing("FAISS is not installed; from a clone: pip install '.[cpu]'") from error

if hasattr(os, "register_at_fork"):
    # The threads do not come along into a forked process, which would wait for them.
    os.register_at_fork(after_in_child=lambda: faiss.omp_set_num_threads(1))

Blocks: TypeAlias = Iterable[tuple[NDArray[np.int64], Embeddings]]

IVF_FROM = 20_000  # below this many templates an inverted file is slower than exact search
_FLAT_TOLERANCE = 4e-5  # float32 rounding of 2 - 2 <p, v> at up to 512 dimensions
_GPU_MAX_K = 2048
_FEW = 8  # from so many probes on FAISS is quicker than BLAS for one after the other
_RUN = 64  # values of which only the largest is looked at first


class FaissIndex:
    """A FAISS index on the CPU that can be written, saved and searched.

    Several threads may search at once; writing needs the index to itself.
    """

    def __init__(self, index: Any) -> None:
        self._index = index
        self._ids: NDArray[np.int64] | None = None
        self._vectors: Embeddings | None = None

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        return int(self._index.d)

    @property
    def kind(self) -> IndexKind:
        return "flat" if isinstance(self._index, faiss.IndexIDMap) else "ivf"

    @property
    def tolerance(self) -> float:
        return _FLAT_TOLERANCE

    @property
    def native(self) -> Any:
        """The FAISS index itself, to be cloned onto a GPU."""
        return self._index

    def search(self, probes: Embeddings, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        probes = np.ascontiguousarray(probes, dtype=np.float32)
        if len(probes) < _FEW and self.kind == "flat":
            similarities, ids = self._search_one_by_one(probes, k)
        else:
            similarities, ids = self._index.search(probes, k)
        return ids, _distances(similarities, ids)

    def _search_one_by_one(
        self, probes: Embeddings, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        # FAISS scans for a probe on one thread. BLAS is quicker on one, and has all of them.
        similarities = np.full((len(probes), k), -np.inf, dtype=np.float32)
        ids = np.full((len(probes), k), -1, dtype=np.int64)
        for row, probe in enumerate(probes):
            products = self._rows() @ probe
            places = _largest(products, k)
            similarities[row, : len(places)] = products[places]
            ids[row, : len(places)] = self.all_ids()[places]
        return similarities, ids

    def add(self, ids: NDArray[np.int64], vectors: Embeddings) -> None:
        """Add float32[n, d] unit rows under int64[n] ids, larger than every id before."""
        self._ids = self._vectors = None
        self._index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), ids)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Drop these ids; those that are not there are ignored."""
        if ids.size:
            self._ids = self._vectors = None
            self._index.remove_ids(ids)

    def all_ids(self) -> NDArray[np.int64]:
        """int64[count]: the template ids, rising."""
        ids = self._ids
        if ids is None:
            ids = self._read_ids()
            self._ids = ids
        return ids

    def vectors_of(self, ids: NDArray[np.int64]) -> Embeddings | None:
        """float32[n, d] rows as they were added, of ids that are there; None when the index keeps
        none, or an id is larger than any that it holds.
        """
        if self.kind != "flat":
            return None
        known = self.all_ids()
        if ids.max(initial=-1) > (known[-1] if len(known) else -1):
            return None
        # Without gaps an id says where its row is.
        gapless = len(known) > 0 and known[-1] - known[0] + 1 == len(known)
        return self._rows()[ids - known[0] if gapless else np.searchsorted(known, ids)]

    def flat_rows(self) -> Embeddings | None:
        """float32[count, d] in the order of `all_ids`, a view; None when it is not flat."""
        return self._rows() if self.kind == "flat" else None

    def save(self, file: str) -> None:
        """Write the index to `file`, which need not be safe against a kill: the caller's is."""
        faiss.write_index(self._index, file)

    def _rows(self) -> Embeddings:
        if self._vectors is None:
            flat: Any = faiss.downcast_index(self._index.index)
            rows = faiss.rev_swig_ptr(flat.get_xb(), self.count * self.dim)
            self._vectors = rows.reshape(self.count, self.dim)
        return self._vectors

    def _read_ids(self) -> NDArray[np.int64]:
        if self.kind == "flat":
            return np.asarray(faiss.vector_to_array(self._index.id_map), dtype=np.int64)
        lists = self._index.invlists
        parts = [
            faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).copy()
            for number in range(lists.nlist)
            if lists.list_size(number)
        ]
        return np.sort(np.concatenate(parts).astype(np.int64)) if parts else np.empty(0, np.int64)


def build(kind: IndexKind, dim: int, count: int, blocks: Callable[[], Blocks]) -> FaissIndex:
    """Make an index of `count` templates that `blocks()` yields by rising id.

    `blocks` is called once for a flat index and twice for an inverted file, whose first pass
    trains the centroids. An inverted file of few templates is made flat: it would be slower.
    """
    if kind == "ivf" and count >= IVF_FROM:
        index = FaissIndex(_trained_inverted_file(dim, count, blocks()))
    else:
        index = FaissIndex(faiss.IndexIDMap(faiss.IndexFlatIP(dim)))
        _reserve(index.native, count)
    for ids, vectors in blocks():
        index.add(ids, vectors)
    return index


def load(file: str) -> FaissIndex:
    """Read what `save` wrote; RuntimeError when it is no FAISS index."""
    return FaissIndex(faiss.read_index(file))


def gpu_count() -> int:
    """GPUs that this build of FAISS can use."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


class FaissGpuIndex:
    """A search cache on one GPU, cloned from a CPU index and never written.

    Not run on a GPU by its authors yet. For more neighbours than a GPU can find it asks the CPU.
    """

    def __init__(self, index: FaissIndex) -> None:
        self._on_cpu = index
        self._resources = faiss.StandardGpuResources()
        self._index = faiss.index_cpu_to_gpu(self._resources, 0, index.native)

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    @property
    def tolerance(self) -> float:
        return _FLAT_TOLERANCE

    def search(self, probes: Embeddings, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if k > _GPU_MAX_K:  # only where somebody has thousands of photos
            return self._on_cpu.search(probes, k)
        similarities, ids = self._index.search(np.ascontiguousarray(probes, dtype=np.float32), k)
        return ids, _distances(similarities, ids)


def _largest(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """int64[k]: where the k largest of [n] values are, the largest first; NaN is none of them."""
    runs = np.fmax.reduce(values[: len(values) // _RUN * _RUN].reshape(-1, _RUN), axis=1)
    # As many runs as are wanted have a value of at least this: nothing smaller is among the k.
    least = np.partition(runs if k <= len(runs) else values, -k)[-k]
    places = np.flatnonzero(values >= least)
    return places[np.argsort(-values[places], kind="stable")[:k]]


def _distances(similarities: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
    # Where FAISS found nothing it leaves a number whose double is too large.
    distances: NDArray[np.float32] = np.sqrt(2.0 - 2.0 * np.clip(similarities, -1.0, 1.0))
    distances[ids < 0] = np.inf
    return distances


def _reserve(index: Any, count: int) -> None:
    # One allocation of the final size, which shrinking keeps: doubling would hold them twice.
    flat: Any = faiss.downcast_index(index.index)
    flat.codes.resize(count * index.d * 4)
    flat.codes.resize(0)


def _trained_inverted_file(dim: int, count: int, blocks: Blocks) -> Any:
    lists = int(4 * math.sqrt(count))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 1
    index.nprobe = max(16, lists // 16)
    step = max(1, count // (64 * lists))
    index.train(np.concatenate([vectors[::step] for _, vectors in blocks]))
    return index
