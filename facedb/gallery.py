"""Gallery: the store and its index as one object.

The index proposes, the store disposes: an index file may lag, be missing or be wrong, and the
answers stay those of brute force over the store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from facedb import snapshot as snapshots
from facedb.device import Device
from facedb.errors import BadEmbedding, GalleryBusy, GalleryFull, GalleryReadOnly
from facedb.index import IndexKind
from facedb.index.device import search_cache
from facedb.index.faiss import FaissIndex, build
from facedb.lock import ReadWriteLock
from facedb.snapshot import SnapshotInvalid
from facedb.store import Pin, State, Store, Writer
from facedb.typed import typed
from facedb.types import Embeddings, Hits
from facedb.view import View

_logger = logging.getLogger("facedb")

# Called with the name of each step of a write; the crash tests kill the process in it.
on_step: Callable[[str], None] = lambda step: None  # noqa: E731

_TRIES = 5

_T = TypeVar("_T")


class Gallery:
    """An open gallery. Threads may search it at once; a search sees every commit before it."""

    def __init__(self, store: Store, device: Device = "auto") -> None:
        self.store = store
        self._device: Device = device
        self._view: View | None = None
        self._lock = ReadWriteLock()

    @classmethod
    def create(
        cls, folder: Path, pin: Pin, kind: IndexKind = "flat", device: Device = "auto"
    ) -> Gallery:
        """Make an empty gallery, or open the one that is there."""
        return cls(Store.create(folder, pin, kind), device)

    @classmethod
    def open(cls, folder: Path, device: Device = "auto") -> Gallery:
        """Open an existing gallery; GalleryMissing, GalleryDamaged or GalleryReadOnly."""
        return cls(Store.open(folder), device)

    @property
    def folder(self) -> Path:
        return self.store.folder

    def close(self) -> None:
        self._view = None
        self.store.close()

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """One write transaction; call `settle` when no more will follow soon."""
        on_step("write: before the transaction")
        with self.store.writing() as writer:
            yield writer
            on_step("write: before the commit")
        on_step("write: committed")

    def settle(self) -> bool:
        """Publish a new snapshot when the index file lags far enough behind to be worth it.

        After a removal it always is: the old file still holds the vectors.

        Raises:
            GalleryFull, GalleryReadOnly, GalleryBusy: it cannot be; what was committed is kept.
        """
        state = self.store.state()
        behind = state.snapshot.revision if state.snapshot else 0
        added, removed = self.store.pending(behind)
        count = state.snapshot.count if state.snapshot else 0
        if not removed and added <= max(1000, count // 50) and (count or not added):
            published = state.snapshot.file if state.snapshot else None
            if any(file.name != published for file in snapshots.files(self.folder)):
                self._clean()
            return False
        try:
            self.publish()
        except (GalleryFull, GalleryReadOnly, GalleryBusy) as error:
            if not removed:
                raise
            raise type(error)(
                f"{self.folder}: what was removed is removed, but the old index file still holds "
                f"its vectors until this succeeds: {typed('gallery rebuild', gallery=self.folder)} "
                f"({error})"
            ) from error
        return True

    def publish(self) -> None:
        """Write the index as of now, make it the published one, delete every other file."""
        with self._reading() as view:
            self._publish(view)

    def _publish(self, view: View) -> None:
        gallery = self.store.state().uuid
        registered = False
        while not registered:
            written = snapshots.write(self.folder, view.index, gallery, view.revision, on_step)
            with self.store.writing() as writer:
                # Whoever cleans up holds the write lock too, and may have taken it for a stray.
                registered = written is not None and (self.folder / written.file).exists()
                if registered and written is not None:
                    writer.register_snapshot(written)
        on_step("snapshot: registered")
        self._clean()
        on_step("snapshot: older files deleted")
        self.store.empty_log()
        on_step("snapshot: log emptied")

    def _clean(self) -> None:
        """Delete every index file but the published one; they may hold vectors that are gone."""
        with self.store.writing() as writer:
            snapshots.clean(self.folder, keep=writer.snapshot_file())

    def rebuild(self, kind: IndexKind | None = None) -> None:
        """Make the index anew from the store, as another kind when asked, and publish it."""
        with self.store.writing() as writer:
            writer.drop_snapshot()
            if kind is not None:
                writer.set_index_kind(kind)
        with self._lock.write():
            self._view = None
        self.publish()

    def check(self) -> list[str]:
        """Read every byte of store and snapshot; what is wrong, in words. Empty when sound."""
        wrong = self.store.integrity()
        for _ in range(_TRIES):
            state = self.store.state()
            found = self._check_snapshot(state)
            if not found or self.store.state() == state:
                return wrong + found
        return [*wrong, "somebody kept writing while the index file was checked: check it again"]

    def _check_snapshot(self, state: State) -> list[str]:
        if state.snapshot is None:
            return []
        try:
            index = snapshots.read(
                self.folder, state.snapshot, state.uuid, self.store.pin.dim, whole=True
            )
        except SnapshotInvalid as error:
            return [f"index file {state.snapshot.file}: {error}"]
        return self._compare(self._caught_up(index, state.snapshot.revision, state), state)

    def _compare(self, index: FaissIndex, state: State) -> list[str]:
        ids = self.store.identity_ids()[0]
        if not np.array_equal(ids, index.all_ids()):
            return ["the index file holds other templates than the store"]
        for block, vectors in self.store.added(0, state.revision):
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
            if not np.all(np.abs(norms - 1.0) < 1e-3):
                return ["the store holds a vector that is not of length 1"]
            indexed = index.vectors_of(block)
            if indexed is not None and not np.array_equal(indexed, vectors):
                return ["the index file holds other vectors than the store"]
        return []

    def load(self) -> None:
        """Read the index now, and not when somebody first searches."""
        with self._reading():
            pass

    def search(self, probes: Embeddings, k: int) -> Hits:
        """The templates near each probe, as many as make its k nearest identities certain.

        Args:
            probes: float32[m, d] unit rows.
            k: identities wanted, 1 or more; with fewer enrolled, all of them come.

        Returns:
            Hits with distances recomputed in float64 from the stored vectors, by rising distance,
            then template id.
        """
        if probes.ndim != 2 or probes.shape[1] != self.store.pin.dim:
            raise BadEmbedding(
                f"probes of shape {probes.shape} for a gallery of {self.store.pin.dim} dimensions"
            )
        if not np.isfinite(probes).all():
            raise BadEmbedding("a probe is not finite")
        with self._reading() as view:
            return view.search(probes, k)

    def vectors_of(self, identity_ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], Embeddings]:
        """All templates of some people, as of the last search or later.

        Args:
            identity_ids: int64[n], rising.

        Returns:
            int64[t] places in `identity_ids`, rising, and float32[t, d] the vectors.
        """
        with self._lock.read():
            view = self._view
            found = None if view is None else view.vectors_of(identity_ids)
        if found is not None:
            return found
        owners, vectors = self.store.vectors_of(identity_ids.tolist())
        return np.searchsorted(identity_ids, owners), vectors

    def at_one_revision(self, read: Callable[[], _T]) -> _T:
        """What several reads find together; repeated where somebody commits between them."""
        for _ in range(_TRIES):
            revision = self.store.revision()
            found = read()
            if self.store.revision() == revision:
                break
        return found

    @contextmanager
    def _reading(self) -> Iterator[View]:
        """The index as of the last commit; it does not change while the block runs."""
        revision = self.store.revision()
        while True:
            with self._lock.read():
                view = self._view
                if view is not None and view.revision >= revision:
                    yield view
                    return
            with self._lock.write():
                self._refresh()

    def _refresh(self) -> None:
        # Forgotten until it is whole: an error on the way must not leave half a view.
        view, self._view = self._view, None
        while True:
            state = self.store.state()
            self.store.check_encoder(state.made_by)
            if view is not None and view.revision == state.revision:
                self._view = view
                return
            # Removals older than the published snapshot are no longer on record.
            if view is None or (state.snapshot and state.snapshot.revision > view.revision):
                view = self._opened(state)
            self._caught_up(view.index, view.revision, state)
            if self.store.state().snapshot == state.snapshot:
                break
            view = None
        cache = search_cache(view.index, self._device)
        self._view = View(self.store, view.index, cache, state.revision, view.verified)

    def _caught_up(self, index: FaissIndex, revision: int, state: State) -> FaissIndex:
        if revision < state.revision:
            index.remove(self.store.removed(revision, state.revision))
            for ids, vectors in self.store.added(revision, state.revision):
                index.add(ids, vectors)
        return index

    def _opened(self, state: State) -> View:
        snapshot = state.snapshot
        if snapshot is None:
            return self._built(state)
        try:
            index = snapshots.read(self.folder, snapshot, state.uuid, self.store.pin.dim)
        except SnapshotInvalid as error:
            newer = self.store.state()
            if newer.snapshot != snapshot:
                return self._opened(newer)
            return self._replaced(snapshot.file, error, newer)
        verified = snapshot.bytes <= snapshots.VERIFIED_BYTES
        return View(self.store, index, index, snapshot.revision, verified)

    def _replaced(self, file: str, error: SnapshotInvalid, state: State) -> View:
        _logger.warning("%s: %s; rebuilding it from the store", self.folder / file, error)
        view = self._built(state)
        if self.store.writable:
            snapshots.set_aside(self.folder, file)
            self._publish(view)
        return view

    def _built(self, state: State) -> View:
        kind: IndexKind = "ivf" if state.index_kind == "ivf" else "flat"
        count, dim = self.store.count(), self.store.pin.dim
        index = build(kind, dim, count, lambda: self.store.added(0, state.revision))
        return View(self.store, index, index, state.revision, verified=True)
