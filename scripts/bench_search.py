"""How much does the gallery cost over plain FAISS, and how far does it go?

Claim: 1,000 probes (k = 5) against 100,000 templates x 128 run at 0.9 times plain
faiss.IndexFlatIP or better, one template a person; a million templates are indexed with at most 2.2
times the raw vectors + 400 MB.

Vectors are made up: people are random directions, a person's templates lie around them (cosine
about 0.86). Probes are other vectors of enrolled people. "Through the gallery" is Gallery.search
and decision.rank: adaptive k over identities, distances recomputed in float64. Plain FAISS searches
the same vectors in the same process, in turn with the gallery, and the ratios are taken turn by
turn. For each size a fresh process writes the templates (10,000 a transaction) and publishes the
index, another opens it, a third compares the searches; memory is each process's own peak.

"Index alone" is facedb's index without a store: exact, and an inverted file (IVF), whose recall is
counted against the exact one on probes of enrolled people and of strangers. People spread evenly
over all directions are hard for it: real embeddings lie closer together in fewer dimensions.

    python scripts/bench_search.py
    python scripts/bench_search.py --large
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from command import Script
from measuring import (
    MB,
    RESULTS,
    WRITTEN_AT_ONCE,
    Budget,
    Crowd,
    circumstances,
    enroll,
    finish,
    in_fresh_process,
    ms_in_turn,
    pairwise,
    peak_mb,
    spread,
    table,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIM = 128
K = 5


@dataclass(frozen=True)
class Turns:
    """How many probes, and how often."""

    probes: int
    batches: int
    single: int


def pin() -> Any:
    from facedb.store import Pin

    return Pin("bundled", "made-up vectors", "0" * 64, DIM, "none", "none")


def write(folder: Path, crowd: Crowd) -> dict[str, float]:
    """Write a crowd and publish its index; run in a fresh process."""
    from facedb.gallery import Gallery

    before = peak_mb()
    gallery = Gallery.create(folder, pin(), device="cpu")
    started = time.perf_counter()
    enroll(gallery, crowd, crowd.blocks())
    written = time.perf_counter() - started
    peak_of_writing = peak_mb()
    started = time.perf_counter()
    gallery.settle()
    settled = time.perf_counter() - started
    snapshot = gallery.store.state().snapshot
    gallery.close()
    return {
        "write, templates/s": crowd.templates / written,
        "publish, s": settled,
        "index file, MB": snapshot.bytes / MB if snapshot else 0.0,
        "store, MB": (folder / "gallery.sqlite").stat().st_size / MB,
        "peak of imports, MB": before,
        "peak of writing, MB": peak_of_writing,
        "peak of publishing, MB": peak_mb(),
    }


def reopen(folder: Path, crowd: Crowd) -> dict[str, float]:
    """Open a gallery and search once, enroll one more and settle; run in a fresh process."""
    from facedb.gallery import Gallery

    probe = crowd.probes(1)
    started = time.perf_counter()
    gallery = Gallery.open(folder, "cpu")
    gallery.search(probe, K)
    opened = time.perf_counter() - started
    gallery.close()
    return {"open and first answer, s": opened, "peak of opening, MB": peak_mb()}


def compared(folder: Path, crowd: Crowd, turns: Turns) -> dict[str, Any]:
    """Searches through the gallery and by plain FAISS, in turn; run in a fresh process."""
    import faiss

    from facedb.decision import rank
    from facedb.gallery import Gallery

    plain = faiss.IndexFlatIP(DIM)
    for block in crowd.blocks():
        plain.add(block)
    gallery = Gallery.open(folder, "cpu")
    probes = crowd.probes(turns.probes)
    works: dict[str, Callable[[NDArray[np.float32]], object]] = {
        "facedb": lambda rows: rank(gallery.search(rows, K), K),
        "faiss": lambda rows: plain.search(rows, K),
    }
    rates = in_turn(works, [probes] * turns.batches)
    singles = probes[[n % len(probes) for n in range(turns.single)]]
    ms = dict(zip(works, ms_in_turn(*works.values(), singles), strict=True))
    rates = {name: [len(probes) / seconds for seconds in times] for name, times in rates.items()}
    more = [ours - theirs for ours, theirs in zip(ms["facedb"], ms["faiss"], strict=True)]
    return {
        "probes/s": {name: spread(values) for name, values in rates.items()},
        "rate over faiss": pairwise(rates["facedb"], rates["faiss"]),
        "one probe, ms": {name: spread(values) for name, values in ms.items()},
        "one probe, ms more": spread(more),
    }


def in_turn(works: dict[str, Callable[[Any], object]], inputs: list[Any]) -> dict[str, list[float]]:
    """Seconds of each work on each input, one after the other; a first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for given in [inputs[0], *inputs]:
        for name, work in works.items():
            started = time.perf_counter()
            work(given)
            times[name].append(time.perf_counter() - started)
    return {name: values[1:] for name, values in times.items()}


def through_the_gallery(crowd: Crowd, turns: Turns) -> dict[str, Any]:
    """Everything that is measured at one size through the store."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bench.gallery"
        row: dict[str, Any] = {"templates": crowd.templates, "templates a person": crowd.each}
        row |= in_fresh_process(write, folder, crowd)
        row |= in_fresh_process(reopen, folder, crowd)
        row |= in_fresh_process(compared, folder, crowd, turns)
    click.echo(f"measured: {crowd.templates:,} templates, {crowd.each} a person", err=True)
    return row


def numbered(crowd: Crowd) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The crowd as an index takes it: int64[n] ids, float32[n, d] rows."""
    import numpy as np

    for number, block in enumerate(crowd.blocks()):
        yield np.arange(len(block), dtype=np.int64) + number * WRITTEN_AT_ONCE, block


def index_alone(kind: Any, crowd: Crowd, turns: Turns) -> dict[str, Any]:
    """Build, save and search one index without a store; run in a fresh process."""
    from facedb.index.faiss import build

    started = time.perf_counter()
    index = build(kind, DIM, crowd.templates, lambda: numbered(crowd))
    built = time.perf_counter() - started
    probes, strangers = crowd.probes(turns.probes), crowd.strangers(turns.probes)
    row: dict[str, Any] = {"index": kind, "templates": crowd.templates, "on": "cpu"}
    row |= {"build, s": built, "peak, MB": peak_mb()}
    row |= searched(index, probes, turns)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "alone.faiss"
        index.save(str(file))
        row["index file, MB"] = file.stat().st_size / MB
    found = {"enrolled": index.search(probes, K)[0], "strangers": index.search(strangers, K)[0]}
    return row | {"found": found}


def searched(index: Any, probes: NDArray[np.float32], turns: Turns) -> dict[str, Any]:
    """Throughput of all probes together, latency of one."""
    works: dict[str, Callable[[Any], object]] = {"index": lambda rows: index.search(rows, K)}
    batches = in_turn(works, [probes] * turns.batches)["index"]
    singles = in_turn(works, [row[None] for row in probes[: turns.single]])["index"]
    return {
        "probes/s": spread([len(probes) / seconds for seconds in batches]),
        "one probe, ms": spread([1e3 * seconds for seconds in singles]),
    }


def recall(found: NDArray[np.int64], exact: NDArray[np.int64]) -> dict[str, float]:
    """The share of probes whose nearest was found, and of their five nearest that were."""
    import numpy as np

    shared = [len(np.intersect1d(*pair)) / K for pair in zip(found, exact, strict=True)]
    first = float(np.mean(found[:, 0] == exact[:, 0]))
    return {"recall@1": first, f"recall@{K}": float(np.mean(shared))}


def alone(crowd: Crowd, turns: Turns) -> list[dict[str, Any]]:
    """The exact index and the inverted file of one size, one after the other."""
    rows = [in_fresh_process(index_alone, kind, crowd, turns) for kind in ("flat", "ivf")]
    rows += [row | {"found": rows[0]["found"]} for row in gpu_rows(crowd, turns)]
    exact = rows[0]["found"]
    for row in rows:
        found = row.pop("found")
        row |= {f"{kind} people": recall(found[kind], exact[kind]) for kind in exact}
    click.echo(f"measured: the index alone, {crowd.templates:,} templates", err=True)
    return rows


def gpus() -> list[str]:
    """Which search caches can be had on a GPU here: "faiss", "torch", or none."""
    from facedb.index.faiss import gpu_count

    found = ["faiss"] if gpu_count() else []
    try:
        import torch
    except ImportError:
        return found
    return [*found, "torch"] if torch.cuda.is_available() else found


def gpu_rows(crowd: Crowd, turns: Turns) -> list[dict[str, Any]]:
    """A row for each search cache on a GPU; none where there is no GPU."""
    return [in_fresh_process(on_gpu, kind, crowd, turns) for kind in in_fresh_process(gpus)]


def on_gpu(kind: str, crowd: Crowd, turns: Turns) -> dict[str, Any]:
    """Search by a GPU clone of the exact index; run in a fresh process."""
    from facedb.index.faiss import FaissGpuIndex, build

    index = build("flat", DIM, crowd.templates, lambda: numbered(crowd))
    started = time.perf_counter()
    if kind == "faiss":
        cache: Any = FaissGpuIndex(index)
    else:
        from facedb.index.torch import TorchIndex

        cache = TorchIndex(index.all_ids(), index.flat_rows())
    row = {"index": "flat", "templates": crowd.templates, "on": f"GPU, {kind}"}
    row |= {"clone, s": time.perf_counter() - started}
    row |= searched(cache, crowd.probes(turns.probes), turns)
    probes, strangers = crowd.probes(turns.probes), crowd.strangers(turns.probes)
    found = {"enrolled": cache.search(probes, K)[0], "strangers": cache.search(strangers, K)[0]}
    return row | {"found": found}


def summary(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """Rows for a table: spreads by their medians, one measured thing a line."""
    flat = [flattened(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    return [[name, *(row.get(name, "") for row in flat)] for name in names]


def flattened(row: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        label = f"{before}{name}"
        if isinstance(value, dict) and "median" in value:
            found[label] = value["median"]
        elif isinstance(value, dict):
            found |= flattened(value, f"{label}, ")
        else:
            found[label] = f"{value:,}" if isinstance(value, int) else value
    return found


def plot(result: dict[str, Any], file: Path) -> None:
    """Latency of one probe and throughput of many, against the number of templates."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    words = ("one probe, ms", "probes/s")
    for axis, word in zip(axes, words, strict=True):
        for name, sizes, values in lines(result, word):
            axis.loglog(sizes, values, marker="o", label=name)
        axis.set(xlabel=f"templates of {DIM} dimensions", ylabel=word)
        axis.grid(visible=True, which="both", alpha=0.3)
    axes[0].legend()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def lines(result: dict[str, Any], word: str) -> Iterator[tuple[str, list[int], list[float]]]:
    """Name, sizes and medians of every line of the plot."""
    for each in sorted({row["templates a person"] for row in result["through the gallery"]}):
        rows = [r for r in result["through the gallery"] if r["templates a person"] == each]
        rows.sort(key=lambda row: row["templates"])
        sizes = [row["templates"] for row in rows]
        yield f"facedb, {each} a person", sizes, [row[word]["facedb"]["median"] for row in rows]
        if each == 1:
            yield "plain faiss, flat", sizes, [row[word]["faiss"]["median"] for row in rows]
    kinds = dict.fromkeys((row["index"], row["on"]) for row in result["index alone"])
    for kind, where in kinds:
        rows = [r for r in result["index alone"] if (r["index"], r["on"]) == (kind, where)]
        medians = [row[word]["median"] for row in rows]
        yield f"index alone, {kind}, {where}", [row["templates"] for row in rows], medians


def budgets(rows: list[dict[str, Any]], judged: int) -> list[Budget]:
    """Of the row of 100,000 with one template a person, and of the largest one."""
    (row,) = [row for row in rows if row["templates"] == judged and row["templates a person"] == 1]
    largest = max(rows, key=lambda row: row["templates"])
    count = largest["templates"]
    peak = max(largest["peak of publishing, MB"], largest["peak of opening, MB"])
    limit = 2.2 * count * DIM * 4 / MB + 400
    over = row["rate over faiss"]["median"]
    return [
        Budget(f"search at {judged:,}, over plain FAISS", over, 0.9, "times", at_least=True),
        Budget(f"one probe at {judged:,}", row["one probe, ms more"]["median"], 1.0, "ms more"),
        Budget(f"peak memory, index of {count:,}", peak, limit, "MB"),
    ]


@click.command(cls=Script, help=__doc__)
@click.option(
    "--sizes", default="10000,100000,1000000", show_default=True, help="Templates, by commas."
)
@click.option("--judged", default=100_000, show_default=True, help="The size of the budget.")
@click.option("--alone", "alone_sizes", default="1000000", show_default=True)
@click.option("--large", is_flag=True, help="The index alone at ten million too (takes 6 GB).")
@click.option("--probes", default=1000, show_default=True)
@click.option("--batches", default=7, show_default=True, help="Turns of all probes together.")
@click.option("--single", default=200, show_default=True, help="Turns of one probe.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "bench-search.json")
def main(
    sizes: str, judged: int, alone_sizes: str, large: bool, probes: int, batches: int,
    single: int, seed: int, out: Path,
) -> None:  # fmt: skip
    turns = Turns(probes, batches, single)
    counts = sorted({*map(int, sizes.split(",")), judged})
    crowds = [Crowd(count, 1, DIM, seed) for count in counts] + [Crowd(judged, 4, DIM, seed)]
    indexes = [*map(int, filter(None, alone_sizes.split(","))), *([10_000_000] if large else [])]
    result = circumstances(seed) | {"dim": DIM, "k": K, "probes": probes}
    result["through the gallery"] = [through_the_gallery(crowd, turns) for crowd in crowds]
    result["index alone"] = [
        row for count in indexes for row in alone(Crowd(count, 4, DIM, seed), turns)
    ]
    result["gpu"] = in_fresh_process(gpus) or "no GPU here"
    for title in ("through the gallery", "index alone"):
        if result[title]:
            head, *rest = summary(result[title])
            table(title, [head, *rest])
    click.echo(f"\nGPU: {result['gpu']}")
    finish(result, budgets(result["through the gallery"], judged), out)
    plot(result, out.with_suffix(".png"))


if __name__ == "__main__":
    main()
