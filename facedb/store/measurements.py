"""What was measured with a gallery: operating points, and embeddings of probes that were kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa

from facedb.store import queries
from facedb.store.connection import blocks
from facedb.store.records import OperatingPoint, StoredProbe
from facedb.store.store import Store
from facedb.store.tables import (
    MEASUREMENTS_SINCE,
    operating_point_table,
    probe_table,
)


class Measurements:
    """The measurements of an open store, of the encoder and the detector it is pinned to."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operating_point(self, aggregation: str) -> OperatingPoint | None:
        """The one last stored for this aggregation; None when nobody calibrated."""
        columns = operating_point_table.c
        query = sa.select(operating_point_table).where(
            columns.made_by == self._store.pin.made_by, columns.aggregation == aggregation
        )
        with self._store.reading() as connection:
            if not queries.written_since(connection, MEASUREMENTS_SINCE):
                return None
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        values = {name: row[name] for name in OperatingPoint.__dataclass_fields__}
        for name in ("distances", "shares"):
            values[name] = np.frombuffer(values[name], dtype="<f8")
        return OperatingPoint(**values)

    def put_operating_point(self, point: OperatingPoint) -> None:
        """Store an operating point, replacing that of the same aggregation."""
        with self._store.writing() as writer:
            writer.put_operating_point(self._store.pin.made_by, point)

    def drop_operating_points(self) -> int:
        """Forget every calibration; returns how many there were."""
        with self._store.writing() as writer:
            return writer.drop_operating_points()

    def probes(self, digests: Sequence[str]) -> dict[str, StoredProbe]:
        """sha256 -> what was kept of the photo, for those of `digests` that were."""
        found: dict[str, StoredProbe] = {}
        columns = probe_table.c
        with self._store.reading() as connection:
            if not queries.written_since(connection, MEASUREMENTS_SINCE):
                return {}
            for block in blocks(digests):
                query = sa.select(probe_table).where(
                    columns.made_by == self._store.pin.made_by, columns.sha256.in_(block)
                )
                for row in connection.execute(query).mappings():
                    found[row["sha256"]] = _stored_probe(row)
        return found

    def put_probes(self, probes: Sequence[StoredProbe]) -> None:
        """Keep the embeddings of probes, so that evaluating again needs no encoder."""
        with self._store.writing() as writer:
            writer.put_probes(self._store.pin.made_by, probes)


def _stored_probe(row: sa.RowMapping) -> StoredProbe:
    if row["vector"] is None:
        return StoredProbe(row["sha256"], None, None)
    box = row["box_x"], row["box_y"], row["box_width"], row["box_height"]
    return StoredProbe(row["sha256"], box, np.frombuffer(row["vector"], dtype="<f4"))
