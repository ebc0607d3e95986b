"""The one truth of a gallery: SQLite through SQLAlchemy, vectors included.

Every write is one `BEGIN IMMEDIATE` transaction that raises `gallery.revision`; its COMMIT is the
only commit point. This package is the only importer of sqlalchemy.
"""

from facedb.store.connection import FILE_NAME, holds_store
from facedb.store.measurements import Measurements
from facedb.store.records import (
    FileRow,
    NewTemplate,
    OperatingPoint,
    Person,
    Pin,
    Snapshot,
    State,
    StoredProbe,
    StoredTemplate,
)
from facedb.store.store import Store
from facedb.store.writer import Writer

__all__ = [
    "FILE_NAME",
    "FileRow",
    "Measurements",
    "NewTemplate",
    "OperatingPoint",
    "Person",
    "Pin",
    "Snapshot",
    "State",
    "Store",
    "StoredProbe",
    "StoredTemplate",
    "Writer",
    "holds_store",
]
