"""Operating points: what a threshold promises, where it is kept, what it says of a distance."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crops import people_folder
from older import made_older
from photos_maker import save, scene
from vectors import PIN, add, people, unit

import facedb
from facedb.cli.main import run
from facedb.encoder.bundle import BUNDLED
from facedb.encoder.open import open_encoder
from facedb.errors import InputError
from facedb.evaluation.calibrate import CalibrationReport, calibrate
from facedb.evaluation.protocol import evaluate
from facedb.gallery import Gallery
from facedb.identify import FaceDB, Settings
from facedb.operating import at_size, shipped
from facedb.render import gallery_text
from facedb.store import Measurements, OperatingPoint
from facedb.strangers import StrangerCurve, expected_fpir, in_words, people_needed

Output = pytest.CaptureFixture[str]


def strangers(folder: Path, count: int, first: int = 500) -> Path:
    """Loose photos, each of somebody else."""
    for number in range(count):
        save(folder / f"{number:03}.png", scene(48, 48, first + number))
    return folder


@pytest.fixture
def db(tmp_path: Path) -> FaceDB:
    db = facedb.open(tmp_path / "g", Settings(detector="none"))
    db.index_folder(people_folder(tmp_path / "train", count=6, photos=2))
    return db


def test_the_largest_observed_threshold_that_holds() -> None:
    distances = np.array([0.9, 0.5, 0.7, 0.7, 1.1, 1.2, 1.3, 1.4, 1.5, np.inf])
    curve = StrangerCurve.observed(distances, people=1000)
    assert curve.threshold(0.1) == 0.5
    assert curve.threshold(0.3) == 0.7  # two at 0.7: both or none
    assert curve.threshold(0.2) == 0.5
    assert curve.threshold(0.45) == 0.9
    assert curve.threshold(0.05) < 0.5
    # Nothing is interpolated: between two distances the farther one's share counts.
    assert [curve.share(at) for at in (0.4, 0.5, 0.6, 0.7, 1.6)] == [0, 0.1, 0.3, 0.3, 0.9]


def test_too_few_strangers_prove_nothing() -> None:
    assert [people_needed(fpir) for fpir in (0.01, 0.1, 0.003, 0.3)] == [300, 30, 1000, 10]
    curve = StrangerCurve.observed(np.linspace(1, 1.4, 299), people=299)
    assert curve.threshold(0.02) > 1
    with pytest.raises(InputError, match=r"^299 .* 1 %, which takes 300; .* 1.1 % or more"):
        curve.threshold(0.01)


def test_words() -> None:
    assert in_words(0.025, 400) == "1 stranger in 40 comes this close"
    assert in_words(0.5, 400) == "1 stranger in 2 comes this close"
    assert in_words(0.0, 3000) == "none of 3,000 strangers came this close"
    assert in_words(0.8, 400) == "most strangers come this close"


def test_a_gallery_that_has_grown_accepts_more() -> None:
    # Twice as many identities, each as likely to accept: 1 - 0.99^2.
    assert expected_fpir(0.01, 100, 200) == pytest.approx(1 - 0.99**2)
    assert expected_fpir(0.01, 100, 100) == pytest.approx(0.01)


def shipped_for(people: int) -> float:
    """The bundled encoder's threshold for a gallery of so many people, or hardly more."""
    card = json.loads((BUNDLED / "encoder.json").read_text(encoding="utf-8"))
    sizes = {size["people"]: size["distance"] for size in card["threshold"]["by_gallery_size"]}
    return float(sizes[min(size for size in sizes if size >= people)])


def test_calibrate_on_strangers_and_decide_by_it(
    db: FaceDB, tmp_path: Path, capsys: Output
) -> None:
    folder = strangers(tmp_path / "strangers", 30)
    assert db.threshold == shipped_for(6)
    assert db.info().calibrated_fpir is None
    report = db.calibrate(folder, fpir=0.1)
    assert (db.info().calibrated_fpir, db.info().calibrated_strangers) == (0.1, 30)
    assert (report.people, report.templates) == (6, 12)
    assert (report.strangers, report.strangers_photos) == (30, 30)
    # Every stranger's distance to the nearest person, by the door itself.
    nearest = sorted(
        face.candidates[0].distance
        for photo in sorted(folder.iterdir())
        for face in db.identify(photo)
    )
    assert report.threshold == pytest.approx(nearest[2], abs=1e-6)
    assert report.fpir == pytest.approx(0.1)
    assert report.interval.low < 0.1 < report.interval.high
    assert db.threshold == report.threshold
    # Another opening of the gallery decides by it, too; and --fpir takes it from what was measured.
    other = facedb.open(db.folder)
    assert other.threshold == report.threshold
    assert facedb.open(db.folder, Settings(fpir=0.2)).threshold == pytest.approx(nearest[5])
    assert facedb.open(db.folder, Settings(threshold=0.25)).threshold == 0.25
    with pytest.raises(InputError, match="an FPIR of 1 %, which takes 300"):
        _ = facedb.open(db.folder, Settings(fpir=0.01)).threshold
    # It hangs on the aggregation.
    assert facedb.open(db.folder, Settings(aggregation="mean")).threshold == db.encoder.threshold
    assert [db.forget_calibration(), db.forget_calibration()] == [True, False]
    assert db.threshold == other.threshold == shipped_for(6)


def test_the_commands(db: FaceDB, tmp_path: Path, capsys: Output) -> None:
    folder, gallery = strangers(tmp_path / "strangers", 30), str(db.folder)
    photo = str(tmp_path / "train" / "Person 2" / "0000.png")
    by_mean = ["--aggregation", "mean"]
    assert run(["query", photo, "-g", gallery, *by_mean, "--fpir", "0.1"]) == 4
    assert "facedb calibrate STRANGERS" in capsys.readouterr().err
    assert run(["calibrate", str(folder), "-g", gallery]) == 4
    refused = capsys.readouterr().err
    assert "30 different strangers are too few for an FPIR of 1 %, which takes 300" in refused
    assert "10 % or more" in refused
    assert run(["calibrate", "-g", gallery]) == 2
    assert run(["calibrate", str(folder), "--leave-out", "-g", gallery]) == 2
    assert run(["query", photo, "-g", gallery, "-t", "0", "--fpir", "0.1"]) == 2
    capsys.readouterr()
    assert run(["calibrate", str(folder), "-g", gallery, "--fpir", "0.1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["schema"], report["fpir"]) == ("facedb.calibrate/1", pytest.approx(0.1))
    assert run(["query", photo, "-g", gallery, "--fpir", "0.1", "--k", "1"]) == 0
    out = capsys.readouterr().out
    assert "(none of 30 strangers came this close)" in out
    assert run(["query", photo, "-g", gallery, "--json", "--k", "1"]) == 0
    (face,) = json.loads(capsys.readouterr().out)["faces"]
    assert face["threshold"] == report["threshold"]
    assert (face["strangers"], face["candidates"][0]["share"]) == (30, 0.0)
    assert run(["calibrate", str(folder), "--reset", "-g", gallery]) == 2
    assert run(["calibrate", "--reset", "-g", gallery]) == 0
    assert run(["calibrate", "--reset", "-g", gallery, "--json"]) == 0
    before, after = capsys.readouterr().out.splitlines()
    with facedb.open(gallery) as other:
        shipped_with = other.threshold
    assert before.endswith(
        f"the calibration is forgotten; the encoder's threshold decides: {shipped_with:.3f}"
    )
    assert json.loads(after) == {
        "schema": "facedb.reset/1",
        "calibrated": False,
        "threshold": shipped_with,
    }


def test_enrolled_photos_and_people_are_no_strangers(db: FaceDB, tmp_path: Path) -> None:
    folder = strangers(tmp_path / "strangers", 10)
    shutil.copy(tmp_path / "train" / "Person 0" / "0000.png", folder / "known.png")
    save(folder / "Person 1" / "new.png", scene(48, 48, 900))
    save(folder / "Somebody" / "a.png", scene(48, 48, 901))
    save(folder / "Somebody" / "distortion" / "a_foggy.png", scene(48, 48, 902))
    (folder / "broken.png").write_bytes(b"")
    report = db.calibrate(folder, fpir=0.3)
    assert (report.strangers, report.strangers_photos) == (11, 11)
    assert (report.enrolled, len(report.refused)) == (2, 1)


def test_leave_out_holds_people_out_in_turn(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", PIN)
    vectors = people(40, 2, seed=2)
    add(gallery, vectors, [f"P{n:02}" for n in range(40) for _ in "ab"])
    report = _calibrated(gallery, 0.1)
    others = []
    for row in range(80):
        rest = np.delete(vectors, [2 * (row // 2), 2 * (row // 2) + 1], axis=0).astype(np.float64)
        means = unit(rest[::2] + rest[1::2]).astype(np.float64)
        every = np.concatenate([rest, means])
        others.append(np.linalg.norm(every - vectors[row], axis=1).min())
    assert report.threshold == pytest.approx(sorted(others)[7], abs=1e-6)
    assert (report.people, report.strangers, report.held_out) == (39, 40, True)
    assert report.fpir <= 0.1


def _calibrated(gallery: Gallery, fpir: float) -> CalibrationReport:
    return calibrate(gallery, None, None, fpir, "nearest-or-mean")


def test_the_promise_holds_on_other_strangers(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", PIN)
    add(gallery, people(50, 1, seed=1), [f"P{n}" for n in range(50)])
    random = np.random.default_rng(0)
    probes = unit(random.normal(size=(6000, PIN.dim)))
    nearest = gallery.search(probes, 1).distances[:, 0]
    for turn in range(5):
        order = np.random.default_rng(turn).permutation(6000)
        curve = StrangerCurve.observed(nearest[order[:3000]], 3000)
        accepted = np.mean(nearest[order[3000:]] <= curve.threshold(0.01))
        # Two binomials of 3,000 at 1 %: three standard deviations are 0.77 points.
        assert accepted == pytest.approx(0.01, abs=0.0078)


def test_a_gallery_that_doubled_is_warned_about(
    db: FaceDB, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    db.calibrate(strangers(tmp_path / "strangers", 30), fpir=0.1)
    more = tmp_path / "more"
    for number in range(6, 12):
        save(more / f"P{number}" / "a.png", scene(48, 48, number))
    db.index_folder(more)
    photo = tmp_path / "train" / "Person 2" / "0000.png"
    db.identify(photo)
    assert caplog.text == ""
    save(more / "One more" / "a.png", scene(48, 48, 12))
    db.index_folder(more)
    db.identify(photo)
    db.identify(photo)
    # 13 / 6 times as many: 1 - 0.9^(13/6) = 20.4 %.
    assert caplog.text.count("calibrated on 6 people and there are 13 now") == 1
    assert "20.4 %" in caplog.text


def test_evaluating_on_the_strangers_of_the_calibration_is_said(
    db: FaceDB, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """FPIR is then what was asked for, whatever the encoder is worth."""
    both = tmp_path / "both"
    for number in range(30):
        save(both / f"S{number}" / "a.png", scene(48, 48, 500 + number))
    db.calibrate(both, fpir=0.1)
    darker = np.clip(scene(48, 48, 2).astype(int) - 4, 0, 255).astype(np.uint8)
    save(both / "Person 2" / "new.png", darker)
    report = evaluate(db, str(both))
    assert (report.mated, report.non_mated, report.fpir) == (1, 30, pytest.approx(0.1))
    assert caplog.text.count("the photos that the threshold was calibrated on") == 1
    caplog.clear()
    save(both / "S30" / "a.png", scene(48, 48, 530))
    evaluate(db, str(both))
    shutil.rmtree(both / "S30")
    evaluate(facedb.open(db.folder, Settings(threshold=0.3)), str(both))
    assert caplog.text == ""


def test_a_gallery_of_version_1_goes_on_working(db: FaceDB, tmp_path: Path) -> None:
    db.close()
    file = db.folder / "gallery.sqlite"
    with sqlite3.connect(file) as old:
        old.execute("DROP TABLE operating_point")
        old.execute("DROP TABLE probe")
    old.close()
    made_older(file, 1)
    photo = tmp_path / "train" / "Person 2" / "0000.png"
    again = facedb.open(db.folder)
    assert again.identify(photo)[0].candidates[0].identity == "Person 2"
    assert again.threshold == shipped_for(6)
    # A query writes nothing; the first write brings it up to date.
    assert _version(file) == 1
    again.calibrate(strangers(tmp_path / "strangers", 30), fpir=0.1)
    assert _version(file) == 3
    assert facedb.open(db.folder).operating.calibrated is not None
    with sqlite3.connect(file) as newer:
        newer.execute("UPDATE gallery SET schema_version = 4")
    newer.close()
    with pytest.raises(facedb.FacedbError, match="made by another version"):
        facedb.open(db.folder).identify(photo)


def _version(file: Path) -> int:
    connection = sqlite3.connect(file)
    (version,) = connection.execute("SELECT schema_version FROM gallery").fetchone()
    connection.close()
    return int(version)


def test_reencoding_drops_what_was_measured(db: FaceDB, tmp_path: Path) -> None:
    folder = strangers(tmp_path / "strangers", 30)
    db.calibrate(folder, fpir=0.1, keep=True)
    kept = Measurements(db.gallery.store)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()]
    assert db.operating.calibrated is not None
    assert len(kept.probes(digests)) == 30
    db.reencode()
    assert db.operating.calibrated is None
    assert kept.probes(digests) == {}


def test_stored_and_read_again(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", PIN)
    kept = Measurements(gallery.store)
    assert kept.operating_point("nearest") is None
    curve = np.array([0.5, 0.7])
    point = OperatingPoint(
        "nearest", 0.01, 0.7, 3, 4, 300, 310, "ab", False, 5.0, curve, np.array([0.1, 1.0])
    )
    kept.put_operating_point(point)
    found = kept.operating_point("nearest")
    assert found is not None
    np.testing.assert_array_equal(found.distances, curve)
    assert (found.threshold, found.strangers, found.held_out) == (0.7, 300, False)
    assert kept.operating_point("mean") is None


def test_the_encoders_own_operating_point_by_gallery_size(tmp_path: Path) -> None:
    bundle = tmp_path / "encoder"
    shutil.copytree(BUNDLED, bundle)
    card = json.loads((bundle / "encoder.json").read_text())
    card["threshold"]["by_gallery_size"] = [
        {
            "people": people,
            "strangers": 2000,
            "fpir": 0.01,
            "distance": distance,
            "curve": [[0.001, distance - 0.1], [0.01, distance], [0.5, distance + 0.2]],
        }
        for people, distance in ((10, 1.0), (100, 0.9))
    ]
    (bundle / "encoder.json").write_text(json.dumps(card))
    encoder = open_encoder(str(bundle))
    # Beyond 100 people the threshold falls on as from 10 to 100, by 0.1 for ten times as many.
    expected = {1: 1.0, 10: 1.0, 11: 0.9, 100: 0.9, 200: 0.9 - 0.1 * math.log10(2), 1000: 0.8}
    found = {people: shipped(encoder, people).threshold for people in expected}
    assert found == pytest.approx(expected)
    curve = shipped(encoder, 1000).curve
    assert curve is not None
    assert (curve.share(0.69), curve.share(0.79), curve.share(0.81)) == (0.0, 0.01, 0.5)
    db = facedb.open(tmp_path / "g", Settings(encoder=str(bundle), detector="none"))
    db.index_folder(people_folder(tmp_path / "train", count=12, photos=1))
    (face,) = db.identify(tmp_path / "train" / "Person 2" / "0000.png")
    assert (face.threshold, face.strangers, face.candidates[0].share) == (0.9, 2000, 0.0)
    assert db.info().strangers == 2000
    assert "0.900, the encoder's, set on 2,000 strangers\n" in gallery_text(db.info())
    few = replace(db.info(), strangers=299)
    assert (
        "the encoder's, set on 299 strangers, too few for 1 %: facedb calibrate STRANGERS "
        f"-g {tmp_path / 'g'}\n" in gallery_text(few)
    )
    assert "0.900, the encoder's\n" in gallery_text(replace(few, strangers=None))
    # Two photos are compared as with a gallery of one.
    photos = [tmp_path / "train" / name / "0000.png" for name in ("Person 2", "Person 3")]
    assert db.compare(*photos).threshold == 1.0


def sizes_of(*points: tuple[int, float]) -> list[dict[str, Any]]:
    return [
        {"people": people, "strangers": 400, "distance": at, "curve": [[0.01, at], [1.0, at + 0.3]]}
        for people, at in points
    ]


def test_a_larger_gallery_follows_the_line_through_all_sizes() -> None:
    # Through (0, 1.2), (1, 1.0), (3, 0.9) in log10: slope -0.6 / 4.667 of the sums by hand.
    card = sizes_of((1, 1.2), (10, 1.0), (1000, 0.9))
    slope = ((0 - 4 / 3) * 1.2 + (1 - 4 / 3) * 1.0 + (3 - 4 / 3) * 0.9) / (14 / 3)
    threshold, curve = at_size(card, 10_000)
    assert threshold == pytest.approx(0.9 + slope)
    assert curve.distances.tolist() == pytest.approx([0.9 + slope, 1.2 + slope])
    assert curve.people == 400
    # Nor does the order of a card matter, nor do strangers ever come farther.
    assert at_size(card[::-1], 10_000)[0] == threshold
    assert at_size(sizes_of((1, 0.9), (10, 1.0)), 100)[0] == 1.0
    # However large, a distance it is.
    low, none = at_size(sizes_of((1, 1.0), (10, 0.4)), 10**6)
    assert low == 0.0
    assert none.distances.min() == 0.0


def test_larger_galleries_than_the_bundled_card_knows_are_decided_strictly_and_decided() -> None:
    encoder = open_encoder("bundled")
    found = [
        shipped(encoder, people).threshold or 0.0 for people in (1000, 1001, 2000, 5000, 50_000)
    ]
    assert sorted(found, reverse=True) == found
    assert found[0] - found[1] < 0.001
    assert found[-1] > 0.75


def test_without_strangers_enough_the_encoder_says_how_to_ask_for_a_rate(tmp_path: Path) -> None:
    bundle = tmp_path / "encoder"
    shutil.copytree(BUNDLED, bundle)
    card = json.loads((bundle / "encoder.json").read_text())
    size = {"people": 10, "strangers": 11, "distance": 1.0, "curve": [[0.1, 1.0], [1.0, 1.2]]}
    card["threshold"]["by_gallery_size"] = [size]
    (bundle / "encoder.json").write_text(json.dumps(card))
    encoder = open_encoder(str(bundle))
    # Of one size nobody can say how the threshold falls.
    assert shipped(encoder, 10_000).threshold == 1.0
    with pytest.raises(InputError, match="11 different strangers are too few"):
        shipped(encoder, 10).at(0.1)
    db = facedb.open(tmp_path / "g", Settings(encoder=str(bundle), detector="none", fpir=0.1))
    db.index_folder(people_folder(tmp_path / "train", count=2, photos=1))
    typed = f"facedb calibrate -g {tmp_path / 'g'} --leave-out"
    with pytest.raises(InputError, match=re.escape(typed)):
        db.identify(tmp_path / "train" / "Person 1" / "0000.png")


def test_strangers_who_are_enrolled(db: FaceDB, tmp_path: Path, capsys: Output) -> None:
    shutil.copytree(tmp_path / "train" / "Person 2", tmp_path / "same" / "Person 2")
    assert run(["calibrate", str(tmp_path / "same"), "-g", str(db.folder), "--fpir", "0.1"]) == 4
    assert "no strangers here: of 2 photos 2 are of enrolled" in capsys.readouterr().err


def test_made_anew_a_calibration_is_said_to_be_gone(
    db: FaceDB, tmp_path: Path, capsys: Output
) -> None:
    anew = ["gallery", "reencode", "-g", str(db.folder)]
    assert run(anew) == 0
    assert "calibration" not in capsys.readouterr().err
    db.close()
    with facedb.open(db.folder) as again:
        again.calibrate(strangers(tmp_path / "strangers", 30), 0.1)
    assert run(anew) == 0
    again_by = f"old templates: facedb calibrate STRANGERS -g {db.folder}"
    assert again_by in capsys.readouterr().err
