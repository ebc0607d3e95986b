"""Protocols and the search behind them, against numbers worked out on paper and by brute force."""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from crops import CROPS, people_folder, person
from numpy.typing import NDArray
from photos_maker import save, scene
from vectors import PIN, add, people, unit

import facedb
from facedb.aggregation import AGGREGATIONS, Aggregation, to_people
from facedb.cli.main import run
from facedb.encoder.bundle import BUNDLED
from facedb.errors import InputError
from facedb.evaluation import curves, metrics
from facedb.evaluation.intervals import bootstrap, share_interval
from facedb.evaluation.protocol import EvaluationOptions, evaluate, run_evaluation
from facedb.evaluation.samples import Samples
from facedb.evaluation.search import Probes, Templates, search
from facedb.evaluation.splits import open_set_split, read_split
from facedb.evaluation.trial import Enrolled, Trial, enrolled_from, enrolled_in, run_trial, tried_in
from facedb.gallery import Gallery
from facedb.identify import FaceDB, Settings
from facedb.people import People
from facedb.photos import load_photo
from facedb.store import Measurements, Person, Store, StoredProbe

SAMPLE = Path(__file__).resolve().parents[1] / "data"


def samples(
    names: list[str], vectors: NDArray[np.float32], photos: list[str] | None = None
) -> Samples:
    digests = np.array(photos or [f"{number:03}" for number in range(len(names))])
    return Samples(
        np.array(names),
        tuple(f"{digest}.jpg" for digest in digests),
        digests,
        digests,
        np.full(len(names), ""),
        vectors,
        np.any(vectors != 0, axis=1),
        tuple([None] * len(names)),
        tuple([None] * len(names)),
    )


def at(*degrees: float) -> NDArray[np.float32]:
    """Unit vectors in a plane; the distance of two is the chord, 2 sin(difference / 2)."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def chord(degrees: float) -> float:
    return float(2 * np.sin(np.radians(degrees) / 2))


@pytest.fixture
def paper() -> Trial:
    """Ada at 0 degrees, Ben at 90, Cy at 180; eight probes, worked out on paper:

    probe      of   at    nearest   own      rank
    1          Ada  10    Ada 10    10       1
    2          Ada  50    Ben 40    50       2
    3          Ben  80    Ben 10    10       1
    4          Ben  170   Cy  10    80       2
    5          Cy   no face                  0
    6 stranger      60    Ben 30
    7 stranger      225   Cy  45
    8 stranger      320   Ada 40
    """
    gallery = enrolled_from(samples(["Ada", "Ben", "Cy"], at(0, 90, 180), ["a", "b", "c"]))
    vectors = at(10, 50, 80, 170, 0, 60, 225, 320)
    vectors[4] = 0
    names = ["Ada", "Ada", "Ben", "Ben", "Cy", "x", "y", "z"]
    return run_trial(gallery, samples(names, vectors), "nearest")


def test_the_paper_example(paper: Trial) -> None:
    assert paper.mated.tolist() == [True] * 5 + [False] * 3
    ranks, own = paper.outcome.ranks[:5], paper.outcome.own[:5]
    assert ranks.tolist() == [1, 2, 1, 2, 0]
    expected = [chord(10), chord(50), chord(10), chord(80), np.inf]
    np.testing.assert_allclose(own, expected, atol=1e-7)
    np.testing.assert_allclose(
        paper.stranger_distances, [chord(30), chord(45), chord(40)], atol=1e-7
    )
    assert metrics.rank_k(ranks, [1, 2, 3]) == {1: 2 / 5, 2: 4 / 5, 3: 4 / 5}
    assert curves.cmc(ranks, 3).tolist() == [2 / 5, 4 / 5, 4 / 5]
    nearest = paper.outcome.nearest
    assert metrics.tpir(ranks, nearest[:5], chord(35)) == 2 / 5
    assert metrics.fpir(nearest[5:], chord(35)) == pytest.approx(1 / 3)
    assert metrics.fnir(ranks, own, chord(60), within=1) == pytest.approx(3 / 5)
    assert metrics.fnir(ranks, own, chord(60), within=2) == pytest.approx(2 / 5)
    assert metrics.fnir(ranks, own, chord(5)) == 1.0


def test_the_paper_example_where_strangers_set_the_threshold(paper: Trial) -> None:
    # One of three may be accepted: 30 degrees. None: just below. Nobody is found below 10 degrees.
    assert paper.dir_at(1 / 3) == pytest.approx(2 / 5)
    assert paper.dir_at(0.1) == pytest.approx(2 / 5)
    own = np.full(5, chord(31))
    assert metrics.dir_at_fpir(paper.outcome.ranks[:5], own, paper.stranger_distances, 1 / 3) == 0
    thresholds, accepted, missed = curves.det(
        paper.outcome.ranks[:5], paper.outcome.own[:5], paper.stranger_distances
    )
    np.testing.assert_allclose(thresholds, [chord(30), chord(40), chord(45)], atol=1e-7)
    np.testing.assert_allclose(accepted, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(missed, [3 / 5, 3 / 5, 3 / 5])


def test_the_paper_example_by_label(paper: Trial) -> None:
    # Ada: 1 of 2 found, 1 named: 2/3. Ben: 1 of 2 found, 2 named: 1/2. Cy: 0. Nobody is no label.
    first = paper.outcome.first[:5]
    assert first.tolist() == [0, 1, 1, 2, -1]
    assert metrics.macro_f1(paper.owners[:5], first) == pytest.approx((2 / 3 + 1 / 2) / 3)


def test_holding_people_out_of_the_paper_example(paper: Trial) -> None:
    # Without Ada, probe 1 at 10 degrees is 80 from Ben; without Ben, probe 3 is 80 from Ada.
    expected = [chord(80), chord(40), chord(80), chord(10)]
    np.testing.assert_allclose(paper.outcome.other[:4], expected, atol=1e-7)
    assert paper.outcome.rival[:4].tolist() == [1, 1, 0, 2]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_distances_to_people_by_brute_force(aggregation: Aggregation) -> None:
    random = np.random.default_rng(3)
    templates, probes = unit(random.normal(size=(12, 5))), unit(random.normal(size=(6, 5)))
    owners = np.array([0, 0, 0, 0, 1, 3, 3, 4, 4, 4, 4, 4])
    hidden = random.random((6, 12)) < 0.4
    found = to_people(probes, templates, owners, 6, aggregation, hidden)
    for row in range(6):
        for owner in range(6):
            left = templates[(owners == owner) & ~hidden[row]].astype(np.float64)
            assert found[row, owner] == pytest.approx(by_hand(probes[row], left, aggregation))


def by_hand(probe: NDArray[np.float32], templates: NDArray[np.float64], rule: str) -> float:
    if not len(templates):
        return float("inf")
    near = sorted(float(np.linalg.norm(probe - template)) for template in templates)
    mean = templates.sum(axis=0) / np.linalg.norm(templates.sum(axis=0))
    to_mean = float(np.linalg.norm(probe - mean))
    match rule:
        case "nearest":
            return near[0]
        case "mean":
            return to_mean
        case "top-3":
            return float(np.sqrt(np.mean(np.square(near[:3]))))
    return min(near[0], to_mean)


def test_search_in_blocks_equals_sorting_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facedb.evaluation.search._CELLS", 700)
    vectors = people(40, 3, seed=5)
    names = np.repeat(np.arange(40), 3)
    order = np.random.default_rng(1).permutation(120)
    gallery, asked = order[:80], order[80:]
    templates = Templates(vectors[gallery], names[gallery], gallery, 40)
    probes = Probes(vectors[asked], np.ones(40, dtype=bool), names[asked], asked)
    outcome = search(probes, templates, "nearest")
    for row, probe in enumerate(asked):
        near = np.full(40, np.inf)
        for template in gallery:
            distance = float(np.linalg.norm(vectors[probe] - vectors[template]))
            near[names[template]] = min(near[names[template]], distance)
        own = near[names[probe]]
        assert outcome.ranks[row] == (np.sum(near <= own) if np.isfinite(own) else 0)
        assert outcome.nearest[row] == pytest.approx(near.min())
        assert outcome.first[row] == near.argmin()


def test_the_door_ranks_people_as_the_evaluation_does(tmp_path: Path) -> None:
    folder = people_folder(tmp_path / "photos", count=8, photos=3)
    probe = save(tmp_path / "probe.png", np.clip(scene(48, 48, 3) + 9.0, 0, 255).astype(np.uint8))
    for aggregation in AGGREGATIONS:
        db = facedb.open(tmp_path / "g", Settings(detector="none", aggregation=aggregation))
        db.index_folder(folder)
        (face,) = db.identify(probe, k=8)
        for _ in range(20):  # Asked often, it answers from memory.
            assert db.identify(probe, k=8) == [face]
        ids, identities = db.gallery.store.identity_ids()
        vectors = np.concatenate([block for _, block in db.gallery.store.added(0, 99)])
        names = {person.identity_id: person.name for person in db.people.list()}
        vector = db.encoder.embed(db.detector.detect(load_photo(probe))[0].crop[None])
        expected = {
            names[identity]: by_hand(
                vector[0], vectors[identities == identity].astype(np.float64), aggregation
            )
            for identity in set(identities.tolist())
        }
        assert len(ids) == 24
        shown = [(candidate.identity, candidate.distance) for candidate in face.candidates]
        assert [name for name, _ in shown] == sorted(expected, key=lambda name: expected[name])
        for name, distance in shown:
            assert distance == pytest.approx(expected[name], abs=1e-6)


def wilson_by_bisection(share: float, people: int, upper: bool) -> float:
    """Where the score test at 5 % just accepts: (share - p)^2 = 1.96^2 p (1 - p) / n."""
    inside, outside = share, float(upper)
    for _ in range(100):
        at = (inside + outside) / 2
        accepted = (share - at) ** 2 <= 1.959964**2 * at * (1 - at) / people
        inside, outside = (at, outside) if accepted else (inside, at)
    return inside


@pytest.mark.parametrize(("hits", "people"), [(0, 300), (1, 300), (300, 300), (0, 1), (29, 30)])
def test_few_events_are_no_certainty(hits: int, people: int) -> None:
    found = share_interval(np.arange(people) < hits, np.arange(people))
    share = hits / people
    assert found.low <= wilson_by_bisection(share, people, upper=False) + 1e-6
    assert found.high >= wilson_by_bisection(share, people, upper=True) - 1e-6
    assert found.low <= share <= found.high


def test_one_person_half_recognised_says_hardly_anything() -> None:
    low, high = share_interval(np.arange(10) < 5, np.zeros(10, dtype=np.int64))
    assert low == pytest.approx(wilson_by_bisection(0.5, 1, upper=False))
    assert high == pytest.approx(wilson_by_bisection(0.5, 1, upper=True))


def test_floors_rise_with_the_rank_of_the_same_probes(tmp_path: Path) -> None:
    top = people_folder(tmp_path / "photos", count=12, photos=2)
    person(top / "Odd", 7, photos=1)
    brighter(top / "Odd", 2, 5, "like 2.png")
    report = evaluate(empty_db(tmp_path), str(top), (1, 2, 5, 10, 13))
    assert report.rank[1] < 1.0
    assert report.rank[13] == 1.0
    floors = [report.intervals[f"rank-{k}"].low for k in (1, 2, 5, 10, 13)]
    assert floors == sorted(floors)
    # Nobody was missed, of 13 people: n / (n + 1.96^2).
    assert report.intervals["rank-13"] == pytest.approx((13 / (13 + 1.959964**2), 1.0))


def test_an_fpir_needs_as_many_strangers_as_calibrate_asks_for() -> None:
    def measured(strangers: int, photos: int) -> list[float]:
        names = ["Ada", "Ada"] + [f"s{n // photos}" for n in range(strangers * photos)]
        vectors = unit(np.random.default_rng(1).normal(size=(len(names), 8)))
        read, rows = samples(names, vectors), np.arange(len(names))
        enrolled = enrolled_from(read.take(rows[:1]))
        return run_trial(enrolled, read.take(rows[1:]), "nearest").measurable

    # Photos of one stranger are no further strangers.
    assert measured(10, 300) == measured(29, 1) == []
    assert measured(30, 2) == measured(299, 1) == [0.1]
    assert measured(300, 1) == measured(999, 1) == [0.01, 0.1]
    assert measured(1000, 1) == [0.003, 0.01, 0.1]


def test_ten_people_cannot_tell_a_small_fpir(tmp_path: Path) -> None:
    top = people_folder(tmp_path / "photos", count=10, photos=12)
    report = evaluate(empty_db(tmp_path), str(top), (1,))
    assert (report.mated, report.dir) == (120, {})
    for number in range(10, 30):
        person(top / f"Person {number}", number, photos=1)
    more = evaluate(empty_db(tmp_path), str(top), (1,))
    assert list(more.dir) == [0.1]
    assert "dir at 0.1" in more.intervals


def test_dir_is_no_surer_than_its_people_allow(paper: Trial) -> None:
    # Two of five probes are found, of three people.
    found = paper.dir_interval(0.1)
    assert found.low <= wilson_by_bisection(2 / 5, 3, upper=False) + 1e-6
    assert found.high >= wilson_by_bisection(2 / 5, 3, upper=True) - 1e-6


def test_bootstrap_by_person() -> None:
    # 200 people, one photo each, half of them right: the binomial says 0.5 +- 1.96 * 0.0354.
    hits = np.arange(200) % 2 == 0
    low, high = share_interval(hits, np.arange(200))
    assert low == pytest.approx(0.5 - 0.0693, abs=0.006)
    assert high == pytest.approx(0.5 + 0.0693, abs=0.006)
    # The same photos ten times over say no more than once, when people are drawn.
    again = share_interval(np.repeat(hits, 10), np.repeat(np.arange(200), 10))
    assert again == (low, high)
    drawn = bootstrap(lambda rows: float(np.mean(hits[rows])), np.arange(200))
    assert drawn.low == pytest.approx(low, abs=0.02)


def test_pairs_of_both_kinds() -> None:
    distances = np.array([0.2, 0.4, 0.4, 0.6, 0.9, 0.4, 0.7, 0.8, 1.0, np.inf])
    same = np.arange(10) < 5
    # Closer of 25 pairs: 0.2: 5; 0.4: 4.5 twice; 0.6: 4; 0.9: 2.
    assert metrics.auc(distances, same) == pytest.approx((5 + 4.5 + 4.5 + 4 + 2) / 25)
    # At 0.6 FNMR 1/5, FMR 1/5.
    assert metrics.eer(distances, same) == pytest.approx(1 / 5)
    assert metrics.tmr_at_fmr(distances, same, 0.0) == 1 / 5
    assert metrics.tmr_at_fmr(distances, same, 0.2) == 4 / 5
    assert metrics.tmr_at_fmr(distances, same, 1.0) == 1.0
    assert np.isnan(metrics.auc(distances, np.ones(10, dtype=bool)))


def brighter(folder: Path, seed: int, light: int, name: str) -> Path:
    pixels = np.clip(scene(48, 48, seed).astype(int) + light, 0, 255).astype(np.uint8)
    return save(folder / name, pixels)


@pytest.fixture
def half_faceless(tmp_path: Path) -> FaceDB:
    """Ada is enrolled; Ben's only photo shows no face, nor does one of Ada's, Cy's is a fake."""
    top = tmp_path / "train"
    real = sorted((SAMPLE / "train").iterdir())
    copies = {"Ada": real[0], "Dan": real[1]}
    for name, folder in copies.items():
        for photo in sorted(folder.glob("*.jpg"))[:2]:
            (top / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, top / name / photo.name)
    save(top / "Ada" / "wall.png", np.full((64, 64, 3), 90, dtype=np.uint8))
    save(top / "Ben" / "wall.png", np.full((64, 64, 3), 99, dtype=np.uint8))
    (top / "Cy").mkdir()
    (top / "Cy" / "fake.jpg").write_bytes(b"no photo")
    # The same photo under two people is no failure: it is enrolled as Ada's.
    shutil.copy(next((top / "Ada").glob("*.jpg")), top / "Copier.jpg")
    (top / "Eve").mkdir()
    (top / "Copier.jpg").rename(top / "Eve" / "copy.jpg")
    db = facedb.open(tmp_path / "g", Settings(threshold=0.0))
    db.index_folder(top)
    return db


def test_people_who_could_not_be_enrolled_are_missed(
    half_faceless: FaceDB, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    val = tmp_path / "val"
    faces = sorted(sorted((SAMPLE / "train").iterdir())[2].glob("*.jpg"))
    for name, photo in zip(("Ada", "Ben", "Cy", "Eve"), faces, strict=False):
        (val / name).mkdir(parents=True)
        shutil.copy(photo, val / name / "new.jpg")
    save(val / "Ada" / "dark.png", np.zeros((64, 64, 3), dtype=np.uint8))
    save(val / "Eve" / "dark.png", np.full((64, 64, 3), 3, dtype=np.uint8))
    report = evaluate(half_faceless, str(val), (1, 10))
    # Ada, Dan, Ben and Cy were to be enrolled; the last two could not be. Eve is a stranger.
    assert (report.identities, report.failures_to_enroll) == (4, 2)
    assert (report.mated, report.non_mated) == (4, 2)
    assert report.rank[10] == 1 / 4
    assert (report.failures_to_acquire_mated, report.failures_to_acquire_non_mated) == (1, 1)
    command = ["evaluate", str(val), "-g", str(half_faceless.folder), "-t", "0.5"]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "failures to enroll: 2 of 4 people" in out
    assert "failures to acquire: 1 of 4 mated and 1 of 2 non-mated probes" in out
    # Whoever is calibrated against is as before: nobody without a template.
    assert half_faceless.info().people == 2


def empty_db(tmp_path: Path) -> FaceDB:
    return facedb.open(tmp_path / "none", CROPS)


def test_gallery_probe_unknown(tmp_path: Path) -> None:
    top = tmp_path / "studio"
    for seed in range(4):
        brighter(top / "gallery" / f"P{seed}", seed, 0, "a.png")
        brighter(top / "probe" / f"P{seed}", seed, 4, "b.png")
    for seed in range(50, 79):
        brighter(top / "unknown", seed, 0, f"{seed}.png")
    brighter(top / "unknown" / "P1", 79, 0, "other.png")
    report = evaluate(empty_db(tmp_path), str(top), (1,))
    assert (report.protocol, report.identities, report.templates) == ("folders", 4, 4)
    # The P1 among the unknown is somebody else than the P1 who is enrolled.
    assert (report.mated, report.non_mated) == (4, 30)
    assert (report.rank, report.dir) == ({1: 1.0}, {0.1: 1.0})
    assert report.intervals["dir at 0.1"] == pytest.approx((4 / (4 + 1.959964**2), 1.0))
    assert (report.strangers, report.threshold) == ("non-mated probes", CROPS.threshold)
    shutil.rmtree(top / "unknown")
    report = evaluate(empty_db(tmp_path), str(top), (1,))
    assert (report.non_mated, report.strangers) == (0, "held out")


def test_probes_by_an_old_name_are_mated(tmp_path: Path) -> None:
    db = facedb.open(tmp_path / "g", CROPS)
    db.index_folder(people_folder(tmp_path / "photos"))
    db.people.rename("Person 0", "Ada")
    for seed in range(2):
        brighter(tmp_path / "val" / f"Person {seed}", seed, 9, "new.png")
    report = evaluate(db, str(tmp_path / "val"), (1,))
    assert (report.mated, report.non_mated, report.rank) == (2, 0, {1: 1.0})


def test_photos_in_nobodys_folder_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    db = facedb.open(tmp_path / "g", CROPS)
    db.index_folder(people_folder(tmp_path / "photos"))
    brighter(tmp_path / "val" / "Person 0", 0, 9, "new.png")
    for name in "ab":
        brighter(tmp_path / "val", 1, 9, f"{name}.png")
    assert evaluate(db, str(tmp_path / "val"), (1,)).mated == 1
    assert f"in nobody's folder: {tmp_path / 'val' / 'a.png'} (2 in all)" in caplog.text


def test_train_and_val(tmp_path: Path) -> None:
    top = tmp_path / "data"
    for seed in range(3):
        brighter(top / "train" / f"P{seed}", seed, 0, "a.png")
        brighter(top / "val" / f"P{seed + 1}", seed + 1, 4, "b.png")
    report = evaluate(empty_db(tmp_path), str(top), (1,))
    assert (report.protocol, report.identities) == ("folders", 3)
    assert (report.mated, report.non_mated) == (2, 1)
    shutil.rmtree(top / "train" / "P1")
    shutil.rmtree(top / "train" / "P2")
    brighter(top / "val" / "P2", 2, 8, "c.png")
    report = evaluate(empty_db(tmp_path), str(top), (1,))
    assert (report.protocol, report.identities) == ("leave-one-out", 3)
    assert (report.mated, report.non_mated, report.strangers) == (2, 2, "held out")


def test_distorted_copies_are_counted_apart(tmp_path: Path) -> None:
    top = tmp_path / "facecom"
    for seed in range(4):
        folder = top / f"P{seed}"
        person(folder, seed, photos=2)
        for stem in ("0000", "0001"):
            brighter(folder / "distortion", seed, 6, f"{stem}_foggy.png")
    # Another's picture by this name: it is taken for the other.
    brighter(top / "P0" / "distortion", 1, 4, "0000_noisy.png")
    report = evaluate(empty_db(tmp_path), str(top), (1,))
    assert (report.mated, report.identities, report.templates) == (8, 4, 8)
    rows = {row.kind: row for row in report.distortions}
    assert list(rows) == ["clean", "foggy", "noisy"]
    assert (rows["foggy"].probes, rows["foggy"].mated) == (8, 8)
    assert (rows["foggy"].same_photo, rows["foggy"].cross_photo) == (1.0, 1.0)
    assert (rows["noisy"].same_photo, rows["noisy"].cross_photo) == (0.0, 0.0)
    assert rows["clean"].same_photo == 1.0


def test_nothing_but_distorted_copies(tmp_path: Path) -> None:
    for seed in range(3):
        for number in range(2):
            folder = tmp_path / "photos" / f"P{seed}" / "distortion"
            brighter(folder, seed, 4 * number, f"{number}_foggy.png")
    assert evaluate(empty_db(tmp_path), str(tmp_path / "photos"), (1,)).mated == 6


def test_a_person_with_one_photo_has_no_cross_photo_figure(tmp_path: Path) -> None:
    top = tmp_path / "facecom"
    for seed in range(3):
        person(top / f"P{seed}", seed, photos=1 + (seed > 0))
        brighter(top / f"P{seed}" / "distortion", seed, 6, "0000_rainy.png")
    (_, rainy) = evaluate(empty_db(tmp_path), str(top), (1,)).distortions
    assert (rainy.probes, rainy.mated, rainy.same_photo) == (3, 2, 1.0)


def test_a_split_is_stored_and_taken_again(tmp_path: Path) -> None:
    top = people_folder(tmp_path / "photos", count=5, photos=3)
    brighter(top / "Alone", 40, 0, "a.png")
    file = tmp_path / "split.json"
    db = empty_db(tmp_path)
    first, _ = run_evaluation(db, str(top), EvaluationOptions((1,), str(file), seed=0))
    assert (first.protocol, first.identities, first.templates) == ("split", 5, 5)
    assert (first.mated, first.non_mated) == (10, 1)
    stored = json.loads(file.read_text())
    assert (stored["seed"], len(stored["gallery"])) == (0, 5)
    # The draw is in the file: no seed or the same one, another order of folders, the same figures.
    shutil.copytree(top, tmp_path / "again" / "x")
    for seed in (None, 0):
        options = EvaluationOptions((1,), str(file), seed=seed)
        again, _ = run_evaluation(db, str(tmp_path / "again" / "x"), options)
        assert again.gallery_sha256 == first.gallery_sha256
        assert (again.rank, again.dir) == (first.rank, first.dir)
    with pytest.raises(InputError, match=r"split.json: drawn with --seed 0, not --seed 5"):
        run_evaluation(db, str(top), EvaluationOptions((1,), str(file), seed=5))
    with pytest.raises(InputError, match=r"--seed 0: nothing is drawn here"):
        run_evaluation(db, str(top), EvaluationOptions((1,), seed=0))
    first_photos = tmp_path / "first.json"
    run_evaluation(db, str(top), EvaluationOptions((1,), str(first_photos)))
    gallery = json.loads(first_photos.read_text())["gallery"]
    assert gallery == sorted(gallery) != stored["gallery"]
    with pytest.raises(InputError, match=r"first.json: drawn without --seed, not --seed 0"):
        run_evaluation(db, str(top), EvaluationOptions((1,), str(first_photos), seed=0))
    shutil.rmtree(top / "Person 0")
    with pytest.raises(InputError, match=r"3 of its photos are not in this folder"):
        run_evaluation(db, str(top), EvaluationOptions((1,), str(file)))
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(InputError, match="not a split"):
        read_split(str(tmp_path / "no.json"))


def test_copies_of_a_photo_are_one_photo_of_a_split(tmp_path: Path) -> None:
    top = people_folder(tmp_path / "photos", count=1, photos=2)
    only = brighter(top / "Twice", 40, 0, "a.png")
    shutil.copy(only, top / "Twice" / "b.png")
    report, trial = run_evaluation(
        empty_db(tmp_path), str(top), EvaluationOptions((1,), str(tmp_path / "split.json"))
    )
    # One photo of one person is enrolled; of Twice there is one photo, who is a stranger.
    assert (report.identities, report.templates) == (1, 1)
    assert (report.mated, report.non_mated) == (1, 1)
    assert trial.probes.names[~trial.mated].tolist() == ["Twice"]


def test_seeds_draw_different_galleries() -> None:
    made = samples([f"P{n // 4}" for n in range(40)], people(10, 4))
    splits = [open_set_split(made, seed) for seed in range(5)]
    assert len({split.gallery for split in splits}) == 5
    for split in splits:
        assert sorted(split.gallery + split.mated) == sorted(made.digests.tolist())
    assert open_set_split(made, None).gallery == tuple(f"{4 * n:03}" for n in range(10))


def test_photos_that_the_encoder_was_trained_on_are_no_probes(tmp_path: Path) -> None:
    top = people_folder(tmp_path / "photos", count=4, photos=2)
    brighter(top / "Person 1" / "distortion", 1, 6, "0000_foggy.png")
    bundle = tmp_path / "encoder"
    shutil.copytree(BUNDLED, bundle)
    card = json.loads((bundle / "encoder.json").read_text())
    photo = top / "Person 1" / "0000.png"
    card["training"]["photos_sha256"] = [hashlib.sha256(photo.read_bytes()).hexdigest()]
    (bundle / "encoder.json").write_text(json.dumps(card))
    db = facedb.open(tmp_path / "none", Settings(encoder=str(bundle), detector="none"))
    report = evaluate(db, str(top), (1,))
    # The photo and its distorted copy.
    assert (report.trained_on, report.mated, report.non_mated) == (2, 6, 1)
    forced, _ = run_evaluation(db, str(top), EvaluationOptions((1,), force=True))
    assert (forced.trained_on, forced.mated) == (0, 8)
    only = tmp_path / "only"
    save_as = only / "Person 1" / "0000.png"
    save_as.parent.mkdir(parents=True)
    shutil.copy(photo, save_as)
    with pytest.raises(InputError, match="trained on every one"):
        evaluate(db, str(only), (1,))


def test_an_encoder_that_sees_no_difference_recognises_nobody(tmp_path: Path) -> None:
    top = people_folder(tmp_path / "photos", count=6, photos=3)
    db = facedb.open(tmp_path / "g", CROPS)
    db.index_folder(people_folder(tmp_path / "train", count=2, photos=1))
    options = EvaluationOptions((1, 5, 6), str(tmp_path / "split.json"), keep=True)
    _, trial = run_evaluation(db, str(top), options)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in top.rglob("*.png")]
    same = trial.probes.vectors[0]
    Measurements(db.gallery.store).put_probes(
        [StoredProbe(digest, (0.0, 0.0, 1.0, 1.0), same) for digest in digests]
    )
    report, collapsed = run_evaluation(db, str(top), options)
    # The own person is as far as all others, so it comes last, and another is named.
    assert report.rank == {1: 0.0, 5: 0.0, 6: 1.0}
    assert (report.tpir, report.macro_f1) == (0.0, 0.0)
    assert np.all(collapsed.named != collapsed.owners)


def test_kept_probes_are_not_encoded_again(tmp_path: Path) -> None:
    top = people_folder(tmp_path / "photos", count=4, photos=3)
    db = facedb.open(tmp_path / "g", CROPS)
    db.index_folder(people_folder(tmp_path / "train", count=4, photos=1))
    options = EvaluationOptions((1,), keep=True)
    first, trial = run_evaluation(db, str(top), options)
    again, _ = run_evaluation(db, str(top), options)
    assert (again.rank, again.mated, again.dir) == (first.rank, first.mated, first.dir)
    assert again.probes_sha256 == first.probes_sha256
    # What is kept is what is taken: with the people changed round, the answers are wrong.
    kept = Measurements(db.gallery.store)
    probes = kept.probes(trial.probes.digests.tolist())
    assert len(probes) == len(trial.probes)
    vectors = trial.probes.vectors[::-1]
    kept.put_probes(
        [
            StoredProbe(digest, (0.0, 0.0, 1.0, 1.0), vector)
            for digest, vector in zip(trial.probes.digests.tolist(), vectors, strict=True)
        ]
    )
    wrong, _ = run_evaluation(db, str(top), options)
    assert wrong.rank[1] < first.rank[1]
    # Whoever is removed may be among the kept probes.
    db.remove("Person 0")
    assert Measurements(db.gallery.store).probes(list(probes)) == {}


def lfw(top: Path) -> Path:
    """Ten people with three photos, five with one; a pair of each kind in each of ten folds."""
    for number in range(15):
        name = f"Some_Body{number:02}"
        for photo in range(3 if number < 10 else 1):
            brighter(top / "images" / name, number, 3 * photo, f"{name}_{photo + 1:04}.png")
    lines = ["10\t1"]
    for number in range(10):
        lines.append(f"Some_Body{number:02}\t1\t3")
        lines.append(f"Some_Body{number:02}\t2\tSome_Body{(number + 5) % 15:02}\t1")
    (top / "pairs.txt").write_text("\n".join(lines) + "\n")
    return top


def test_lfw_as_published(tmp_path: Path) -> None:
    top = lfw(tmp_path / "lfw")
    report = evaluate(empty_db(tmp_path), str(top), (1,))
    assert (report.protocol, report.identities, report.templates) == ("lfw", 10, 10)
    assert (report.mated, report.non_mated) == (20, 5)
    assert report.lfw is not None
    assert (report.lfw.identification.identities, report.lfw.identification.probes) == (15, 20)
    assert report.lfw.identification.rank[1] == 1.0
    assert report.lfw.pairs is not None
    assert (report.lfw.pairs.pairs, report.lfw.pairs.auc) == (20, 1.0)
    assert len(report.lfw.pairs.accuracy) == 10
    assert np.mean(report.lfw.pairs.accuracy) >= 0.9
    assert [drawn.seed for drawn in report.lfw.resplits] == list(range(10))
    assert {drawn.mated for drawn in report.lfw.resplits} == {20}
    shutil.rmtree(top / "images" / "Some_Body03")
    again = evaluate(empty_db(tmp_path), str(top), (1,))
    assert again.lfw is not None
    assert again.lfw.pairs is None


def test_lfw_pairs_come_with_their_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = lfw(tmp_path / "lfw")
    # One fold is wrong in one of its two pairs: another's picture by this name.
    brighter(top / "images" / "Some_Body04", 1, 1, "Some_Body04_0003.png")
    page = tmp_path / "page.html"
    command = ["evaluate", str(top), "-g", str(tmp_path / "none"), "--detector", "none"]
    assert run([*command, "--json", "--report", str(page)]) == 0
    pairs = json.loads(capsys.readouterr().out)["lfw"]["pairs"]
    folds = pairs["accuracy"]
    assert 0.9 <= statistics.mean(folds) < 1.0
    assert pairs["accuracy_sd"] == pytest.approx(statistics.stdev(folds))
    assert pairs["accuracy_se"] == pytest.approx(statistics.stdev(folds) / 10**0.5)
    assert run(command) == 0
    mean, error = 100 * statistics.mean(folds), 100 * pairs["accuracy_se"]
    assert f"{mean:.2f} %  of 20, 10 folds, standard error {error:.2f} points" in (
        capsys.readouterr().out
    )
    written = page.read_text(encoding="utf-8")
    assert f"{mean:.2f} %" in written
    assert f"standard error {error:.2f} points" in written
    assert "15 people by their first photos, 20 probes" in written
    assert "10 draws of the open set" in written


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("read", [enrolled_in, tried_in])
def test_a_gallery_that_changes_while_it_is_read_is_read_again(
    read: Callable[[Gallery], Enrolled], gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, vectors, listed = Gallery.create(tmp_path / "g", PIN), people(4, 1), Store.people
    add(gallery, vectors[:3], ["Ada", "Ben", "Cleo"])
    asked: list[None] = []

    def people_of(store: Store) -> list[Person]:
        asked.append(None)
        if len(asked) == 1 and gone:
            People(gallery).remove("Ben")
        elif len(asked) == 1:
            add(gallery, vectors[3:], ["Dan"], "more")
        return listed(store)

    monkeypatch.setattr(Store, "people", people_of)
    known = read(gallery)
    left = [0, 2] if gone else [0, 1, 2, 3]
    assert known.names.tolist() == [["Ada", "Ben", "Cleo", "Dan"][row] for row in left]
    assert known.names[known.owners].tolist() == known.names.tolist()
    assert np.array_equal(known.vectors, vectors[left])
