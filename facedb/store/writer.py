"""The statements of one write transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from facedb.photos.reasons import enrolled_as
from facedb.store.connection import blocks
from facedb.store.records import (
    FileRow,
    NewTemplate,
    OperatingPoint,
    Pin,
    Snapshot,
    StoredProbe,
)
from facedb.store.tables import (
    FACE_COLUMNS,
    alias_table,
    file_table,
    gallery_table,
    identity_table,
    operating_point_table,
    probe_table,
    reencoded_table,
    removal_table,
    snapshot_table,
    template_table,
)


class Writer:
    """The statements of one write transaction; made by `Store.writing`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    @cached_property
    def revision(self) -> int:
        """The number of this write; it rises when something first asks for it."""
        revision = gallery_table.c.revision
        self._connection.execute(sa.update(gallery_table).values(revision=revision + 1))
        return int(self._connection.execute(sa.select(revision)).scalar_one())

    def _identities(self, names: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for block in blocks(names):
            for row in self._connection.execute(_FIND_IDENTITIES, {"names": block}):
                found[row[0]] = row[1]
        return found

    def _identities_made(self, names: Sequence[str]) -> dict[str, int]:
        """The identities of these names or aliases, made where there are none."""
        found = self._identities(names)
        new = [{"name": name} for name in names if name not in found]
        if new:
            self._connection.execute(sa.insert(identity_table), new)
            found = self._identities(names)
        return found

    def names_of(self, names: Sequence[str]) -> dict[str, str]:
        """name or alias -> the name it leads to, for those that are enrolled."""
        found = self._identities(names)
        columns = identity_table.c
        canonical: dict[int, str] = {}
        for block in blocks(sorted(set(found.values()))):
            query = sa.select(columns.id, columns.name).where(columns.id.in_(block))
            canonical |= {row[0]: row[1] for row in self._connection.execute(query)}
        return {name: canonical[identity_id] for name, identity_id in found.items()}

    def owners_of_photos(self, digests: Sequence[str]) -> dict[str, str]:
        """sha256 -> the name of the person it is enrolled for."""
        found: dict[str, str] = {}
        for block in blocks(digests):
            for row in self._connection.execute(_OWNERS, {"digests": block}):
                found[row[0]] = row[1]
        return found

    def add_templates(self, templates: Sequence[NewTemplate]) -> None:
        """Insert templates; their photos must not be enrolled already."""
        identities = self._identities_made(sorted({t.identity for t in templates}))
        rows = [
            {
                "identity_id": identities[template.identity],
                "revision": self.revision,
                "sha256": template.sha256,
                **_face_columns(template),
            }
            for template in templates
        ]
        if rows:
            self._connection.execute(sa.insert(template_table), rows)

    def put_reencoded(self, made_by: str, templates: Mapping[int, NewTemplate]) -> None:
        """Lay new vectors beside the old ones: template id -> what replaces it."""
        rows = [
            {"template_id": number, "made_by": made_by, **_face_columns(template)}
            for number, template in templates.items()
        ]
        if rows:
            self._connection.execute(sa.insert(reencoded_table).prefix_with("OR REPLACE"), rows)

    def change_encoder(self, pin: Pin, drop: Sequence[int]) -> bool:
        """Put every new vector in its place, drop these templates, pin the new encoder.

        Returns:
            False, with nothing changed, when a template has no new vector and is not to go.
        """
        new, old = reencoded_table.c, template_table.c
        ready = sa.select(new.template_id).where(new.made_by == pin.made_by)
        missing = sa.select(old.id).where(old.id.not_in(ready))
        if set(self._connection.execute(missing).scalars()) - set(drop):
            return False
        # Whoever has the old vectors in memory is to drop them all.
        self._record_removal(sa.true())
        # Without their rows the photos would pass for read when they come back.
        dropped = sa.select(old.sha256).where(old.id.not_in(ready))
        self._connection.execute(sa.delete(file_table).where(file_table.c.sha256.in_(dropped)))
        self._connection.execute(sa.delete(template_table).where(old.id.not_in(ready)))
        replaced = {
            name: sa.select(new[name]).where(new.template_id == old.id).scalar_subquery()
            for name in FACE_COLUMNS
        }
        self._connection.execute(
            sa.update(template_table).values(revision=self.revision, **replaced)
        )
        for table in (reencoded_table, operating_point_table, probe_table):
            self._connection.execute(sa.delete(table))
        self._connection.execute(sa.update(gallery_table).values(**asdict(pin)))
        # What the old one refused is read again: the new one may see a face in it.
        refused = file_table.c.reason.is_not(None)
        self._connection.execute(sa.update(file_table).where(refused).values(mtime_ns=-1))
        self._remove_empty_identities()
        self.drop_snapshot()
        return True

    def put_files(self, rows: Sequence[FileRow]) -> None:
        """Remember files as they were read, replacing what was known of the same path."""
        values = [{key: getattr(row, key) for key in FileRow.__dataclass_fields__} for row in rows]
        if values:
            self._connection.execute(sa.insert(file_table).prefix_with("OR REPLACE"), values)

    def forget_files(self, paths: Sequence[str]) -> None:
        """Drop what is known of these files; templates stay until `remove_orphans`."""
        for block in blocks(paths):
            self._connection.execute(sa.delete(file_table).where(file_table.c.path.in_(block)))

    def remove_orphans(self, digests: Sequence[str]) -> int:
        """Remove the templates of these photos that no remembered file shows any more."""
        if not digests:
            return 0
        known = sa.select(file_table.c.sha256).where(file_table.c.sha256.is_not(None))
        removed = 0
        for block in blocks(digests):
            digest = template_table.c.sha256
            removed += self._remove_templates(sa.and_(digest.in_(block), digest.not_in(known)))
        self._remove_empty_identities()
        return removed

    def _remove_empty_identities(self) -> None:
        """Remove who has no templates, and their names from what is remembered of others' files."""
        empty = identity_table.c.id.not_in(sa.select(template_table.c.identity_id))
        aliases = sa.select(alias_table.c.name).join(identity_table).where(empty)
        every = sa.union_all(sa.select(identity_table.c.name).where(empty), aliases)
        names = self._connection.execute(every).scalars().all()
        self._connection.execute(sa.delete(identity_table).where(empty))
        self._forget_refused_for(names)

    def _forget_refused_for(self, owners: Sequence[str]) -> None:
        """Forget files that were refused since their photo is enrolled as one of these people."""
        for block in blocks([enrolled_as(owner) for owner in owners]):
            self._connection.execute(sa.delete(file_table).where(file_table.c.reason.in_(block)))

    def _record_removal(self, condition: sa.ColumnElement[bool]) -> None:
        doomed = sa.select(template_table.c.id, sa.literal(self.revision)).where(condition)
        insert = sa.insert(removal_table).prefix_with("OR REPLACE")
        self._connection.execute(insert.from_select(["template_id", "revision"], doomed))

    def _remove_templates(self, condition: sa.ColumnElement[bool]) -> int:
        self._record_removal(condition)
        result = self._connection.execute(sa.delete(template_table).where(condition))
        # Kept probes don't say whose they are: they may be of whoever goes.
        self._connection.execute(sa.delete(probe_table))
        return int(result.rowcount)

    def _touch(self) -> None:
        _ = self.revision

    def rename_identity(self, identity_id: int, old: str, new: str) -> None:
        """Rename a person and keep the old name as an alias."""
        self._touch()
        self._connection.execute(sa.delete(alias_table).where(alias_table.c.name == new))
        self._connection.execute(
            sa.update(identity_table).where(identity_table.c.id == identity_id).values(name=new)
        )
        self._connection.execute(sa.insert(alias_table).values(name=old, identity_id=identity_id))
        refused = sa.update(file_table).where(file_table.c.reason == enrolled_as(old))
        self._connection.execute(refused.values(reason=enrolled_as(new)))

    def merge_identity(self, source: int, source_name: str, target: int) -> int:
        """Give everything of `source` to `target`; the source's name becomes an alias."""
        self._touch()
        moved = self._connection.execute(
            sa.update(template_table)
            .where(template_table.c.identity_id == source)
            .values(identity_id=target)
        )
        self._connection.execute(
            sa.update(alias_table)
            .where(alias_table.c.identity_id == source)
            .values(identity_id=target)
        )
        self._connection.execute(sa.delete(identity_table).where(identity_table.c.id == source))
        self._connection.execute(
            sa.insert(alias_table).values(name=source_name, identity_id=target)
        )
        self._forget_refused_for([source_name])
        return int(moved.rowcount)

    def register_snapshot(self, snapshot: Snapshot) -> bool:
        """Make `snapshot` the published one, unless a later one is; False when it is not."""
        current = self._connection.execute(sa.select(snapshot_table.c.revision)).scalar()
        if current is not None and current > snapshot.revision:
            return False
        self.drop_snapshot()
        values = {key: getattr(snapshot, key) for key in Snapshot.__dataclass_fields__}
        self._connection.execute(sa.insert(snapshot_table).values(id=1, **values))
        self._connection.execute(
            sa.delete(removal_table).where(removal_table.c.revision <= snapshot.revision)
        )
        return True

    def snapshot_file(self) -> str | None:
        """The published index file's name."""
        return self._connection.execute(sa.select(snapshot_table.c.file)).scalar()

    def drop_snapshot(self) -> None:
        """Forget the published snapshot."""
        self._connection.execute(sa.delete(snapshot_table))

    def set_index_kind(self, kind: str) -> None:
        """Choose the index that the next snapshot holds."""
        self._connection.execute(sa.update(gallery_table).values(index_kind=kind))

    def put_operating_point(self, made_by: str, point: OperatingPoint) -> None:
        """Store an operating point, replacing that of the same encoder and aggregation."""
        self._touch()
        values = {name: getattr(point, name) for name in OperatingPoint.__dataclass_fields__}
        for name in ("distances", "shares"):
            values[name] = np.ascontiguousarray(values[name], dtype="<f8").tobytes()
        insert = sa.insert(operating_point_table).prefix_with("OR REPLACE")
        self._connection.execute(insert, {"made_by": made_by, **values})

    def drop_operating_points(self) -> int:
        """Forget every operating point; returns how many there were."""
        self._touch()
        return self._connection.execute(sa.delete(operating_point_table)).rowcount

    def put_probes(self, made_by: str, probes: Sequence[StoredProbe]) -> None:
        """Keep the embeddings of probes."""
        sides = ("box_x", "box_y", "box_width", "box_height")
        rows = [
            {
                "sha256": probe.sha256,
                "made_by": made_by,
                **dict(zip(sides, probe.box or (None,) * 4, strict=True)),
                "vector": None if probe.vector is None else _blob(probe.vector),
            }
            for probe in probes
        ]
        if rows:
            self._connection.execute(sa.insert(probe_table).prefix_with("OR REPLACE"), rows)


def _blob(vector: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def _face_columns(template: NewTemplate) -> dict[str, object]:
    quality = template.quality
    doubts = (None, None) if quality is None else (quality.chance, quality.cause)
    values = (*template.box, template.score, _blob(template.vector), *doubts, template.faces)
    return dict(zip(FACE_COLUMNS, values, strict=True))


_FIND_IDENTITIES = sa.union_all(
    sa.select(identity_table.c.name, identity_table.c.id).where(
        identity_table.c.name.in_(sa.bindparam("names", expanding=True))
    ),
    sa.select(alias_table.c.name, alias_table.c.identity_id).where(
        alias_table.c.name.in_(sa.bindparam("names", expanding=True))
    ),
)
_OWNERS = (
    sa.select(template_table.c.sha256, identity_table.c.name)
    .join(identity_table, identity_table.c.id == template_table.c.identity_id)
    .where(template_table.c.sha256.in_(sa.bindparam("digests", expanding=True)))
)
