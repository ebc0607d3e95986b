"""Writes into a gallery and kills itself at a named step: killed.py FOLDER STEP, or --list."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from vectors import add, filled, people

import facedb.gallery
from facedb.gallery import Gallery
from facedb.people import People


def write(folder: Path) -> None:
    gallery = Gallery.open(folder)
    add(gallery, people(1, 3, seed=4), ["new"] * 3, "new")
    People(gallery).remove("person004")
    gallery.close()


def main() -> None:
    steps: list[str] = []
    if sys.argv[1] == "--list":
        with tempfile.TemporaryDirectory() as scratch:
            filled(Path(scratch) / "g").close()
            facedb.gallery.on_step = steps.append
            write(Path(scratch) / "g")
        # A step that comes twice is numbered: both times are places to be killed in.
        print("\n".join(f"{number}:{step}" for number, step in enumerate(steps)))
        return

    def stop(step: str) -> None:
        steps.append(step)
        if f"{len(steps) - 1}:{step}" == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)

    facedb.gallery.on_step = stop
    write(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
