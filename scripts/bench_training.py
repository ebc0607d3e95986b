"""What a training step of `--recipe best` takes on the CPU, in float32 and in bfloat16.

Claim: where the processor multiplies bfloat16 itself, learning and the teacher's answer take less
time than in float32.
Method: each precision in a fresh process of one thread, in turn; batches of 128 pictures (64 pairs)
of noise, 112 pixels wide, since a step takes as long on any pixels. Muon's iteration, part of a
step, is in bfloat16 wherever the processor is quick in it. Times are process time, medians of 12
steps, so that other work on the machine counts little.

    python scripts/bench_training.py
"""

from __future__ import annotations

import os
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import click
from command import Script
from measuring import RESULTS, TEACHER, circumstances, finish, in_fresh_process, spread, table

PAIRS, WARM, STEPS = 64, 3, 12
PRECISIONS = ("fp32", "bf16")
PARTS = ("step", "teacher")


def steps(teacher: str, precision: str) -> dict[str, float]:
    """Process time in ms of a learner's step and of a teacher's answer, medians."""
    import torch

    from facedb.training.learner import Learner
    from facedb.training.losses import Seen
    from facedb.training.precision import precision_of
    from facedb.training.recipes import recipe
    from facedb.training.teacher import embed, open_teacher

    learner = Learner(recipe("best", {"precision": precision}), 1000, "cpu")
    asked = open_teacher(teacher, "cpu", precision_of(precision, "cpu")).encoder
    random = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (2 * PAIRS, 112, 112, 3), dtype=torch.uint8, generator=random)
    targets = torch.nn.functional.normalize(torch.randn(2 * PAIRS, asked.dim, generator=random))
    labels, known = torch.arange(PAIRS).repeat(2), torch.ones(2 * PAIRS, dtype=torch.bool)
    seen = Seen(labels, True, targets, known)
    took: dict[str, list[float]] = {part: [] for part in PARTS}
    for _ in range(WARM + STEPS):
        began = time.process_time()
        learner.step(crops, seen, 1e-4)
        between = time.process_time()
        embed(asked, crops.numpy())
        took["step"].append(between - began)
        took["teacher"].append(time.process_time() - between)
    return {part: 1000 * spread(times[WARM:])["median"] for part, times in took.items()}


@click.command(cls=Script, help=__doc__)
@click.option("--teacher", type=click.Path(exists=True, path_type=Path), default=TEACHER)
@click.option("--turns", default=5, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "bench-training.json")
def main(teacher: Path, turns: int, out: Path) -> None:
    begun = circumstances(0)
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
    finish(begun | {"pictures": 2 * PAIRS, "ms": figures}, [], out)


if __name__ == "__main__":
    main()
