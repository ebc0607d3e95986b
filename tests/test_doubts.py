"""Enrolled photos worth a look: kept with the gallery, whatever became of the run that met them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from older import made_older
from PIL import Image

import facedb
from facedb.cli.main import run
from facedb.encoder.bundle import BUNDLED
from facedb.identify import FaceDB
from facedb.photos import load_photo

SAMPLE = Path(__file__).resolve().parents[1] / "data"

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module", autouse=True)
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A bundled encoder whose card calls nobody unrecognisable: a poor face is enrolled."""
    folder = tmp_path_factory.mktemp("lenient") / "encoder"
    shutil.copytree(BUNDLED, folder)
    card = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    card["quality"]["unrecognisable"] = 0.0
    (folder / "encoder.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facedb.encoder.bundle.BUNDLED", folder)
        yield


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people; a photo of two of them, one too small to recognise anybody, a stray one."""
    folder = tmp_path_factory.mktemp("doubts") / "photos"
    people = sorted(path.name for path in (SAMPLE / "train").iterdir())[:4]
    for name in people:
        shutil.copytree(SAMPLE / "train" / name, folder / name)
    faces = [load_photo(str(SAMPLE / "val" / name / "05.jpg")).pixels for name in people[:2]]
    faces[1] = faces[1][20:140, 20:140]
    both = np.zeros((160, 480, 3), np.uint8)
    both[:, 120:280], both[20:140, 340:460] = faces
    Image.fromarray(both).save(folder / people[0] / "two.png")
    with Image.open(SAMPLE / "val" / people[1] / "05.jpg") as clear:
        clear.reduce(9).resize(clear.size).save(folder / people[1] / "small.png")
    shutil.copy(SAMPLE / "val" / people[2] / "05.jpg", folder / people[3] / "stray.jpg")
    return folder


def test_people_doubts_says_what_index_said(album: Path, tmp_path: Path, capsys: Output) -> None:
    gallery = ["-g", str(tmp_path / "g")]
    assert run(["index", str(album), *gallery, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [Path(path).name for path in said["several_faces"]] == ["two.png"]
    assert [Path(face["path"]).name for face in said["poor"]] == ["small.png"]
    assert [Path(one["path"]).name for one in said["lookalikes"]] == ["stray.jpg"]
    assert run(["index", str(album), *gallery, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["several_faces"] == again["poor"] == again["lookalikes"] == []
    assert run(["people", "doubts", *gallery, "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)
    assert kept["schema"] == "facedb.doubts/1"
    for what in ("several_faces", "poor", "lookalikes"):
        assert kept[what] == said[what]
    assert (kept["photos"], kept["unknown"]) == (said["enrolled"], 0)
    assert run(["people", "doubts", *gallery]) == 0
    printed = capsys.readouterr().out
    assert f"  {said['several_faces'][0]}\n" in printed
    quality = said["poor"][0]["quality"]
    worst = f"{quality['cause']}, quality {quality['chance']:.2f}"
    assert f"  {worst}: {said['poor'][0]['path']}\n" in printed
    assert f"  {said['lookalikes'][0]['path']}: like {said['lookalikes'][0]['other']} (" in printed


def test_of_one_person(album: Path, tmp_path: Path, capsys: Output) -> None:
    gallery = ["-g", str(tmp_path / "g")]
    with facedb.open(tmp_path / "g") as db:
        db.index_folder(album)
        names = [person.name for person in db.people.list()]
        found = [db.doubts(name) for name in names]
        db.people.rename(names[1], "Somebody Else")
        (poor,) = db.doubts(names[1]).poor  # the alias
        everyone = db.doubts()
    counts = [(len(one.several_faces), len(one.poor), len(one.lookalikes)) for one in found]
    assert counts == [(1, 0, 0), (0, 1, 0), (0, 0, 0), (0, 0, 1)]
    assert (poor.identity, Path(poor.path).name) == ("Somebody Else", "small.png")
    assert everyone.photos == sum(one.photos for one in found)
    assert run(["people", "doubts", names[2], *gallery]) == 0
    assert capsys.readouterr().out == f"{found[2].photos} enrolled photos: none is doubtful\n"
    assert run(["people", "show", "Somebody Else", *gallery]) == 0
    shown = capsys.readouterr().out
    assert f"  {poor.path}  ({poor.quality.cause}, quality {poor.quality.chance:.2f})\n" in shown
    assert shown.count("quality") == 1
    assert run(["people", "show", names[0], *gallery]) == 0
    assert "two.png  (2 faces)\n" in capsys.readouterr().out
    assert run(["people", "doubts", "Nobody", *gallery]) == 5
    assert "nobody of this name is enrolled" in capsys.readouterr().err


def test_an_interrupted_run_loses_no_doubt(album: Path, tmp_path: Path) -> None:
    total = sum(1 for path in album.rglob("*") if path.is_file())

    def stop(done: int, count: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with facedb.open(tmp_path / "g") as db:
        with pytest.raises(KeyboardInterrupt):
            db.index_folder(album, progress=stop)
        assert db.index_folder(album).enrolled == 0
        doubts = db.doubts()
    assert (len(doubts.several_faces), len(doubts.poor), len(doubts.lookalikes)) == (1, 1, 1)


def test_enrolling_speaks_of_its_own_photos(album: Path, tmp_path: Path) -> None:
    """Another process enrolls a poor face between this one's first write and its report."""
    people = sorted(path.name for path in album.iterdir())
    folder = tmp_path / "g"
    with facedb.open(folder) as db:
        db.index_folder(album)
        db.remove(people[1])

        def beside(done: int, count: int) -> None:
            if done == 1:
                with facedb.open(folder) as other:
                    other.enroll(people[1], album / people[1] / "small.png")

        report = db.enroll("New", sorted((album / people[1]).glob("*.jpg")), beside)
        assert report.enrolled > 0
        assert report.poor == []
        assert len(db.doubts().poor) == 1


@pytest.mark.parametrize("version", [1, 2])
def test_a_gallery_that_kept_no_quality(
    album: Path, tmp_path: Path, capsys: Output, version: int
) -> None:
    gallery = tmp_path / "g"
    with FaceDB(gallery) as db:
        first = db.index_folder(album)
        kept = db.doubts()
    made_older(gallery / "gallery.sqlite", version)
    # For reading, as it is:
    with FaceDB(gallery) as db:
        older = db.doubts()
        assert (older.unknown, older.poor, older.several_faces) == (first.enrolled, [], [])
        assert older.lookalikes == kept.lookalikes
        template = db.people.show(db.people.list()[0].name).templates[0]
        assert (template.quality, template.faces) == (None, None)
        assert db.identify(template.photo)[0].candidates[0].distance == 0.0
        # The first write brings it up to date, and what is new is known.
        small = next(album.rglob("small.png"))
        other = tmp_path / "darker.png"
        Image.open(small).point(lambda value: value - 1 if value > 1 else value).save(other)
        (poor,) = db.enroll("New", other).poor
        assert (poor.path, poor.identity) == (str(other), "New")
        assert db.doubts().unknown == first.enrolled
    assert run(["people", "doubts", "-g", str(gallery)]) == 0
    printed = capsys.readouterr().out
    assert f"facedb gallery reencode -g {gallery} looks at them again" in printed
    with FaceDB(gallery) as db:
        db.reencode()
        assert db.doubts().unknown == 0
        assert db.doubts().several_faces == kept.several_faces
        assert [face for face in db.doubts().poor if face.identity != "New"] == kept.poor


def test_an_older_gallery_that_cannot_be_written(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaceDB(tmp_path / "g") as db:
        first = db.index_folder(album)
    made_older(tmp_path / "g" / "gallery.sqlite", 2)
    monkeypatch.setattr("facedb.store.store.may_write", lambda folder: False)
    with FaceDB(tmp_path / "g") as db:
        doubts = db.doubts()
    assert (doubts.unknown, len(doubts.lookalikes)) == (first.enrolled, 1)


def test_exported(album: Path, tmp_path: Path) -> None:
    with FaceDB(tmp_path / "g") as db:
        db.index_folder(album)
        kept = db.doubts()
    assert run(["gallery", "export", str(tmp_path / "all"), "-g", str(tmp_path / "g")]) == 0
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["photo"] for row in rows if int(row["faces"]) > 1] == kept.several_faces
    assert [(row["photo"], row["poor"], row["quality"]) for row in rows if row["poor"]] == [
        (face.path, face.quality.cause, f"{face.quality.chance:.3f}") for face in kept.poor
    ]
    assert all(0.0 <= float(row["quality"]) <= 1.0 for row in rows)
