"""How long does `facedb query photo.jpg` take from nothing, and where does the time go?

Claim: with 100,000 templates a query by a new process takes at most 1.0 s on two cores, enrolling
one more photo at most 1.5 s, and a warm query at most 1 ms more than plain FAISS.

A gallery of made-up unit vectors is written through the gallery's own writer, with the pin of the
bundled encoder and of the given detector. Then, in turn: the installed `facedb query`, the same for
`facedb enroll` into a copy (another photo each time), and a Python that does nothing; the files are
in the page cache. The split by stage comes from fresh processes that walk through the public API
with a clock, a stage after another (the command loads the index while the encoder opens); the
imports from `python -X importtime` (which itself costs some). The warm query is the ranking of
people by the default rule and their description for one probe, beside faiss.IndexFlatIP.search on
the same vectors, in turn in one process, with the difference pair by pair.

    python scripts/bench_query.py --templates 100000
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from command import Script
from measuring import (
    PROBES_A_TURN,
    RESULTS,
    ROOT,
    Budget,
    Crowd,
    circumstances,
    enroll,
    finish,
    in_fresh_process,
    ms_in_turn,
    peak_mb,
    spread,
    table,
)

DIM = 128
K = 5


@dataclass(frozen=True)
class Bench:
    """What is measured: a gallery, a photo, how often."""

    folder: Path
    crowd: Crowd
    photo: Path
    repeats: int


def make_gallery(folder: Path, crowd: Crowd, detector: str) -> None:
    """Write the crowd in the pin of the bundled encoder, unless the gallery is there already."""
    from facedb.encoder import open_encoder
    from facedb.faces import open_detector
    from facedb.gallery import Gallery
    from facedb.pinning import new_pin

    encoder, found = open_encoder("bundled", "cpu"), open_detector(detector)
    pin = new_pin(encoder, found, detector)
    gallery = Gallery.create(folder, pin, device="cpu")
    if gallery.store.pin.made_by != pin.made_by:
        raise click.UsageError(f"{folder}: made with another encoder or detector; delete it")
    if gallery.store.count() == 0:
        enroll(gallery, crowd, crowd.blocks())
        gallery.publish()
    if gallery.store.count() != crowd.templates:
        raise click.UsageError(f"{folder}: holds {gallery.store.count()} templates; delete it")
    gallery.close()


def seconds(command: list[str]) -> float:
    """Wall time of a process that must succeed."""
    started = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - started
    if run.returncode:
        raise click.ClickException(f"{' '.join(command)}: {run.stderr}")
    return elapsed


def facedb(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("facedb")), *arguments]


def cold(bench: Bench, scratch: Path) -> dict[str, list[float]]:
    """Seconds of each command by a new process, in turn."""
    copy = scratch / "enrolling.gallery"
    shutil.copytree(bench.folder, copy)
    photos = variants(bench.photo, scratch, bench.repeats + 1)
    gallery = ["-g", str(bench.folder), "--device", "cpu"]
    commands: dict[str, Callable[[int], list[str]]] = {
        "facedb query": lambda turn: facedb("query", str(bench.photo), *gallery),
        "facedb enroll": lambda turn: facedb(
            "enroll", f"New {turn}", str(photos[turn]), "-g", str(copy), "--strict"
        ),
        "facedb --version": lambda turn: facedb("--version"),
        "python -c pass": lambda turn: [sys.executable, "-c", "pass"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(bench.repeats + 1):
        for name, command in commands.items():
            times[name].append(seconds(command(turn)))
    # The first turn filled the page cache.
    return {name: values[1:] for name, values in times.items()}


def variants(photo: Path, folder: Path, count: int) -> list[Path]:
    """The photo saved with `count` qualities: other files, so that each is enrolled."""
    from PIL import Image

    files = [folder / f"variant{number:02}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        Image.open(photo).convert("RGB").save(file, quality=70 + number % 28)
    return files


def stages(folder: str, photo: str) -> dict[str, float]:
    """Seconds of each stage of a query; run in a fresh process."""
    clock = [time.perf_counter()]
    found: dict[str, float] = {}

    def done(stage: str) -> None:
        found[stage] = time.perf_counter() - clock[0]
        clock[0] = time.perf_counter()

    from facedb.decision import rank
    from facedb.identify import FaceDB, Settings

    done("imports")
    with FaceDB(folder, Settings(device="cpu")) as db:
        store = db.gallery.store
        done("open the store")
        encoder = db.encoder
        done("open the encoder")
        detector = db.detector
        done("open the detector")
        loaded = load(photo)
        done("read the photo")
        faces = detector.detect(loaded)
        done("detect")
        probes = encoder.embed(stacked(faces))
        done("encode")
        db.gallery.load()
        done("load the index")
        hits = rank(db.gallery.search(probes, K), K)
        done("search")
        store.describe(sorted({int(number) for number in hits.template_ids.ravel()}))
        done("describe")
    done("close")
    return found | {"faces": len(faces), "peak_mb": peak_mb()}


def load(photo: str) -> Any:
    from facedb.photos import load_photo

    return load_photo(photo)


def stacked(faces: list[Any]) -> Any:
    import numpy as np

    return np.stack([face.crop for face in faces])


def import_seconds(bench: Bench) -> dict[str, float]:
    """Seconds of a query's imports by top-level package, by their own time."""
    command = [sys.executable, "-X", "importtime", "-m", "facedb", "query", str(bench.photo)]
    command += ["-g", str(bench.folder), "--device", "cpu"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = {}
    for line in run.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[0].strip().isdigit():
            package = parts[2].strip().split(".")[0]
            if package in sys.stdlib_module_names:
                package = "standard library"
            found[package] = found.get(package, 0.0) + int(parts[0]) / 1e6
    return found


def warm(bench: Bench) -> dict[str, Any]:
    """Milliseconds of one probe through the gallery and by plain FAISS; in a fresh process."""
    import faiss

    from facedb.aggregation import DEFAULT_AGGREGATION
    from facedb.answers import nearest_people
    from facedb.identify import FaceDB, Settings

    plain = faiss.IndexFlatIP(DIM)
    for block in bench.crowd.blocks():
        plain.add(block)
    probes = bench.crowd.probes(bench.repeats * PROBES_A_TURN)
    with FaceDB(bench.folder, Settings(device="cpu")) as db:

        def search(probe: Any) -> Any:
            return nearest_people(db.gallery, probe, K, DEFAULT_AGGREGATION).template_ids

        def answer(probe: Any) -> None:
            db.gallery.at_one_revision(
                lambda: db.gallery.store.describe(search(probe).ravel().tolist())
            )

        figures: dict[str, Any] = {}
        for name, work in (("search", search), ("identify after encoding", answer)):
            ours, theirs = ms_in_turn(work, lambda probe: plain.search(probe, K), probes)
            figures[name], figures[f"faiss beside {name}"] = spread(ours), spread(theirs)
            figures[f"{name} - faiss"] = differences(ours, theirs)
        whole = [identify_ms(db, str(bench.photo)) for _ in range(bench.repeats + 1)][1:]
    return figures | {"identify, photo and all": spread(whole), "peak_mb": peak_mb()}


def differences(ours: list[float], theirs: list[float]) -> dict[str, float]:
    return spread([one - other for one, other in zip(ours, theirs, strict=True)])


def identify_ms(db: Any, photo: str) -> float:
    started = time.perf_counter()
    db.identify(photo, k=K)
    return (time.perf_counter() - started) * 1e3


def over_turns(turns: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The spread of each name over the turns."""
    return {name: spread([turn.get(name, 0.0) for turn in turns]) for name in turns[0]}


def show(title: str, figures: dict[str, dict[str, float]], scale: float = 1e3) -> None:
    """Print medians with their spread, in milliseconds."""
    rows = [
        [name, *(round(values[key] * scale, 2) for key in ("median", "min", "max", "iqr"))]
        for name, values in figures.items()
    ]
    table(title, [("ms", "median", "min", "max", "iqr"), *rows])


def measure(bench: Bench, scratch: Path, result: dict[str, Any]) -> list[Budget]:
    cold_times = {name: spread(values) for name, values in cold(bench, scratch).items()}
    show("cold process", cold_times)
    turns = [
        in_fresh_process(stages, str(bench.folder), str(bench.photo)) for _ in range(bench.repeats)
    ]
    by_stage = over_turns(turns)
    extra = {name: by_stage.pop(name) for name in ("faces", "peak_mb")}
    show("facedb query by stage", by_stage)
    imports = over_turns([import_seconds(bench) for _ in range(max(3, bench.repeats // 2))])
    imports = dict(sorted(imports.items(), key=lambda item: -item[1]["median"]))
    show("imports by package, under -X importtime", imports)
    warm_figures = in_fresh_process(warm, bench)
    warm_peak = warm_figures.pop("peak_mb")
    show("warm, one probe", warm_figures, 1.0)
    result |= {
        "cold_seconds": cold_times,
        "stage_seconds": by_stage,
        "import_seconds": imports,
        "warm_milliseconds": warm_figures,
        "faces_in_the_photo": extra["faces"]["median"],
        "query_peak_mb": extra["peak_mb"],
        "warm_peak_mb": warm_peak,
    }
    more = warm_figures["identify after encoding - faiss"]["median"]
    return [
        Budget("facedb query, cold", cold_times["facedb query"]["median"], 1.0, "s"),
        Budget("facedb enroll, cold", cold_times["facedb enroll"]["median"], 1.5, "s"),
        Budget("warm query over plain FAISS", more, 1.0, "ms"),
    ]


def sample_photo() -> Path:
    """The first photo of data/val."""
    photos = sorted(file for file in (ROOT / "data" / "val").glob("*/*") if file.is_file())
    if not photos:
        raise click.UsageError("there is no data/val here: give a photo with --photo")
    return photos[0]


@click.command(cls=Script, help=__doc__)
@click.option("--templates", default=100_000, show_default=True)
@click.option("--each", default=4, show_default=True, help="Templates a person.")
@click.option("--gallery", type=click.Path(path_type=Path), help="Make it here, or use it again.")
@click.option("--photo", type=click.Path(exists=True, path_type=Path), help="The probe.")
@click.option("--detector", default="bundled", show_default=True)
@click.option("--repeats", default=10, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "bench-query.json")
def main(
    templates: int, each: int, gallery: Path | None, photo: Path | None, detector: str,
    repeats: int, seed: int, out: Path,
) -> None:  # fmt: skip
    os.environ.pop("FACEDB_GALLERY", None)
    crowd = Crowd(templates, each, DIM, seed)
    result = circumstances(seed) | {"templates": templates, "templates_a_person": each}
    with tempfile.TemporaryDirectory() as scratch:
        folder = gallery or Path(scratch) / "bench.gallery"
        bench = Bench(folder.resolve(), crowd, (photo or sample_photo()).resolve(), repeats)
        # Another process: what it loads must not be in this one, which is forked.
        in_fresh_process(make_gallery, bench.folder, crowd, detector)
        budgets = measure(bench, Path(scratch), result)
    finish(result, budgets, out)


if __name__ == "__main__":
    main()
