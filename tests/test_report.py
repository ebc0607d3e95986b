"""The page of an evaluation: whole in itself, what was measured, no faces where none are wanted."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from crops import CROPS, people_folder, person
from photos_maker import save, scene

import facedb
from facedb.cli.main import run
from facedb.evaluation.charts import Axis, Curve, heat_table, histogram, line_chart, percent
from facedb.evaluation.mistakes import worst_mistakes
from facedb.evaluation.protocol import EvaluationOptions, run_evaluation
from facedb.evaluation.report import write_report

Output = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five people, one of whom has another's picture; with foggy copies."""
    top = people_folder(tmp_path / "photos", count=5, photos=3)
    person(top / "<b>Odd & Co", 7, photos=1)
    save(top / "<b>Odd & Co" / "like 2.png", np.clip(scene(48, 48, 2) + 5.0, 0, 255).astype("u1"))
    save(top / "Person 0" / "distortion" / "0000_foggy.png", scene(48, 48, 0) // 2 + 90)
    return top


class _Reader(HTMLParser):
    """Which tags are open, what they point to, and the words."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.points_to: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "path", "line", "rect"):
            self.open.append(tag)
        self.points_to += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_the_page_is_whole_in_itself(folder: Path, tmp_path: Path) -> None:
    db = facedb.open(tmp_path / "none", CROPS)
    report, trial = run_evaluation(db, str(folder), EvaluationOptions((1, 5)))
    write_report(report, trial, str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    reader = read(page)
    assert "<script" not in page
    assert not re.search(r"https?://|@import|url\(", page)
    assert reader.points_to
    assert all(target.startswith("data:image/jpeg;base64,") for target in reader.points_to)
    words = " ".join(reader.words)
    assert f"{100 * report.rank[1]:.2f} %" in words
    assert report.encoder_fingerprint in words
    assert report.probes_sha256 in words
    assert "foggy: 1, 0 without a face" in words
    assert "Found among the k nearest (CMC), 17 mated probes" in words
    assert "17 mated probes and 17 of strangers" in words
    # A name that looks like a tag is shown as it is.
    assert "<b>Odd & Co taken for Person 2" in words


def test_no_faces_and_no_names(folder: Path, tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "page.html"
    command = ["evaluate", str(folder), "-g", str(tmp_path / "none"), "--detector", "none"]
    assert run([*command, "--report", str(file), "--no-faces"]) == 0
    page = file.read_text(encoding="utf-8")
    assert read(page).points_to == []
    assert "Person" not in page
    assert "shows no faces" in page
    assert run([*command, "--report", str(tmp_path / "new" / "page.html"), "--no-faces"]) == 0
    assert "shows no faces" in (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert run([*command, "--report", str(file / "page.html")]) == 4
    assert "cannot be written" in capsys.readouterr().err


def test_the_worst_come_first(folder: Path, tmp_path: Path) -> None:
    db = facedb.open(tmp_path / "none", CROPS)
    _, trial = run_evaluation(db, str(folder), EvaluationOptions((1,)))
    (strangers, held), (confused, mistakes), (_, missed) = worst_mistakes(trial, 0.4)
    assert missed == []
    assert strangers.startswith("Strangers accepted")
    assert [mistake.distance for mistake in held] == sorted(mistake.distance for mistake in held)
    assert all(mistake.distance <= 0.4 for mistake in held)
    assert confused == "Taken for somebody else"
    names = [str(trial.probes.names[mistake.row]) for mistake in mistakes]
    assert names[0] == "<b>Odd & Co"
    assert str(trial.enrolled.names[mistakes[0].beside]) == "Person 2"
    own = trial.outcome.own[trial.mated & (trial.outcome.ranks == 1)]
    limit = float(np.median(own))
    words, missed = worst_mistakes(trial, limit)[2]
    assert words == "Not identified"
    assert [mistake.distance for mistake in missed] == sorted(own[own > limit], reverse=True)[:8]
    assert all(mistake.beside == trial.owners[mistake.row] for mistake in missed)


def test_whoever_was_not_identified_stands_beside_another_photo(
    folder: Path, tmp_path: Path
) -> None:
    db = facedb.open(tmp_path / "none", facedb.Settings(detector="none", threshold=0.0))
    report, trial = run_evaluation(db, str(folder), EvaluationOptions((1,)))
    write_report(report, trial, str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    missed = page.partition("<h3>Not identified")[2]
    pairs = re.findall(
        r"<div class='pair'><img alt='' src='(.+?)'><img alt='' src='(.+?)'>", missed
    )
    assert len(pairs) > 2
    assert all(one != other for one, other in pairs)


def test_a_photo_that_is_gone_is_said_to_be(folder: Path, tmp_path: Path) -> None:
    db = facedb.open(tmp_path / "none", CROPS)
    report, trial = run_evaluation(db, str(folder), EvaluationOptions((1,)))
    for photo in folder.rglob("*.png"):
        photo.unlink()
    write_report(report, trial, str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "photo not found" in page
    assert read(page).points_to == []


def test_where_points_lie() -> None:
    axis = Axis("x", 0.001, 1.0, [], percent, logarithmic=True)
    np.testing.assert_allclose(
        axis.place(np.array([0.001, 0.01, 0.1, 1, 0]), 300), [0, 100, 200, 300, 0]
    )
    up = Axis("y", 0.0, 1.0, [0.0, 1.0], percent)
    drawn = line_chart(axis, up, Curve("one", np.array([0.01, 0.1]), np.array([0.0, 1.0])))
    # 460 wide and 300 high, with 56 and 24 beside, 14 above and 46 below.
    assert 'd="M182.7 254.0L309.3 14.0"' in drawn
    stairs = Curve("one", np.array([0.01, 0.1]), np.array([0.0, 1.0]), steps=True)
    assert 'd="M182.7 254.0L309.3 254.0L309.3 14.0"' in line_chart(axis, up, stairs)


def corners(drawn: str) -> list[tuple[float, float]]:
    """The points of the last path of a chart, in pixels."""
    path = re.findall(r'd="M([^"]*)" fill="none" stroke="#1a5a9c"', drawn)[-1]
    return [(float(x), float(y)) for x, y in (pair.split(" ") for pair in path.split("L"))]


def test_a_long_staircase_is_drawn_step_by_step() -> None:
    # The misses of 5,000 strangers' thresholds fall fastest where FPIR is least, which on a
    # logarithmic axis fills two thirds of the page.
    accepted = np.arange(1, 5001) / 5000
    missed = 1.0 - np.minimum(1.0, np.arange(1, 5001) / 100)
    across = Axis("x", 1e-4, 1.0, [], percent, logarithmic=True)
    up = Axis("y", 0.0, 1.0, [], percent)
    drawn = corners(line_chart(across, up, Curve("DET", accepted, missed, steps=True)))
    assert len(drawn) < 2000
    for place in [*range(200), *range(200, 5000, 100)]:
        at = 56 + 380 * (4 + np.log10(accepted[place])) / 4
        height = 254 - 240 * missed[place]
        # Right of this step and left of the next, the stairs are at its height, to a pixel.
        left = [b for a, b in drawn if a <= at + 1.0]
        near = [b for a, b in drawn if abs(a - at) <= 1.0]
        assert min(abs(b - height) for b in [left[-1], *near]) <= 1.0, place


def test_marks_of_a_histogram_are_whole_percents() -> None:
    across = Axis("distance", 0, 2, [0.0, 2.0], percent)
    for most in (0.003, 0.11, 0.41, 0.45, 0.61, 1.0):
        hits = round(1000 * most)
        values = np.concatenate([np.full(hits, 0.51), np.linspace(1.0, 1.99, 1000 - hits)])
        drawn = histogram(across, [("a", values, "#111111")], mark=None)
        marks = [float(word) for word in re.findall(r'text-anchor="end"[^>]*>([\d.]+) %<', drawn)]
        assert len(marks) == 5
        assert all(mark == round(mark) for mark in marks)
        np.testing.assert_allclose(np.diff(marks), marks[1])
        highest = max(np.histogram(values, np.linspace(0, 2, 41))[0]) / 10
        assert marks[-1] - 4 < highest <= marks[-1]


def test_bars_and_cells() -> None:
    across = Axis("distance", 0, 2, [0.0, 2.0], percent)
    drawn = histogram(across, [("a", np.full(4, 0.51), "#111111")], mark=1.0)
    assert drawn.count("<rect") == 1
    assert "threshold" in drawn
    table = heat_table(["one", "two"], [("row", (0.5, None)), ("last", (1.0, 0.0))])
    assert ">50.0 %<" in table
    assert "&ndash;" in table
    read(table)
