"""What a training step of `--recipe best` takes on the CPU: by precision, and beside other work.

Claim 1: where the processor multiplies bfloat16 itself, learning and the teacher's answer take less
time than in float32.
Claim 2: beside a program that keeps one core busy, training with `GOMP_SPINCOUNT=1000`, as facedb
sets it, is faster than with GNU OpenMP's own 300000, and alone no slower.

Method: each case in a fresh process, in turn; batches of 128 pictures (64 pairs) of noise, 112
pixels wide, since a step takes as long on any pixels. Muon's iteration, part of a step, is in
bfloat16 wherever the processor is quick in it. For claim 1, one thread, and process time, so that
other work on the machine counts little: medians of 12 steps. For claim 2, a thread a core, in
float32, and what counts is the wall: pictures a second over 12 steps. The ratios are taken turn by
turn.

    python scripts/bench_training.py
    python scripts/bench_training.py --part waiting
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import click
from command import Script
from measuring import (
    RESULTS,
    TEACHER,
    circumstances,
    finish,
    in_fresh_process,
    pairwise,
    spread,
    table,
)

PAIRS, WARM, STEPS = 64, 3, 12
PRECISIONS = ("fp32", "bf16")
PARTS = ("step", "teacher")
OURS, ITS_OWN = "1000", "300000"
PLACES = ("alone", "beside")


def stepping(precision: str) -> tuple[Callable[[], Any], Any]:
    """A step of learning, and the crops that it learns from."""
    import torch

    from facedb.training.learner import Learner
    from facedb.training.losses import Seen
    from facedb.training.recipes import recipe

    best = recipe("best", {"precision": precision})
    learner = Learner(best, 1000, "cpu")
    random = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (2 * PAIRS, 112, 112, 3), dtype=torch.uint8, generator=random)
    targets = torch.nn.functional.normalize(torch.randn(2 * PAIRS, best.dim, generator=random))
    labels, known = torch.arange(PAIRS).repeat(2), torch.ones(2 * PAIRS, dtype=torch.bool)
    seen = Seen(labels, True, targets, known)
    return lambda: learner.step(crops, seen, 1e-4), crops.numpy()


def steps(teacher: str, precision: str) -> dict[str, float]:
    """Process time in ms of a learner's step and of a teacher's answer, medians."""
    from facedb.training.precision import precision_of
    from facedb.training.teacher import embed, open_teacher

    step, crops = stepping(precision)
    asked = open_teacher(teacher, "cpu", precision_of(precision, "cpu")).encoder
    took: dict[str, list[float]] = {part: [] for part in PARTS}
    for _ in range(WARM + STEPS):
        began = time.process_time()
        step()
        between = time.process_time()
        embed(asked, crops)
        took["step"].append(between - began)
        took["teacher"].append(time.process_time() - between)
    return {part: 1000 * spread(times[WARM:])["median"] for part, times in took.items()}


def pictures_a_second() -> float:
    """Of steps on as many threads as there are cores."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    step, _ = stepping("fp32")
    for _ in range(WARM):
        step()
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    return 2 * PAIRS * STEPS / (time.perf_counter() - began)


@contextmanager
def busy(place: str) -> Iterator[None]:
    """Beside a process that never waits, where `place` says so."""
    if place == "alone":
        yield
        return
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def by_precision(teacher: Path, turns: int) -> dict[str, Any]:
    took: dict[str, list[dict[str, float]]] = {precision: [] for precision in PRECISIONS}
    for _ in range(turns):
        for precision in PRECISIONS:
            took[precision].append(in_fresh_process(steps, str(teacher), precision))
    figures = {
        precision: {part: spread([turn[part] for turn in found]) for part in PARTS}
        for precision, found in took.items()
    }
    rows = [(name, *(parts[part]["median"] for part in PARTS)) for name, parts in figures.items()]
    table(f"ms of {2 * PAIRS} pictures, one thread", [("", *PARTS), *rows])
    return figures


def by_waiting(turns: int) -> dict[str, Any]:
    found: dict[str, dict[str, list[float]]] = {
        place: {spins: [] for spins in (ITS_OWN, OURS)} for place in PLACES
    }
    for _ in range(turns):
        for place in PLACES:
            for spins, rates in found[place].items():
                os.environ["GOMP_SPINCOUNT"] = spins
                with busy(place):
                    rates.append(in_fresh_process(pictures_a_second))
    figures = {
        place: {
            **{spins: spread(rates) for spins, rates in of.items()},
            "ratio": pairwise(of[OURS], of[ITS_OWN]),
        }
        for place, of in found.items()
    }
    head = ("", f"spins {ITS_OWN}", f"spins {OURS}", "ratio")
    rows = [(place, *(one["median"] for one in of.values())) for place, of in figures.items()]
    table("pictures a second, a thread a core", [head, *rows])
    return figures


@click.command(cls=Script, help=__doc__)
@click.option("--teacher", type=click.Path(exists=True, path_type=Path), default=TEACHER)
@click.option("--turns", default=5, show_default=True)
@click.option(
    "--part",
    type=click.Choice(["precision", "waiting"]),
    default="precision",
    show_default=True,
    help="Claim 1, which wants a processor with bfloat16, or claim 2.",
)
@click.option("--out", type=click.Path(path_type=Path))
def main(teacher: Path, turns: int, part: str, out: Path | None) -> None:
    begun = circumstances(0) | {"pictures": 2 * PAIRS}
    if part == "precision":
        figures = {"ms": by_precision(teacher, turns)}
    else:
        figures = {"pictures_per_s": by_waiting(turns)}
    name = {"precision": "bench-training.json", "waiting": "bench-training-beside.json"}[part]
    finish(begun | figures, [], out or RESULTS / name)


if __name__ == "__main__":
    main()
