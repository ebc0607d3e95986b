"""The queries that a store asks again and again, built once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from facedb.store.tables import (
    alias_table,
    file_table,
    gallery_table,
    identity_table,
    template_table,
)


def _among(column: sa.Column[int] | sa.Column[str], name: str) -> sa.ColumnElement[bool]:
    return column.in_(sa.bindparam(name, expanding=True))


GALLERY = sa.select(gallery_table)
REVISION = sa.select(gallery_table.c.revision)
COUNT = sa.select(sa.func.count()).select_from(template_table)
COUNTS = sa.select(template_table.c.identity_id, sa.func.count()).group_by(
    template_table.c.identity_id
)
ALIASES = sa.select(alias_table.c.name, alias_table.c.identity_id).order_by(alias_table.c.name)
PEOPLE = sa.select(identity_table.c.id, identity_table.c.name).order_by(identity_table.c.name)
OWNERS_OF = sa.select(template_table.c.id, template_table.c.identity_id).where(
    _among(template_table.c.id, "ids")
)
VECTORS_AT = sa.select(template_table.c.id, template_table.c.vector).where(
    _among(template_table.c.id, "ids")
)
SIZES_OF = (
    sa.select(identity_table.c.id, sa.func.count(template_table.c.id), identity_table.c.name)
    .join(template_table, template_table.c.identity_id == identity_table.c.id)
    .where(_among(identity_table.c.id, "ids"))
    .group_by(identity_table.c.id)
)
ENROLLED = sa.select(template_table.c.id).where(template_table.c.sha256 == sa.bindparam("sha256"))
VECTORS_OF = (
    sa.select(template_table.c.identity_id, template_table.c.vector)
    .where(_among(template_table.c.identity_id, "ids"))
    .order_by(template_table.c.identity_id, template_table.c.id)
)


def _templates(*doubts: sa.ColumnElement[Any]) -> sa.Select[Any]:
    columns = template_table.c
    query = sa.select(
        columns.id,
        identity_table.c.name,
        columns.sha256,
        sa.select(sa.func.min(file_table.c.path))
        .where(file_table.c.sha256 == columns.sha256)
        .scalar_subquery(),
        *(columns.box_x, columns.box_y, columns.box_width, columns.box_height, columns.score),
        *doubts,
    )
    owner = identity_table.c.id == columns.identity_id
    return query.join(identity_table, owner).order_by(columns.id)


TEMPLATES = _templates(template_table.c.quality, template_table.c.poor, template_table.c.faces)
DESCRIBE = TEMPLATES.where(_among(template_table.c.id, "ids"))
# Of a store that nobody has written since version 3.
OLDER_TEMPLATES = _templates(sa.null(), sa.null(), sa.null())
OLDER_DESCRIBE = OLDER_TEMPLATES.where(_among(template_table.c.id, "ids"))


def written_since(connection: sa.Connection, version: int) -> bool:
    """Whether the store has been written since what came with this version of the schema."""
    return int(connection.execute(GALLERY).mappings().one()["schema_version"]) >= version
