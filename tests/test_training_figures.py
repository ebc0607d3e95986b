"""Figures and report of a run: what they count is right, and they say all of it."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import statistics
from collections import Counter
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from facedb.errors import InputError
from facedb.training.figures import RIGHT, WRONG, box_panel, distance_box_plot, tsne_panel
from facedb.training.geometry import (
    Distances,
    Embedded,
    best_accuracy,
    choose_probes,
    nearest,
    outliers,
    pair_accuracy,
    sphere_density,
    validation_pairs,
)
from facedb.training.margin import margin_study, margin_table
from facedb.training.recipes import Recipe
from facedb.training.report import draw_all, write_report
from facedb.training.sheet import neighbour_sheet

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "train"
KINDS = ("clean", "foggy", "sunny")
PAIRS = ("pair_accuracy", "auc", "eer", "tar_at_far_1e-2", "tar_at_far_1e-3")
METRICS = (*PAIRS, *(f"cross_photo_{name}" for name in PAIRS), "same_photo_rank1",
           "cross_photo_rank1")  # fmt: skip


def orthogonal(photos_of: list[int], angle: float = 0.5) -> Embedded:
    """A direction a person, another a photo: versions at 0, photos at 2 sin^2, people at sqrt 2."""
    labels, photos = [], []
    for person, count in enumerate(photos_of):
        for _ in range(count):
            labels += [person] * len(KINDS)
            photos += [max(photos, default=-1) + 1] * len(KINDS)
    embeddings = np.zeros((len(labels), len(photos_of) + max(photos) + 1), np.float32)
    rows = np.arange(len(labels))
    embeddings[rows, labels] = np.cos(angle)
    embeddings[rows, len(photos_of) + np.array(photos)] = np.sin(angle)
    return embedded(embeddings, labels, photos)


def random_people(seed: int = 0, people: int = 12, dim: int = 8) -> Embedded:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), 3 * len(KINDS))
    photos = np.repeat(np.arange(people * 3), len(KINDS))
    rows = rng.normal(size=(people, dim))[labels] + 0.9 * rng.normal(size=(len(labels), dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return embedded(rows.astype(np.float32), labels.tolist(), photos.tolist())


def embedded(embeddings: NDArray[np.float32], labels: list[int], photos: list[int]) -> Embedded:
    folders = sorted(SAMPLE.iterdir())
    files = [sorted(folder.glob("*.jpg")) for folder in folders]
    return Embedded(
        embeddings,
        np.array(labels),
        np.array(photos),
        tuple(KINDS[n % len(KINDS)] for n in range(len(labels))),
        tuple(
            str(files[who][photo % len(files[who])])
            for who, photo in zip(labels, photos, strict=True)
        ),
        tuple(folder.name for folder in folders[: max(labels) + 1]),
    )


def test_pairs_cross_photos_when_asked_to() -> None:
    seen = orthogonal([3, 2, 1, 4])
    who = seen.embeddings, seen.labels, seen.photos
    between_photos = np.sqrt(2 - 2 * np.cos(0.5) ** 2)
    crossing = validation_pairs(*who, n=200, seed=1, cross_photo=True)
    np.testing.assert_allclose(crossing.same, between_photos, atol=1e-6)
    np.testing.assert_allclose(crossing.different, np.sqrt(2), atol=1e-6)
    # Of one person there are 3 + 1 + 0 + 6 pairs of photos, in 3 x 3 versions, each counted once.
    assert (len(crossing.same), len(crossing.different)) == (90, 100)
    published = validation_pairs(*who, n=200, seed=1)
    found = Counter(np.round(published.same, 3).tolist())
    assert set(found) == {0.0, round(float(between_photos), 3)}
    assert (len(published.same), len(published.different)) == (100, 100)
    again = validation_pairs(*who, n=200, seed=1)
    np.testing.assert_array_equal(published.same, again.same)


def test_pairs_that_are_not_there_are_none() -> None:
    alone = orthogonal([1, 1])
    who = alone.embeddings, alone.labels, alone.photos
    assert len(validation_pairs(*who, cross_photo=True).same) == 0
    nobody_else = orthogonal([2])
    who = nobody_else.embeddings, nobody_else.labels, nobody_else.photos
    pairs = validation_pairs(*who)
    assert (len(pairs.same), len(pairs.different)) == (15, 0)


def by_quartiles(values: list[float]) -> int:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    reach = 1.5 * (high - low)
    return sum(value < low - reach or value > high + reach for value in values)


def test_outliers_are_counted_and_drawn() -> None:
    rng = np.random.default_rng(4)
    same = np.abs(rng.standard_t(2, 300)) / 6
    different = 1.4 - np.abs(rng.standard_t(2, 300)) / 20
    wanted = by_quartiles(same.tolist()), by_quartiles(different.tolist())
    assert (outliers(same), outliers(different)) == wanted
    assert min(wanted) > 0
    assert outliers(np.empty(0)) == 0
    axes = Figure().subplots()
    box_panel(axes, "Pairs", Distances(same, different), 0.5)
    assert f"outliers: {wanted[0]} same, {wanted[1]} different" in axes.get_title()
    drawn = [len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    assert drawn == list(wanted)
    shares = [label.get_text() for label in axes.get_xticklabels()]
    assert f"{100 * np.mean(same < 0.5):.1f} % below 0.5" in shares[0]


def panels(file: Path) -> int:
    """The upright lines of the colour of axes in a picture."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    grey = np.abs(pixels - (0xC9, 0xCD, 0xD2)).max(axis=2) < 12
    upright = grey.mean(axis=0) > 0.5
    return int(np.sum(upright[1:] & ~upright[:-1]))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_panel_for_each_set_of_pairs(tmp_path: Path, count: int) -> None:
    seen = orthogonal([2, 2])
    pairs = validation_pairs(seen.embeddings, seen.labels, seen.photos, cross_photo=True)
    sets = {f"set {n}": pairs for n in range(count - 1)}
    sets |= {"none": Distances(pairs.same[:0], pairs.same[:0])}
    distance_box_plot(sets, tmp_path / "boxes.png")
    assert panels(tmp_path / "boxes.png") == count


def test_accuracy_of_pairs() -> None:
    pairs = Distances(np.array([0.1, 0.5, 0.9]), np.array([0.4, 0.8, 1.0, 1.1]))
    assert pair_accuracy(pairs, 0.5) == pytest.approx((1 / 3 + 3 / 4) / 2)
    # Between 0.9 and 1.0: all three of one person, two of the four others.
    assert best_accuracy(pairs) == (1 + 2 / 4) / 2


@pytest.mark.parametrize("cross_photo", [True, False])
def test_neighbours_are_the_nearest_clean_pictures(cross_photo: bool) -> None:
    seen = random_people()
    found = nearest(seen, 5, cross_photo)
    for row in range(0, len(seen.labels), 7):
        others = [
            other
            for other in range(len(seen.labels))
            if seen.kinds[other] == "clean" and other != row
            and not (cross_photo and seen.photos[other] == seen.photos[row])
        ]  # fmt: skip
        gaps = {other: np.linalg.norm(seen.embeddings[row] - seen.embeddings[other])
                for other in others}  # fmt: skip
        assert found.rows[row].tolist() == sorted(others, key=lambda other: gaps[other])[:5]
        assert found.distances[row, 0] == pytest.approx(min(gaps.values()), abs=1e-5)
        assert found.mated[row]


def test_fewer_neighbours_than_asked_for_are_marked() -> None:
    found = nearest(orthogonal([1, 1]), 5)
    assert found.rows[:, 1:].max() == -1
    assert np.isinf(found.distances[:, 1:]).all()
    assert not found.mated.any()


def test_half_of_the_probes_are_the_worst_mistakes() -> None:
    seen = random_people(people=20, dim=4)
    found = nearest(seen)
    mistakes, others = choose_probes(seen.labels, found, count=8)
    wrong = [n for n in range(len(seen.labels)) if seen.labels[found.rows[n, 0]] != seen.labels[n]]
    wrong.sort(key=lambda n: found.distances[n, 0])
    first_of_each = list({int(seen.labels[n]): n for n in reversed(wrong)}.values())[::-1]
    first_of_each.sort(key=lambda n: found.distances[n, 0])
    assert mistakes == first_of_each[:4]
    assert len(others) == 4
    assert len({int(seen.labels[n]) for n in mistakes + others}) == 8


def test_random_unit_vectors_have_the_density_drawn() -> None:
    rng = np.random.default_rng(0)
    for dim in (4, 128):
        pairs = rng.normal(size=(2, 20_000, dim))
        pairs /= np.linalg.norm(pairs, axis=2, keepdims=True)
        simulated = np.linalg.norm(pairs[0] - pairs[1], axis=1)
        at = np.linspace(1e-6, 2 - 1e-6, 20_001)
        density = sphere_density(at, dim)
        density *= at[1] - at[0]
        assert density.sum() == pytest.approx(1, abs=1e-3)
        mean = np.sum(density * at)
        assert mean == pytest.approx(simulated.mean(), abs=0.02 if dim == 4 else 0.002)
        spread = np.sqrt(np.sum(density * (at - mean) ** 2))
        assert spread == pytest.approx(simulated.std(), rel=0.03)


def test_tsne_names_twenty_people_and_says_the_silhouette() -> None:
    seen = random_people(people=23)
    axes = Figure().subplots()
    tsne_panel(axes, seen.embeddings, seen.labels, 0, seen.names)
    named = axes.get_legend_handles_labels()[1]
    assert len(named) == 20
    assert named[0] == seen.names[0].replace("_", " ")
    assert len({(str(c.get_facecolor()), c.get_paths()[0].vertices.tobytes())
                for c in axes.collections[1:]}) == 20  # fmt: skip
    gaps = np.linalg.norm(seen.embeddings[:, None] - seen.embeddings, axis=2)
    scores = []
    for row, label in enumerate(seen.labels):
        by = [gaps[row][seen.labels == who].mean() for who in range(23) if who != label]
        own = gaps[row][seen.labels == label].sum() / ((seen.labels == label).sum() - 1)
        scores.append((min(by) - own) / max(min(by), own))
    wanted = f"{np.mean(scores):.2f}".replace("-", "\N{MINUS SIGN}")
    assert axes.get_title().endswith(f"silhouette of the embeddings: {wanted}")


def coloured(file: Path, colour: str) -> int:
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    wanted = tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return int((pixels == wanted).all(axis=2).sum())


def test_the_sheet_frames_right_and_wrong(tmp_path: Path) -> None:
    # Two photos a person: of five neighbours, one is right, or none in the end.
    neighbour_sheet(orthogonal([2] * 8), tmp_path / "sheet.png")
    right, wrong = (coloured(tmp_path / "sheet.png", colour) for colour in (RIGHT, WRONG))
    assert wrong == pytest.approx(4 * right, rel=0.02)
    neighbour_sheet(orthogonal([2]), tmp_path / "one.png")
    assert coloured(tmp_path / "one.png", RIGHT) > 0
    assert coloured(tmp_path / "one.png", WRONG) == 0


def test_a_sheet_without_anybody_to_find_or_a_file_to_read(tmp_path: Path) -> None:
    neighbour_sheet(orthogonal([1, 1]), tmp_path / "nobody.png")
    seen = orthogonal([2, 2])
    gone = Embedded(seen.embeddings, seen.labels, seen.photos, seen.kinds,
                    tuple(f"{path}.gone" for path in seen.paths), seen.names)  # fmt: skip
    neighbour_sheet(gone, tmp_path / "gone.png")
    assert coloured(tmp_path / "gone.png", "#e9e9e9") > 10_000


def test_margins_side_by_side(tmp_path: Path) -> None:
    runs = {2.0: orthogonal([2] * 6, 0.9), 1.0: orthogonal([2] * 6, 0.2)}
    margin_study(runs, tmp_path / "margins.png")
    with Image.open(tmp_path / "margins.png") as image:
        assert image.width < image.height
    narrow, wide = margin_table(runs)
    assert (narrow["margin"], wide["margin"]) == (1.0, 2.0)
    assert narrow["same_median"] == pytest.approx(np.sqrt(2) * np.sin(0.2), abs=1e-6)
    assert wide["pair_accuracy"] == 0.5
    assert (wide["best_accuracy"], wide["auc"]) == (1.0, 1.0)
    with pytest.raises(InputError, match="no run with margin 2; train it first"):
        margin_study({1.0: runs[1.0]}, tmp_path / "one.png")


def run_folder(run: Path, seen_in_training: bool = False) -> dict[str, Any]:
    run.mkdir()
    seen = random_people()
    record = {name: getattr(seen, name) for name in ("embeddings", "labels", "photos")}
    record |= {name: np.array(getattr(seen, name)) for name in ("kinds", "paths", "names")}
    np.savez(run / "embeddings.npz", **record)
    rows: list[list[Any]] = [[n, 5 * n, 0.5 / n, 1e-4, 0.1, 50.0, 0.055, 0.9, ""] for n in (1, 2)]
    head = ["epoch", "steps", "loss", "learning_rate", "waiting", "images_per_second", "crossing",
            "pair_accuracy", "cross_photo_rank1"]  # fmt: skip
    for name, table in (("log", [head, *rows]), ("steps", [["step", "loss", "learning_rate"]])):
        with (run / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(table)
    (run / "recipe.json").write_text(json.dumps(asdict(Recipe(teacher="<b>&me"))))
    metrics: dict[str, Any] = {"n": 108, "people": 12, "seen_in_training": seen_in_training}
    for who, first in (("encoder", 0.611), ("thumbnail", 0.311)):
        metrics[who] = {name: first + 0.003 * n for n, name in enumerate(METRICS)}
    ranks = ("same_photo_rank1", "cross_photo_rank1")
    metrics["by_distortion"] = {
        kind: {name: 0.811 + 0.02 * n + 0.003 * m for m, name in enumerate(ranks)}
        for n, kind in enumerate(KINDS)
    }
    metrics["by_distortion"]["clean"]["same_photo_rank1"] = None
    (run / "metrics.json").write_text(json.dumps(metrics))
    return metrics


class Page(HTMLParser):
    """The words and pictures of a page, whose every tag is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.pictures: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_says_everything_in_one_file(tmp_path: Path) -> None:
    run = tmp_path / "run & co"
    metrics = run_folder(run)
    drawn = draw_all(run)
    assert [file.name for file in drawn] == [
        "curves.png", "distances.png", "tsne.png", "neighbours.png",
    ]  # fmt: skip
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    words = " ".join(page.words)
    for table in (metrics["encoder"], metrics["thumbnail"], *metrics["by_distortion"].values()):
        for name, value in table.items():
            assert value is None or f"{100 * value:.1f} %" in words, name
    for name, value in asdict(Recipe(teacher="<b>&me")).items():
        assert name in page.words
        assert str(value) in words
    assert "run & co" in words
    assert not re.search(r"https?:|url\(|@import|<script|<link| href=", text)
    assert [picture.split(",")[0] for picture in page.pictures] == ["data:image/png;base64"] * 4
    for picture, file in zip(page.pictures, drawn, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1]))) as image:
            assert image.size[0] > 1000
        assert base64.b64decode(picture.split(",")[1]) == file.read_bytes()
    assert "seen in training" not in words.casefold()
    assert "picked by pair_accuracy on these same pictures" in words


def test_a_report_without_faces_of_people_seen_in_training(tmp_path: Path) -> None:
    run_folder(tmp_path / "run", seen_in_training=True)
    (tmp_path / "run" / "figures").mkdir()
    (tmp_path / "run" / "figures" / "neighbours.png").write_bytes(b"drawn by an earlier run")
    drawn = draw_all(tmp_path / "run", faces=False)
    assert not (tmp_path / "run" / "figures" / "neighbours.png").exists()
    page = Page(write_report(tmp_path / "run", faces=False).read_text(encoding="utf-8"))
    assert len(page.pictures) == len(drawn) == 3
    assert "people seen in training" in " ".join(page.words).casefold()


def test_a_run_that_has_not_ended_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metrics.json: not there; facedb train writes it"):
        draw_all(tmp_path)
