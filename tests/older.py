"""Galleries as older versions of facedb made them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def made_older(file: Path, version: int) -> None:
    """Take from a closed store what version 3 brought, and call it `version`."""
    with closing(sqlite3.connect(file)) as store, store:
        for table in ("template", "reencoded"):
            for column in ("quality", "poor", "faces"):
                store.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        store.execute("UPDATE gallery SET schema_version = ?", (version,))
