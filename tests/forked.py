"""Uses a gallery, forks, and uses it in the child: forked.py FOLDER PHOTOS STRANGER."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import facedb


def use(db: facedb.FaceDB, photos: list[Path]) -> None:
    """One photo, perhaps several, and batches that FAISS searches on every thread."""
    (face, *_) = db.identify(photos[0], k=1)
    assert face.identity == photos[0].parent.name
    if len(photos) > 1:
        assert all(answer.faces for answer in db.identify_photos(photos))
    random = np.random.default_rng(1).normal(size=(64, db.gallery.store.pin.dim))
    probes = (random / np.linalg.norm(random, axis=1, keepdims=True)).astype(np.float32)
    with ThreadPoolExecutor(1) as beside:
        found = db.gallery.search(probes, 1), beside.submit(db.gallery.search, probes, 1).result()
    assert [len(hits.distances) for hits in found] == [64, 64]


def main() -> None:
    folder, top, stranger = map(Path, sys.argv[1:])
    photos = sorted(top.rglob("*.jpg"))[:4]
    ready, closed = os.pipe(), os.pipe()
    db = facedb.open(folder)
    use(db, photos[:1])
    child = os.fork()
    if not child:
        signal.alarm(300)  # a net: a child that hangs is killed, and the parent says so
        use(db, photos)
        os.write(ready[1], b".")
        os.read(closed[0], 1)
        db.enroll("From the child", stranger)
        use(db, photos)
        os._exit(0)
    os.close(ready[1])
    os.read(ready[0], 1)
    use(db, photos)
    db.close()  # to SQLite the last one, if it does not know of the child's
    os.write(closed[1], b".")
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended == 0, f"the child ended with {ended}"
    assert db.identify(stranger)[0].identity == "From the child"
    assert db.gallery.check() == []
    db.close()


if __name__ == "__main__":
    main()
