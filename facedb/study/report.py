"""A study's JSON to the tables of docs/cifar10.md; pure, text in and text out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from facedb.study.analysis import most_confused
from facedb.study.blocks import BLOCKS, BlockNetwork
from facedb.study.cost import multiply_accumulates, parameters

Run: TypeAlias = dict[str, Any]  # what a finished run wrote
CLAIMED = (("automobile", "airplane"), ("horse", "dog"))


def grouped(runs: Iterable[Run]) -> dict[tuple[str, str], list[Run]]:
    """The runs of each (recipe, block), recipes in the order found, blocks in that of BLOCKS."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run["plan"]["recipe"]["name"], run["plan"]["block"]), []).append(run)
    recipes = list(dict.fromkeys(recipe for recipe, _ in found))
    order = sorted(found, key=lambda key: (recipes.index(key[0]), list(BLOCKS).index(key[1])))
    return {key: found[key] for key in order}


def markdown(rows: Sequence[Sequence[object]]) -> str:
    """A table, the first row being its head."""
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def block_table() -> str:
    """Parameters against the published ones, and the work for one image, of each block."""
    rows: list[list[object]] = [
        ["block", "", "parameters", "published", "difference", "MACs, millions"]
    ]
    for name, block in BLOCKS.items():
        network = BlockNetwork(name)
        count = parameters(network)
        work = f"{multiply_accumulates(network) / 1e6:.1f}"
        off = f"{count - block.parameters:+,}" if count != block.parameters else "none"
        rows.append([name, block.title, f"{count:,}", f"{block.parameters:,}", off, work])
    return markdown(rows)


def percent(values: Sequence[float]) -> str:
    """Mean of shares in percent, and their standard deviation where there are several."""
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean


def result_table(study: dict[str, Any]) -> str:
    """Accuracy and time of each recipe and block, beside the published accuracy."""
    head = "recipe|block|seeds|test %|with mirror images %|train %|published test %|time|images/s"
    rows: list[list[object]] = [list(head.split("|"))]
    for (recipe, block), runs in grouped(study["runs"]).items():
        names = ("test_accuracy", "test_accuracy_mirrored", "train_accuracy")
        shares = [percent([run[name] for run in runs]) for name in names]
        seconds = statistics.mean(run["seconds"] for run in runs)
        speed = statistics.mean(run["images_per_second"] for run in runs)
        published = f"{BLOCKS[block].validation:.2f}"
        rows.append([recipe, block, len(runs), *shares, published, clock(seconds), f"{speed:,.0f}"])
    return markdown(rows)


def clock(seconds: float) -> str:
    """Minutes and seconds, as in 24m44s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02}s"


def spread_note(study: dict[str, Any]) -> str:
    """How far two accuracies may lie apart by the choice of test pictures alone.

    Twice the binomial standard error of a difference between two independent accuracies, an upper
    bound here, where both networks see the same pictures.
    """
    shares = [run["test_accuracy"] for run in study["runs"]]
    middle, count = statistics.median(shares), study["test_photos"]
    apart = 200 * math.sqrt(2 * middle * (1 - middle) / count)
    return (
        f"{count:,} test pictures, accuracy around {100 * middle:.0f} %: two networks less than "
        f"{apart:.1f} points apart may differ by the choice of test pictures alone. What another "
        f"seed would change comes on top."
    )


def ranking(study: dict[str, Any]) -> str:
    """The blocks of each recipe, best mean test accuracy first, and the published order."""
    published = sorted(BLOCKS, key=lambda name: -BLOCKS[name].validation)
    rows: list[list[object]] = [
        ["", "order by test accuracy"],
        ["published", " > ".join(published)],
    ]
    groups = grouped(study["runs"])
    for recipe in dict.fromkeys(recipe for recipe, _ in groups):
        means = {
            block: statistics.mean(run["test_accuracy"] for run in runs)
            for (name, block), runs in groups.items()
            if name == recipe
        }
        rows.append([recipe, " > ".join(sorted(means, key=lambda name: -means[name]))])
    return markdown(rows)


def confusion_table(study: dict[str, Any]) -> str:
    """The pairs most confused, and at which place of 45 the published pairs stand."""
    head = ["recipe", "block", "most confused (test pictures, both ways)"]
    head += [f"{one}/{other}" for one, other in CLAIMED]
    rows: list[list[object]] = [list(head)]
    for (recipe, block), runs in grouped(study["runs"]).items():
        counts = sum(np.array(run["confusion"]) for run in runs)
        pairs = most_confused(np.asarray(counts), 45)
        worst = ", ".join(f"{one}/{other} {count}" for one, other, count in pairs[:3])
        places = [
            next(place for place, pair in enumerate(pairs, 1) if set(pair[:2]) == set(claim))
            for claim in CLAIMED
        ]
        rows.append([recipe, block, worst, *(f"place {place}" for place in places)])
    return markdown(rows)


def silhouette_table(study: dict[str, Any]) -> str:
    """How well the classes lie apart in the penultimate features, of each block's first seed."""
    rows: list[list[object]] = [["recipe", "block", "silhouette of t-SNE", "of the 512 features"]]
    for look in study["looks"]:
        if "points" in look:
            values = (look["silhouette_plane"], look["silhouette_features"])
            rows.append([look["recipe"], look["block"], *(f"{value:.3f}" for value in values)])
    return markdown(rows)


def section(study: dict[str, Any], name: str) -> str:
    """Everything of one study: tables, and its figures as `figures.draw_all` names them."""
    parts = [
        "#### Accuracy",
        result_table(study),
        spread_note(study),
        ranking(study),
        f"![accuracy after each epoch](cifar10/{name}-curves.png)",
        "#### Classes taken for each other",
        confusion_table(study),
        f"![confusion matrix](cifar10/{name}-confusion.png)",
    ]
    if any("points" in look for look in study["looks"]):
        parts += ["#### Features", silhouette_table(study)]
        parts.append(f"![t-SNE of the features](cifar10/{name}-tsne.png)")
    if study["attention"]:
        parts.append("#### Where block B looks")
        parts.append(f"![attention maps of block B](cifar10/{name}-attention.png)")
    return "\n\n".join(parts)
