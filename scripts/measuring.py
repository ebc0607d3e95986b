"""What the measuring scripts share: the record of a run, medians with their spread, tables.

Only the standard library and click are imported here, so that a script can measure imports.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from facedb.gallery import Gallery

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
SHARED = ROOT.parent / "shared"
DETECTOR = SHARED / "models" / "face_detection_yunet_2026may.onnx"
TEACHER = SHARED / "models" / "insightface_y1_mobilefacenet_128.onnx"
WRITTEN_AT_ONCE = 10_000
PROBES_A_TURN = 50
MB = 1e6

_PACKAGES = (
    "numpy", "faiss-cpu", "onnxruntime", "opencv-python-headless", "sqlalchemy", "pillow",
    "dlib-bin",
)  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """A limit of the design and what was measured; `at_least` says which side is good."""

    name: str
    measured: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def record(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "measured": rounded(self.measured),
            "must_be": f"{'>=' if self.at_least else '<='} {self.limit:g} {self.unit}",
            "met": self.met,
        }


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def spread(values: Sequence[float]) -> dict[str, float]:
    """n, median, min, max and interquartile range."""
    many = values if len(values) > 1 else [*values] * 2
    low, _, high = statistics.quantiles(many, n=4, method="inclusive")
    numbers = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    numbers["iqr"] = high - low
    return {"n": len(values)} | {name: rounded(value) for name, value in numbers.items()}


def pairwise(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """The spread of ours over theirs, each pair of one turn."""
    return spread([one / other for one, other in zip(ours, theirs, strict=True)])


def ms_in_turn(
    one: Callable[[Any], object], other: Callable[[Any], object], probes: Any
) -> tuple[list[float], list[float]]:
    """Milliseconds of both for single probes of [n, d], 50 of them by one and then by the other.

    Each evicts the other's vectors from the CPU's cache, and its idle threads spin for a while
    beside the other's: the first two fifths of a turn do not count.
    """
    times: tuple[list[float], list[float]] = [], []
    turn = min(PROBES_A_TURN, len(probes))
    for start in range(0, len(probes) - turn + 1, turn):
        for work, values in zip((one, other), times, strict=True):
            for number in range(turn):
                probe = probes[start + number : start + number + 1]
                started = time.perf_counter()
                work(probe)
                if number >= 2 * turn // 5:
                    values.append((time.perf_counter() - started) * 1e3)
    return times


def circumstances(seed: int) -> dict[str, Any]:
    """Command, commit, date, hardware, load and versions, with which every result begins."""
    return {
        "command": " ".join(["python", f"scripts/{Path(sys.argv[0]).name}", *_arguments()]),
        "commit": _git("rev-parse", "HEAD"),
        # Result files of other runs do not change what is measured.
        "dirty": bool(_git("status", "--porcelain", "--", ".", ":!docs/results")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "hardware": {"cpu": _cpu(), "cores": os.cpu_count(), "ram_gb": _ram_gb()},
        "load_at_start": rounded(os.getloadavg()[0]),
        "versions": {"python": platform.python_version(), "sqlite": _sqlite()} | _versions(),
    }


def _arguments() -> Iterator[str]:
    """The arguments, with places outside the repository cut to their names."""
    for argument in sys.argv[1:]:
        yield Path(argument).name if os.path.isabs(argument) else argument


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip()


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _ram_gb() -> float:
    return rounded(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)


def _sqlite() -> str:
    import sqlite3

    return sqlite3.sqlite_version


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def peak_mb() -> float:
    """The most memory this process ever held, in MB (10^6 bytes).

    From /proc: `ru_maxrss` also counts what the parent held before the exec.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / MB


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a script's top level returns, run by a new interpreter."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def table(title: str, rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a title, the first row being the head, in aligned columns."""
    text = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in text) for column in range(len(text[0]))]
    click.echo(f"\n{title}")
    for row in text:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        click.echo("  " + "  ".join(cells).rstrip())


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def bundled_folder() -> Path:
    """Where the shipped encoder lies, in this clone."""
    from facedb.encoder.bundle import BUNDLED

    if not BUNDLED.is_relative_to(ROOT):
        raise click.ClickException(
            f"facedb is not this clone's, but in {BUNDLED.parents[2]}: pip install -e '{ROOT}'"
        )
    return BUNDLED


@contextmanager
def bundled_card() -> Iterator[dict[str, Any]]:
    """The shipped encoder's card, written back as it was changed."""
    from facedb.encoder.bundle import CARD, write_card

    file = bundled_folder() / CARD
    card = json.loads(file.read_text(encoding="utf-8"))
    yield card
    write_card(file, card)


def finish(result: dict[str, Any], budgets: Sequence[Budget], file: Path) -> None:
    """Print the budgets and write everything as JSON, whole or not at all."""
    result["budgets"] = [budget.record() for budget in budgets]
    rows = [list(record.values()) for record in result["budgets"]]
    if rows:
        table("budgets", [("", "measured", "must be", "met"), *rows])
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    temporary.replace(file)
    click.echo(f"\nwritten: {file}")


def unit(rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows divided by their length, float32."""
    import numpy as np

    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    return np.asarray(rows / lengths[:, None], dtype=np.float32)


@dataclass(frozen=True)
class Crowd:
    """Made-up people: `each` unit vectors scattered around every one of some random centres.

    Two vectors of one person have a cosine of about 0.86, two people of about 0. The same block
    is the same vectors whenever it is made.
    """

    templates: int
    each: int
    dim: int
    seed: int = 0

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """float32[WRITTEN_AT_ONCE, dim] and a shorter last one."""
        for start in range(0, self.templates, WRITTEN_AT_ONCE):
            count = min(WRITTEN_AT_ONCE, self.templates - start)
            yield self._around(start // WRITTEN_AT_ONCE, count, 0)

    def probes(self, count: int) -> NDArray[np.float32]:
        """float32[count, dim]: other photos, as it were, of the first people."""
        return self._around(0, count, 1)

    def strangers(self, count: int) -> NDArray[np.float32]:
        """float32[count, dim]: people who are not in the crowd."""
        return self._around(-1, count, 1)

    def vectors(self) -> NDArray[np.float32]:
        """float32[templates, dim]."""
        import numpy as np

        return np.concatenate(list(self.blocks()))

    def _around(self, block: int, count: int, photo: int) -> NDArray[np.float32]:
        import numpy as np

        people = -(-count // self.each)
        centres = np.random.default_rng([self.seed, block + 1]).normal(
            size=(WRITTEN_AT_ONCE, self.dim)
        )[:people]
        random = np.random.default_rng([self.seed, block + 1, photo + 1])
        centres = np.repeat(centres, self.each, axis=0)[:count]
        return unit(centres + 0.4 * random.normal(size=centres.shape))


def enroll(gallery: Gallery, crowd: Crowd, blocks: Iterable[NDArray[np.float32]]) -> None:
    """Write a crowd through the gallery's own writer, a transaction a block."""
    from facedb.store import FileRow, NewTemplate

    number = 0
    for block in blocks:
        templates: list[NewTemplate] = []
        files: list[FileRow] = []
        for vector in block:
            name, digest = f"person{number // crowd.each:08}", f"{number:064x}"
            path = f"/photos/{name}/{number:08}.jpg"
            templates.append(NewTemplate(name, digest, (60.0, 60.0, 90.0, 110.0), 0.9, vector))
            files.append(FileRow(path, name, 20_000, number, digest, None))
            number += 1
        with gallery.writing() as writer:
            writer.add_templates(templates)
            writer.put_files(files)
