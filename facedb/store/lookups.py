"""What is asked of a store: every query that only reads."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from facedb.errors import GalleryDamaged
from facedb.store import queries
from facedb.store.connection import blocks
from facedb.store.records import FileRow, Person, Pin, Snapshot, State, StoredTemplate
from facedb.store.tables import (
    DOUBTS_SINCE,
    alias_table,
    file_table,
    identity_table,
    reencoded_table,
    removal_table,
    snapshot_table,
    template_table,
)
from facedb.types import Embeddings, Quality


class Lookups(ABC):
    """Questions to a store; each takes a connection of its own."""

    folder: Path
    pin: Pin
    _has_doubts = False

    @abstractmethod
    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A connection for this package's own queries."""

    @abstractmethod
    def _reading_vectors(self) -> AbstractContextManager[sa.Connection]:
        """A connection to one state of the store, whose vectors are those of its pin."""

    def state(self) -> State:
        """Revision, index kind and snapshot, read together."""
        with self.reading() as connection:
            connection.exec_driver_sql("BEGIN")
            gallery = connection.execute(queries.GALLERY).mappings().one()
            row = connection.execute(sa.select(snapshot_table)).mappings().one_or_none()
        snapshot = None
        if row is not None:
            snapshot = Snapshot(**{name: row[name] for name in Snapshot.__dataclass_fields__})
        return State(
            gallery["uuid"],
            pin_of(gallery).made_by,
            gallery["revision"],
            gallery["index_kind"],
            snapshot,
        )

    def revision(self) -> int:
        """The number of the last committed write."""
        with self.reading() as connection:
            return int(connection.execute(queries.REVISION).scalar_one())

    def count(self) -> int:
        """How many templates are stored."""
        with self.reading() as connection:
            return int(connection.execute(queries.COUNT).scalar_one())

    def added(self, after: int, upto: int) -> Iterator[tuple[NDArray[np.int64], Embeddings]]:
        """Templates of revisions after..upto by rising id: blocks of int64[n], float32[n, d]."""
        columns = template_table.c
        query = sa.select(columns.id, columns.vector).order_by(columns.id)
        # From the beginning, the table in its own order is faster than the index on revision.
        wanted = (
            columns.revision.between(after + 1, upto) if after else columns.revision + 0 <= upto
        )
        query = query.where(wanted)
        with self._reading_vectors() as connection:
            result = connection.execute(query, execution_options={"yield_per": 8192})
            for block in result.partitions():
                ids = np.array([row[0] for row in block], dtype=np.int64)
                yield ids, self._vectors(row[1] for row in block)

    def enrolled(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.str_], Embeddings]:
        """All templates of one revision, by rising id: int64[n] ids, int64[n] identity ids, str[n]
        digests of their photos, float32[n, d].
        """
        columns = template_table.c
        query = sa.select(columns.id, columns.identity_id, columns.sha256, columns.vector)
        numbers: list[tuple[int, int]] = []
        digests: list[str] = []
        vectors = [np.empty((0, self.pin.dim), dtype=np.float32)]
        with self._reading_vectors() as connection:
            rows = connection.execute(
                query.order_by(columns.id), execution_options={"yield_per": 8192}
            )
            for block in rows.partitions():
                numbers += [(row[0], row[1]) for row in block]
                digests += [row[2] for row in block]
                vectors.append(self._vectors(row[3] for row in block))
        ids, identities = np.array(numbers, dtype=np.int64).reshape(-1, 2).T
        return ids, identities, np.array(digests, dtype=np.str_), np.concatenate(vectors)

    def removed(self, after: int, upto: int) -> NDArray[np.int64]:
        """int64[n]: templates removed in the revisions after..upto, as far as still on record."""
        columns = removal_table.c
        query = sa.select(columns.template_id).where(
            columns.revision > after, columns.revision <= upto
        )
        with self.reading() as connection:
            return np.array(connection.execute(query).scalars().all(), dtype=np.int64)

    def pending(self, revision: int) -> tuple[int, int]:
        """How many templates were added after `revision`, and how many removals are on record."""
        added = sa.select(sa.func.count()).where(template_table.c.revision > revision)
        removed = sa.select(sa.func.count()).select_from(removal_table)
        with self.reading() as connection:
            row = connection.execute(
                sa.select(added.scalar_subquery(), removed.scalar_subquery())
            ).one()
        return int(row[0]), int(row[1])

    def identity_ids(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """int64[n] template ids, rising, and int64[n] the identity id of each."""
        with self.reading() as connection:
            # The index on identity_id holds both numbers: no vector is read.
            result = connection.exec_driver_sql(
                "SELECT id, identity_id FROM template INDEXED BY ix_template_identity_id"
            )
            rows = result.cursor.fetchall() if result.cursor is not None else []
        table = np.array(rows, dtype=np.int64).reshape(-1, 2)
        table = table[np.argsort(table[:, 0])]
        return table[:, 0].copy(), table[:, 1].copy()

    def owners_of(self, template_ids: Sequence[int]) -> dict[int, int]:
        """template id -> identity id, for those of `template_ids` still stored."""
        found: dict[int, int] = {}
        with self.reading() as connection:
            for block in blocks(template_ids):
                for row in connection.execute(queries.OWNERS_OF, {"ids": block}):
                    found[row[0]] = row[1]
        return found

    def vectors_at(self, template_ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """template id -> float32[d], for those of `template_ids` still stored."""
        found: dict[int, NDArray[np.float32]] = {}
        with self._reading_vectors() as connection:
            for block in blocks(template_ids):
                for row in connection.execute(queries.VECTORS_AT, {"ids": block}):
                    found[row[0]] = self._vectors(row[1:])[0]
        return found

    def describe(self, template_ids: Sequence[int]) -> dict[int, StoredTemplate]:
        """template id -> where it came from, for those of `template_ids` still stored."""
        found: dict[int, StoredTemplate] = {}
        with self.reading() as connection:
            query = self._if_kept(connection, queries.DESCRIBE, queries.OLDER_DESCRIBE)
            for block in blocks(template_ids):
                for row in connection.execute(query, {"ids": block}):
                    found[row[0]] = _stored_template(row)
        return found

    def templates_of(self, identity_id: int) -> list[StoredTemplate]:
        """A person's templates by rising id."""
        return list(self._templates(template_table.c.identity_id == identity_id))

    def templates(self, after: int = 0) -> Iterator[StoredTemplate]:
        """All templates of revisions later than `after`, by rising id."""
        return self._templates(template_table.c.revision > after if after else sa.true())

    def templates_to_reencode(self, made_by: str) -> list[StoredTemplate]:
        """Templates without a new vector of this encoder and detector."""
        columns = reencoded_table.c
        done = sa.select(columns.template_id).where(columns.made_by == made_by)
        return list(self._templates(template_table.c.id.not_in(done)))

    def _templates(self, wanted: sa.ColumnElement[bool]) -> Iterator[StoredTemplate]:
        with self.reading() as connection:
            query = self._if_kept(connection, queries.TEMPLATES, queries.OLDER_TEMPLATES)
            result = connection.execute(query.where(wanted), execution_options={"yield_per": 4096})
            for row in result:
                yield _stored_template(row)

    def _if_kept(
        self, connection: sa.Connection, query: sa.Select[Any], older: sa.Select[Any]
    ) -> sa.Select[Any]:
        """`query`, or `older` where the store keeps no qualities yet."""
        if not self._has_doubts:
            self._has_doubts = queries.written_since(connection, DOUBTS_SINCE)
        return query if self._has_doubts else older

    def people(self) -> list[Person]:
        """Everyone enrolled, by name."""
        with self.reading() as connection:
            counts = {row[0]: row[1] for row in connection.execute(queries.COUNTS)}
            aliases: dict[int, list[str]] = {}
            for name, identity_id in connection.execute(queries.ALIASES):
                aliases.setdefault(identity_id, []).append(name)
            rows = connection.execute(queries.PEOPLE).all()
        return [
            Person(
                identity_id, name, tuple(aliases.get(identity_id, ())), counts.get(identity_id, 0)
            )
            for identity_id, name in rows
        ]

    def names(self) -> set[str]:
        """Every name and alias."""
        query = sa.union_all(sa.select(identity_table.c.name), sa.select(alias_table.c.name))
        with self.reading() as connection:
            return set(connection.execute(query).scalars())

    def sizes_of(self, identity_ids: Sequence[int]) -> dict[int, tuple[int, str]]:
        """identity id -> how many templates, and the name, for those still enrolled."""
        found: dict[int, tuple[int, str]] = {}
        with self.reading() as connection:
            for block in blocks(identity_ids):
                for row in connection.execute(queries.SIZES_OF, {"ids": block}):
                    found[row[0]] = row[1], row[2]
        return found

    def __contains__(self, sha256: object) -> bool:
        """Whether a photo of this digest is enrolled."""
        with self.reading() as connection:
            return connection.execute(queries.ENROLLED, {"sha256": sha256}).first() is not None

    def vectors_of(self, identity_ids: Sequence[int]) -> tuple[NDArray[np.int64], Embeddings]:
        """The templates of these identities: int64[n] owners, rising, and float32[n, d]."""
        owners: list[int] = []
        vectors: list[bytes] = []
        with self._reading_vectors() as connection:
            for block in blocks(sorted(identity_ids)):
                for row in connection.execute(queries.VECTORS_OF, {"ids": block}):
                    owners.append(row[0])
                    vectors.append(row[1])
        return np.array(owners, dtype=np.int64), self._vectors(vectors)

    def count_people(self) -> int:
        """How many identities are enrolled."""
        query = sa.select(sa.func.count()).select_from(identity_table)
        with self.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def files_under(self, folder: str) -> dict[str, FileRow]:
        """path -> what is remembered of the file, for the files anywhere below `folder`."""
        start = folder.rstrip(os.sep) + os.sep
        after = start[:-1] + chr(ord(os.sep) + 1)
        path = file_table.c.path
        query = sa.select(file_table).where(path >= start, path < after)
        return self._files(query)

    def files_left_out(self) -> list[FileRow]:
        """What is remembered of the files that could not be enrolled."""
        query = sa.select(file_table).where(file_table.c.reason.is_not(None))
        return list(self._files(query).values())

    def files_at(self, paths: Sequence[str]) -> dict[str, FileRow]:
        """path -> what is remembered of the file, for those of `paths` that are."""
        found: dict[str, FileRow] = {}
        for block in blocks(paths):
            found |= self._files(sa.select(file_table).where(file_table.c.path.in_(block)))
        return found

    def paths_of(self, digests: Sequence[str]) -> dict[str, list[str]]:
        """sha256 -> every remembered file of that photo, for those that have one."""
        found: dict[str, list[str]] = {}
        with self.reading() as connection:
            for block in blocks(digests):
                query = sa.select(file_table.c.sha256, file_table.c.path)
                for row in connection.execute(query.where(file_table.c.sha256.in_(block))):
                    found.setdefault(row[0], []).append(row[1])
        return found

    def files_of(self, names: Sequence[str]) -> dict[str, FileRow]:
        """path -> what is remembered of the file, for the files in folders of these names."""
        return self._files(sa.select(file_table).where(file_table.c.identity.in_(names)))

    def refused(self) -> int:
        """How many files are remembered as left out."""
        query = sa.select(sa.func.count()).where(file_table.c.reason.is_not(None))
        with self.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def _files(self, query: sa.Select[Any]) -> dict[str, FileRow]:
        with self.reading() as connection:
            rows = connection.execute(query).mappings()
            return {row["path"]: FileRow(**row) for row in rows}

    def _vectors(self, blobs: Iterable[bytes]) -> Embeddings:
        flat = np.frombuffer(b"".join(blobs), dtype="<f4")
        if flat.size % self.pin.dim:
            raise GalleryDamaged(f"{self.folder}: a stored vector has the wrong length")
        return flat.reshape(-1, self.pin.dim)


def pin_of(row: sa.RowMapping) -> Pin:
    return Pin(**{name: row[name] for name in Pin.__dataclass_fields__})


def _stored_template(row: Sequence[Any]) -> StoredTemplate:
    template_id, identity, sha256, photo, x, y, width, height, score, chance, poor, faces = row
    quality = None if chance is None else Quality(chance, poor != "", poor)
    box = x, y, width, height
    return StoredTemplate(template_id, identity, sha256, photo or "", box, score, quality, faces)
