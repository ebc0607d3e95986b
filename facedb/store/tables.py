"""The tables of a gallery's store."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

SCHEMA_VERSION = 3
READABLE_VERSIONS = (1, 2, SCHEMA_VERSION)  # the first write brings an older one up to date
MEASUREMENTS_SINCE = 2
DOUBTS_SINCE = 3

metadata = sa.MetaData()


def doubt_columns() -> list[sa.Column[Any]]:
    """Quality, why it is poor ("" where it is not), faces in the photo."""
    return [
        sa.Column("quality", sa.Float),
        sa.Column("poor", sa.String),
        sa.Column("faces", sa.Integer),
    ]


def _face_columns() -> list[sa.Column[Any]]:
    box = ("box_x", "box_y", "box_width", "box_height", "score")
    return [
        *(sa.Column(name, sa.Float, nullable=False) for name in box),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        *doubt_columns(),
    ]


FACE_COLUMNS = tuple(column.name for column in _face_columns())


gallery_table = sa.Table(
    "gallery",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("uuid", sa.String, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("encoder", sa.String, nullable=False),
    sa.Column("encoder_name", sa.String, nullable=False),
    sa.Column("encoder_fingerprint", sa.String, nullable=False),
    sa.Column("dim", sa.Integer, nullable=False),
    sa.Column("detector", sa.String, nullable=False),
    sa.Column("detector_fingerprint", sa.String, nullable=False),
    sa.Column("index_kind", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

snapshot_table = sa.Table(
    "snapshot",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("file", sa.String, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),
)

identity_table = sa.Table(
    "identity",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sqlite_autoincrement=True,
)

alias_table = sa.Table(
    "alias",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column(
        "identity_id", sa.ForeignKey("identity.id", ondelete="CASCADE"), nullable=False, index=True
    ),
)

template_table = sa.Table(
    "template",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column(
        "identity_id", sa.ForeignKey("identity.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("revision", sa.Integer, nullable=False, index=True),
    sa.Column("sha256", sa.String, nullable=False, unique=True),
    *_face_columns(),
    sqlite_autoincrement=True,
)

# Ids that a lagging snapshot may still hold; emptied when a snapshot is published.
removal_table = sa.Table(
    "removal",
    metadata,
    sa.Column("template_id", sa.Integer, primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False),
)

# New vectors of templates, gathered while the old ones are in use, until they change places.
reencoded_table = sa.Table(
    "reencoded",
    metadata,
    sa.Column("template_id", sa.ForeignKey("template.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("made_by", sa.String, nullable=False),
    *_face_columns(),
)

file_table = sa.Table(
    "file",
    metadata,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("identity", sa.String, nullable=False, index=True),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("sha256", sa.String, index=True),
    sa.Column("reason", sa.String),
)

# Of MEASUREMENTS_SINCE. What a threshold does, for an encoder, detector and aggregation.
operating_point_table = sa.Table(
    "operating_point",
    metadata,
    sa.Column("made_by", sa.String, primary_key=True),
    sa.Column("aggregation", sa.String, primary_key=True),
    sa.Column("fpir", sa.Float, nullable=False),
    sa.Column("threshold", sa.Float, nullable=False),
    sa.Column("people", sa.Integer, nullable=False),
    sa.Column("templates", sa.Integer, nullable=False),
    sa.Column("strangers", sa.Integer, nullable=False),
    sa.Column("strangers_photos", sa.Integer, nullable=False),
    sa.Column("strangers_sha256", sa.String, nullable=False),
    sa.Column("held_out", sa.Boolean, nullable=False),
    sa.Column("measured_at", sa.Float, nullable=False),
    sa.Column("distances", sa.LargeBinary, nullable=False),
    sa.Column("shares", sa.LargeBinary, nullable=False),
)

# Of MEASUREMENTS_SINCE. Embeddings of probes, kept only on request; without a vector: no face.
probe_table = sa.Table(
    "probe",
    metadata,
    sa.Column("sha256", sa.String, primary_key=True),
    sa.Column("made_by", sa.String, primary_key=True),
    *(sa.Column(f"box_{side}", sa.Float) for side in ("x", "y", "width", "height")),
    sa.Column("vector", sa.LargeBinary),
)


def bring_up_to_date(connection: sa.Connection) -> None:
    """Give a store of an older version what it lacks, in the transaction of its first write."""
    metadata.create_all(connection)
    for table in (template_table, reencoded_table):
        for column in doubt_columns():
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")
    connection.execute(sa.update(gallery_table).values(schema_version=SCHEMA_VERSION))
