"""Which enrolled photos look like somebody else: the rule by brute force, and the command."""

from __future__ import annotations

import json
import shlex
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from vectors import DIM, PIN, add, filled, people, stored

from facedb.cli.main import run
from facedb.doubts import doubts
from facedb.errors import InputError
from facedb.gallery import Gallery
from facedb.identify import FaceDB, Settings
from facedb.lookalikes import lookalikes
from facedb.render_index import doubts_text
from facedb.twice import enrolled_twice

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "train"


def by_brute_force(gallery: Gallery, new: set[int], limit: float) -> dict[int, tuple[int, float]]:
    """template id -> (the nearest template of somebody else, how far that is)."""
    rows = stored(gallery)
    found: dict[int, tuple[int, float]] = {}
    for number in new:
        owner, vector = rows[number]
        apart = {
            other: float(np.linalg.norm(vector - rows[other][1]))
            for other in rows
            if other != number
        }
        own = [apart[other] for other in apart if rows[other][0] == owner]
        near, other = min((apart[other], other) for other in apart if rows[other][0] != owner)
        if own and min(own) > limit and near <= limit:
            found[number] = other, near
    return found


@pytest.mark.parametrize("block", [3, 256])
def test_the_new_who_look_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("facedb.lookalikes._BLOCK", block)
    gallery = filled(tmp_path / "g", 30, 3)
    before, old = gallery.store.revision(), set(stored(gallery))
    # More photos of the same thirty, every fourth of them under the name of the next person; one
    # person more has a single photo, which looks like the first's.
    new = people(30, 4)
    names = [f"person{(n // 4 + (n % 4 == 0)) % 30:03}" for n in range(len(new))]
    add(gallery, np.concatenate([new, new[1:2]]), [*names, "single"], prefix="new")
    limit = 0.9
    described = gallery.store.describe(list(stored(gallery)))
    expected = by_brute_force(gallery, set(stored(gallery)) - old, limit)
    found = lookalikes(gallery, before, limit)
    assert 10 < len(expected) < 60
    assert {one.path: (one.identity, one.other, one.photo) for one in found} == {
        described[number].photo: (
            described[number].identity,
            described[other].identity,
            described[other].photo,
        )
        for number, (other, _) in expected.items()
    }
    assert sorted(one.distance for one in found) == pytest.approx(
        sorted(near for _, near in expected.values())
    )
    assert [one.distance for one in found] == sorted(one.distance for one in found)
    assert lookalikes(gallery, gallery.store.revision(), limit) == []


def test_whose_witness_strayed_is_in_the_right(tmp_path: Path) -> None:
    # Degrees on a circle: 17 strayed from P to Q, and 46 of P is near to nothing else.
    angles = np.deg2rad([0, 2, 46, 17, 180, 181])
    vectors = np.zeros((6, DIM), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    gallery = Gallery.create(tmp_path / "g", PIN)
    add(gallery, vectors, ["P", "P", "P", "Q", "Q", "Q"])
    (found,) = lookalikes(gallery, 0, 0.6)
    assert (found.path, found.identity, found.other) == ("/photos/Q/3-Q.jpg", "Q", "P")
    assert found.distance == pytest.approx(2 * np.sin(np.deg2rad(15) / 2), abs=1e-6)


def test_index_names_a_photo_in_the_wrong_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, gallery = tmp_path / "photos", ["-g", str(tmp_path / "g")]
    shutil.copytree(SAMPLE, photos)
    assert run(["index", str(photos), *gallery, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lookalikes"] == []
    strayed = photos / "Gregor_Waldmoor" / "stray.jpg"
    shutil.move(photos / "Mira_Solene" / "02.jpg", strayed)
    assert run(["index", str(photos), *gallery, "--prune"]) == 0
    printed = capsys.readouterr().out
    assert "1 enrolled face looks like somebody else" in printed
    assert f"  {strayed}: like Mira_Solene (0." in printed
    # It is said of what is new.
    assert run(["index", str(photos), *gallery, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lookalikes"] == []


def without_circles(pairs: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Of pairs of names and their distances, those that are not joined by nearer ones."""
    left = dict(pairs)
    for pair in sorted(pairs, key=lambda pair: -pairs[pair]):
        rest, reached = [set(other) for other in left if other != pair], {pair[0]}
        while more := [ends for ends in rest if len(ends & reached) == 1]:
            reached.update(*more)
        if pair[1] in reached:
            del left[pair]
    return left


def without_mixed(
    pairs: dict[tuple[str, str], float], means: dict[str, np.ndarray], most: float
) -> dict[tuple[str, str], float]:
    """Without those who are paired with two people farther apart than `most`."""
    mixed = set()
    for one, other in combinations(pairs, 2):
        for name in set(one) & set(other):
            near, beside = {*one, *other} - {name}
            if np.linalg.norm(means[near] - means[beside]) > most:
                mixed.add(name)
    return {pair: apart for pair, apart in pairs.items() if mixed.isdisjoint(pair)}


def test_people_under_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By brute force over all pairs, of whom some were given a second name for a few photos."""
    monkeypatch.setattr("facedb.twice._BLOCK", 7)
    gallery = Gallery.create(tmp_path / "g", PIN)
    vectors = people(40, 5)
    names = [
        f"p{n // 5:02}" + ("b" if n // 5 % 4 == 0 and n % 5 > 2 else "")
        for n in range(len(vectors))
    ]
    add(gallery, vectors[:150], names[:150])
    before = gallery.store.revision()
    add(gallery, vectors[150:], names[150:], prefix="new")
    add(gallery, vectors[3:4] + 0.0, ["p00b"], prefix="more")
    limit, expected = 0.8, {}
    groups = {name: vectors[[n for n, of in enumerate(names) if of == name]] for name in names}
    groups["p00b"] = np.concatenate([groups["p00b"], vectors[3:4]])
    means = {name: rows.sum(0) / np.linalg.norm(rows.sum(0)) for name, rows in groups.items()}
    for one in groups:
        for other in groups:
            apart = float(np.linalg.norm(means[one] - means[other]))
            near = np.linalg.norm(groups[one][:, None] - groups[other][None], axis=2).min()
            if one < other and apart <= limit and near <= limit:
                fewer = sorted((one, other), key=lambda name: (len(groups[name]), name))
                expected[tuple(fewer)] = apart
    assert 8 < len(expected) < 20
    # The means of these two agree, and no photo of the one is near any of the other.
    far = np.zeros((4, DIM), np.float32)
    far[:, 0], far[0, 1], far[1, 1], far[2, 2], far[3, 2] = 0.8, 0.6, -0.6, 0.6, -0.6
    add(gallery, far, ["x", "x", "y", "y"], prefix="far")
    found = enrolled_twice(gallery, 0, limit / 0.95)
    kept = without_mixed(expected, means, limit / 0.95)
    assert len(kept) < len(expected)
    assert {(pair.name, pair.other): pair.distance for pair in found} == pytest.approx(
        without_circles(kept)
    )
    assert [pair.distance for pair in found] == sorted(pair.distance for pair in found)
    late = set(names[150:]) | {"p00b"}
    of_late = {pair: expected[pair] for pair in expected if late.intersection(pair)}
    assert {(pair.name, pair.other) for pair in enrolled_twice(gallery, before, limit / 0.95)} == {
        *without_circles(without_mixed(of_late, means, limit / 0.95))
    }


def test_three_names_of_one_person_take_two_merges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = Gallery.create(tmp_path / "g", PIN)
    one = people(1, 6)
    add(gallery, one, ["Ada", "Ada", "Ada", "-Bea", "-Bea", "Cleo"])
    pairs = enrolled_twice(gallery, 0, 1.0)
    assert len(pairs) == 2
    assert {name for pair in pairs for name in (pair.name, pair.other)} == {"Ada", "-Bea", "Cleo"}
    said = doubts_text(doubts(gallery, gallery.store.templates(), 1.0), str(tmp_path / "g"))
    first, *merges = said.splitlines()
    assert first == "1 person seems to be enrolled under several names; if it is so, merge them:"
    assert [" apart: facedb people merge " in merge for merge in merges] == [True, True, False]
    for merge in merges[:2]:
        assert run(shlex.split(merge.partition(": ")[2])[1:]) == 0
    assert gallery.store.count_people() == 1
    assert enrolled_twice(gallery, 0, 1.0) == []


def test_a_folder_of_two_people_is_merged_with_neither(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", PIN)
    ada, cleo = np.zeros((2, 4, DIM), np.float32)
    ada[:, 0] = cleo[:, 1] = 1.0
    ada[:, 2:6] += 0.1 * np.eye(4)
    cleo[:, 2:6] += 0.1 * np.eye(4)
    rows = np.concatenate([ada, cleo])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    add(gallery, rows, ["Ada", "Ada", "Party", "Party", "Cleo", "Cleo", "Party", "Party"])
    # The mean of both is 0.77 from each of them, who are 1.41 apart.
    assert enrolled_twice(gallery, 0, 0.9) == []
    alone = Gallery.create(tmp_path / "without Cleo", PIN)
    add(alone, rows[[0, 1, 2, 3, 6, 7]], ["Ada", "Ada", "Party", "Party", "Party", "Party"])
    assert [(pair.name, pair.other) for pair in enrolled_twice(alone, 0, 0.9)] == [("Ada", "Party")]


def test_index_and_doubts_say_who_seems_to_have_two_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, gallery = tmp_path / "photos", ["-g", str(tmp_path / "g")]
    shutil.copytree(SAMPLE, photos)
    (photos / "M Solene").mkdir()
    for number in (1, 2):
        shutil.move(photos / "Mira_Solene" / f"0{number}.jpg", photos / "M Solene")
    assert run(["index", str(photos), *gallery]) == 0
    out = capsys.readouterr().out
    merge = shlex.join(["facedb", "people", "merge", "M Solene", "Mira_Solene", *gallery])
    assert "1 person seems to be enrolled under several names; if it is so, merge them:\n" in out
    assert f" apart: {merge}\n" in out
    assert (
        run(["enroll", "m solene", str(SAMPLE.parent / "val" / "Mira_Solene" / "05.jpg"), *gallery])
        == 0
    )
    # The names are nearly one, and so are the faces: it is said once.
    assert "".join(capsys.readouterr()).count("facedb people merge 'm solene' 'M Solene'") == 1
    assert run(["people", "remove", "m solene", "--yes", *gallery]) == 0
    capsys.readouterr()
    for name, said in (([], True), (["Mira_Solene"], True), (["Gregor_Waldmoor"], False)):
        assert run(["people", "doubts", *name, *gallery]) == 0
        assert (merge in capsys.readouterr().out) is said
    assert run(shlex.split(merge)[1:]) == 0
    assert run(["people", "doubts", *gallery, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["twice"] == []


def test_an_fpir_that_nobody_measured_does_not_stop_enrolling(tmp_path: Path) -> None:
    with FaceDB(tmp_path / "g", Settings(fpir=0.0001)) as db:
        assert db.index_folder(SAMPLE).enrolled == 96
        with pytest.raises(InputError, match="too few"):
            _ = db.threshold


def test_a_gallery_that_was_asked_before_sees_the_new(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(SAMPLE, photos)
    shutil.move(photos / "Freya_Holmdal", tmp_path / "Freya_Holmdal")
    with FaceDB(tmp_path / "g") as db:
        db.index_folder(photos)
        for _ in range(20):  # so often that it is answered from memory
            db.identify(photos / "Mira_Solene" / "01.jpg")
        shutil.move(tmp_path / "Freya_Holmdal", photos / "Freya_Holmdal")
        strayed = photos / "Freya_Holmdal" / "stray.jpg"
        shutil.copy(SAMPLE.parent / "val" / "Mira_Solene" / "05.jpg", strayed)
        assert [one.path for one in db.index_folder(photos).lookalikes] == [str(strayed)]
