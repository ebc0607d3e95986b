"""Folders of photos into a gallery, again and again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crops import CROPS, close_folder, people_folder, person
from photos_maker import bad_files, save, scene

import facedb
from facedb.encoder.bundle import BUNDLED as ENCODER
from facedb.errors import EncoderMismatch, GalleryMissing, InputError, PhotoError, UnknownIdentity
from facedb.faces import BUNDLED
from facedb.gallery import Gallery
from facedb.identify import FaceDB, Settings
from facedb.photos import load_photo, reasons
from facedb.store import FileRow

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "train"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return people_folder(tmp_path / "photos")


@pytest.fixture
def db(tmp_path: Path) -> FaceDB:
    return facedb.open(tmp_path / "g", CROPS)


def names(db: FaceDB) -> dict[str, int]:
    return {person.name: person.templates for person in db.people.list()}


def test_index_then_identify_everyone(db: FaceDB, photos: Path) -> None:
    report = db.index_folder(photos)
    assert (report.photos, report.enrolled, report.people) == (12, 12, 6)
    for number in range(6):
        (face,) = db.identify(photos / f"Person {number}" / "0001.png", k=3)
        assert face.identity == f"Person {number}"
        assert face.candidates[0].distance == 0.0
        assert len({candidate.identity for candidate in face.candidates}) == 3
        assert face.threshold == 0.3


def test_nothing_on_disk_is_moved(db: FaceDB, photos: Path) -> None:
    save(photos / "Person 0" / "distortion" / "0000_foggy.png", scene(48, 48, 99))
    before = sorted((str(path), path.stat().st_mtime_ns) for path in photos.rglob("*"))
    db.index_folder(photos)
    assert sorted((str(path), path.stat().st_mtime_ns) for path in photos.rglob("*")) == before
    assert names(db)["Person 0"] == 3


def test_indexing_again_encodes_nothing(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    revision = db.gallery.store.revision()
    report = db.index_folder(photos)
    assert (report.unchanged, report.enrolled, report.duplicates) == (12, 0, 0)
    assert db.gallery.store.revision() == revision


def test_touched_and_moved_files_keep_their_templates(
    db: FaceDB, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.index_folder(photos)
    monkeypatch.setattr(db.detector, "detect", None)  # nobody looks at them again
    ids = db.gallery.store.identity_ids()[0].tolist()
    os.utime(photos / "Person 1" / "0000.png", ns=(1, 1))
    (photos / "Person 2" / "0000.png").rename(photos / "Person 2" / "renamed.png")
    report = db.index_folder(photos, prune=True)
    assert (report.enrolled, report.removed, report.duplicates, report.unchanged) == (0, 0, 0, 12)
    assert db.gallery.store.identity_ids()[0].tolist() == ids


def test_changed_file_replaces_its_template(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    save(photos / "Person 1" / "0000.png", scene(48, 48, 77))
    report = db.index_folder(photos)
    assert (report.enrolled, report.removed) == (1, 1)
    assert names(db)["Person 1"] == 2


def test_a_file_that_went_bad_keeps_its_template(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    (photos / "Person 1" / "0000.png").write_bytes(b"")
    report = db.index_folder(photos)
    assert [Path(item.path).name for item in report.refused] == ["0000.png"]
    assert names(db)["Person 1"] == 2


def test_prune_removes_what_has_vanished_and_nothing_else(
    db: FaceDB, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facedb.store.connection._BLOCK", 2)  # so that three take two statements
    db.index_folder(photos)
    # Before and after it in the alphabet, and with its name at the beginning.
    for seed, name in enumerate(("other", "photos 2", "zoo"), start=50):
        (gone,) = person(tmp_path / name / name.title(), seed, photos=1)
        db.index_folder(tmp_path / name)
        gone.unlink()
    shutil.rmtree(photos / "Person 3")
    (photos / "Person 4" / "0000.png").unlink()
    assert db.index_folder(photos).removed == 0
    assert db.index_folder(photos, prune=True).removed == 3
    assert names(db) == {
        "Other": 1,
        "Person 0": 2,
        "Person 1": 2,
        "Person 2": 2,
        "Person 4": 1,
        "Person 5": 2,
        "Photos 2": 1,
        "Zoo": 1,
    }


def test_an_emptied_folder_is_not_pruned(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    before = names(db)
    photos.rename(photos.with_name("unmounted"))
    photos.mkdir()
    with pytest.raises(InputError, match=r"this folder is empty, and 12 files .* not mounted"):
        db.index_folder(photos, prune=True)
    assert names(db) == before
    (photos / "meant.txt").touch()
    assert db.index_folder(photos, prune=True).removed == 12


def test_a_moved_folder_is_the_same_photos_in_another_place(
    db: FaceDB, photos: Path, tmp_path: Path
) -> None:
    db.index_folder(photos)
    # Later in the alphabet, and earlier: neither name is to win.
    for new in (tmp_path / "zz", tmp_path / "aa"):
        photos = photos.rename(new)
        report = db.index_folder(photos)
        assert (report.enrolled, report.unchanged, report.refused) == (0, 12, [])
        assert db.reencode().reencoded == 12


def drawn_by(db: FaceDB, folder: Path) -> dict[str, str | None]:
    """Of each file, as whom its photo is known: that of nobody else is at no distance."""
    found: dict[str, str | None] = {}
    for file in sorted(folder.glob("*/*.png")):
        (face,) = db.identify(file, k=1)
        same = face.candidates and face.candidates[0].distance == 0.0
        found[f"{file.parent.name}/{file.name}"] = face.candidates[0].identity if same else None
    return found


@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize("block", [1, 3, 2000])
@pytest.mark.parametrize("what", ["people", "photos"])
def test_files_that_changed_places_are_whose_folder_they_lie_in(
    db: FaceDB, photos: Path, what: str, block: int, prune: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.index_folder(photos)
    monkeypatch.setattr("facedb.enroller._COMMIT_PHOTOS", block)
    places = [photos / f"Person {n}" for n in (1, 3, 4)]
    if what == "photos":
        places = [place / "0000.png" for place in places]
    aside = photos.parent / "aside"
    places[0].rename(aside)
    places[1].rename(places[0])
    places[2].rename(places[1])
    aside.rename(places[2])
    report = db.index_folder(photos, prune=prune)
    moved = 3 if what == "photos" else 6
    assert (report.enrolled, report.removed, report.refused) == (moved, moved, [])
    assert report.photos == report.enrolled + report.unchanged == 12
    assert (report.with_two, report.moved, report.vanished, report.duplicates) == ([], [], 0, 0)
    assert all(file.startswith(f"{who}/") for file, who in drawn_by(db, photos).items())
    assert names(db) == {f"Person {n}": 2 for n in range(6)}
    assert db.index_folder(photos).unchanged == 12
    assert db.gallery.check() == []
    assert db.reencode().reencoded == 12


def test_a_file_that_became_a_copy_of_anothers_photo_holds_its_own_no_more(
    db: FaceDB, photos: Path
) -> None:
    db.index_folder(photos)
    copy = shutil.copy(photos / "Person 1" / "0000.png", photos / "Person 3" / "0000.png")
    report = db.index_folder(photos)
    assert (report.enrolled, report.removed) == (0, 1)
    assert [item.path for item in report.refused] == [str(copy)]
    assert [pair.path for pair in report.with_two] == [str(copy)]
    assert names(db)["Person 3"] == 1
    assert db.reencode().reencoded == 11


def test_a_photo_whose_place_another_took_is_whose_folder_it_lies_in(
    db: FaceDB, photos: Path
) -> None:
    db.index_folder(photos)
    left = photos / "Person 1" / "0000.png"
    left.rename(photos / "Person 3" / "9999.png")
    save(left, scene(48, 48, 77))
    report = db.index_folder(photos)
    assert (report.enrolled, report.removed, report.refused) == (2, 1, [])
    assert all(file.startswith(f"{who}/") for file, who in drawn_by(db, photos).items())
    assert (names(db)["Person 1"], names(db)["Person 3"]) == (2, 3)


def test_a_face_that_was_taken_out_of_its_file_is_enrolled_no_more(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(SAMPLE / "Anaya_Deshmere", photos / "Anaya")
    db = facedb.open(tmp_path / "g")
    db.index_folder(photos)
    held, file = names(db)["Anaya"], photos / "Anaya" / "02.jpg"
    save(file, np.full((200, 200, 3), 90, np.uint8))
    report = db.index_folder(photos)
    assert [(item.path, item.reason) for item in report.refused] == [(str(file), "no face found")]
    assert (report.removed, names(db)["Anaya"]) == (1, held - 1)
    # It stays away, and what was read is not read again.
    assert (db.index_folder(photos).removed, names(db)["Anaya"]) == (0, held - 1)


def test_an_archive_that_moved_is_pruned_where_it_lies_now(
    db: FaceDB, photos: Path, tmp_path: Path
) -> None:
    db.index_folder(photos)
    here = photos.rename(tmp_path / "another disk")
    db.index_folder(here)
    (here / "Person 1" / "0000.png").unlink()
    report = db.index_folder(here, prune=True)
    assert (report.removed, names(db)["Person 1"]) == (1, 1)
    paths = {one.photo for one in db.people.show("Person 1").templates}
    assert paths == {str(here / "Person 1" / "0001.png")}
    # One that lies in both places stays for the other.
    shutil.copytree(here, photos)
    assert db.index_folder(photos).duplicates == 11
    (here / "Person 2" / "0000.png").unlink()
    assert db.index_folder(here, prune=True).removed == 0


@pytest.mark.parametrize("how", ["remove", "photos", "merge", "prune"])
def test_nothing_says_whose_a_photo_was_that_are_gone(
    db: FaceDB, photos: Path, tmp_path: Path, how: str
) -> None:
    (photos / "Person 1").rename(photos / "Abel Gone")
    copy = shutil.copy(photos / "Abel Gone" / "0000.png", photos / "Person 3" / "copy.png")
    db.index_folder(photos)
    owner, other = "Abel Gone", "Person 3"
    (refused,) = db.people.show(other).refused
    assert refused.reason == f"the same photo is enrolled as {owner}"
    match how:
        case "remove":
            db.remove(owner)
        case "photos":
            db.remove(owner, sorted((photos / owner).iterdir()))
        case "merge":
            db.people.merge(owner, other)
        case "prune":
            shutil.rmtree(photos / owner)
            db.index_folder(photos, prune=True)
    assert db.people.show(other).refused == ()
    if how != "merge":
        db.close()
        held = b"".join(file.read_bytes() for file in (tmp_path / "g").iterdir())
        assert owner.encode() not in held
        shutil.rmtree(photos / owner, ignore_errors=True)
    report = db.index_folder(photos)
    assert (names(db)[other], report.refused) == (4 if how == "merge" else 3, [])
    assert how == "merge" or copy in {Path(one.photo) for one in db.people.show(other).templates}


def test_a_refused_copy_bears_the_new_name_of_its_owner(db: FaceDB, photos: Path) -> None:
    shutil.copy(photos / "Person 1" / "0000.png", photos / "Person 3" / "copy.png")
    db.index_folder(photos)
    db.people.rename("Person 1", "Mira")
    (refused,) = db.people.show("Person 3").refused
    assert refused.reason == "the same photo is enrolled as Mira"


def test_what_the_file_was_not_to_blame_for_is_tried_again(db: FaceDB, photos: Path) -> None:
    locked, empty = photos / "Person 0" / "0000.png", photos / "Person 1" / "empty.png"
    empty.write_bytes(b"")
    db.index_folder(photos)
    stat = locked.stat()
    db.remove("Person 0")
    with db.gallery.writing() as writer:
        writer.put_files(
            [FileRow(str(locked), "Person 0", stat.st_size, stat.st_mtime_ns, None, reasons.DENIED)]
        )
    report = db.index_folder(photos)
    assert [item.path for item in report.refused] == [str(empty)]
    assert names(db)["Person 0"] == 2
    assert db.index_folder(photos).unchanged == 13


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_is_one_photo(db: FaceDB, photos: Path, kind: type) -> None:
    photo = kind(photos / "Person 0" / "0000.png")
    report = db.enroll("Ada", photo)
    assert (report.photos, report.enrolled) == (1, 1)
    (answer,) = db.identify_photos(photo)
    assert answer.faces[0].identity == "Ada"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"index": "hnsw"}, "flat, ivf"),
        ({"aggregation": "median"}, "nearest-or-mean"),
        ({"device": "gpu"}, "auto, cpu, cuda"),
        ({"threshold": -1.0}, r"\[0, 2\]"),
        ({"threshold": float("nan")}, r"\[0, 2\]"),
        ({"threshold": "1.0"}, r"'1.0': a distance in \[0, 2\]"),
        ({"fpir": "0.1"}, "between 0 and 1"),
        ({"fpir": 2.0}, "between 0 and 1"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"k": 0}, "k=0: .* a whole number from 1"),
        ({"k": 2.5}, r"k=2\.5"),
        ({"k": "5"}, "k='5'"),
        ({"faces": "larget"}, "faces='larget': it is one of all, largest"),
        *(
            ({"threshold": threshold}, r"threshold=.*: a distance in \[0, 2\]")
            for threshold in (5, float("inf"), float("nan"), -1, "1.0")
        ),
    ],
)
def test_a_question_in_other_words(
    db: FaceDB, photos: Path, wrong: dict[str, Any], words: str
) -> None:
    photo = photos / "Person 0" / "0000.png"
    db.enroll("Ada", photo)
    for ask in (db.identify, db.identify_photos):
        with pytest.raises(InputError, match=words):
            ask(photo, **wrong)
    (face,) = db.identify(photo, k=np.int64(1), threshold=np.float32(0))
    assert (face.identity, face.threshold) == ("Ada", 0.0)


def test_pixels_and_names_of_another_kind(db: FaceDB, photos: Path) -> None:
    photo = load_photo(photos / "Person 0" / "0000.png")
    with pytest.raises(InputError, match="a NoneType is no name"):
        db.enroll(None, photo.path)  # type: ignore[arg-type]
    db.enroll("Ada", photo.path)
    for ask in (db.remove, db.people.show, db.doubts, partial(db.people.rename, "Ada")):
        with pytest.raises(InputError, match="a int is no name"):
            ask(5)  # type: ignore[operator]
        with pytest.raises(InputError, match="text that UTF-8 can hold"):
            ask("\ud800")  # type: ignore[operator]
    with pytest.raises(InputError, match="no photo of Ada"):
        db.remove("Ada", ["/nowhere\0"])
    for folder in (None, 5):
        with pytest.raises(InputError, match="is no path of a file or folder"):
            db.index_folder(folder)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="is no path of a file or folder"):
            facedb.open(folder)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the name of a gallery's folder must be UTF-8"):
        facedb.open("bad\udcff")
    with pytest.raises(InputError, match="is no path of a file or folder"):
        db.calibrate(5)  # type: ignore[arg-type]
    for wrong in (None, 5, b"bytes of a photo"):
        with pytest.raises(InputError, match="is no file: give paths"):
            db.enroll("Ada", wrong)  # type: ignore[arg-type]
    db.enroll("Ada", photo.path)
    assert db.identify(photo)[0].identity == "Ada"
    for pixels in (photo.pixels / np.float32(255), photo.pixels[..., 0], photo.pixels[..., :2]):
        with pytest.raises(PhotoError, match="not uint8 of shape"):
            db.identify(replace(photo, pixels=pixels))


def test_photos_are_refused_at_the_call_where_there_is_no_gallery(db: FaceDB) -> None:
    with pytest.raises(GalleryMissing, match="no gallery here"):
        db.identify_photos(["x.jpg"])


def test_bytes_and_streams_are_photos(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    photo = photos / "Person 3" / "0000.png"
    with open(photo, "rb") as stream:
        answers = [db.identify(given, k=2) for given in (photo, photo.read_bytes(), stream)]
    assert answers[0][0].identity == "Person 3"
    assert answers[0] == answers[1] == answers[2]
    with pytest.raises(PhotoError, match="bytes: empty file"):
        db.identify(b"")


def test_what_is_no_photo_and_nobody_to_name(db: FaceDB, photos: Path) -> None:
    photo = photos / "Person 0" / "0000.png"
    db.enroll("Ada", photo)
    with pytest.raises(InputError, match="NoneType is no photo"):
        db.identify(None)  # type: ignore[arg-type]
    with open(photo, encoding="latin-1") as text, pytest.raises(InputError, match="mode 'rb'"):
        db.identify(text)  # type: ignore[arg-type]


def test_prune_spares_a_folder_that_cannot_be_read(
    db: FaceDB, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person(photos / "Person 33", 60)
    db.index_folder(photos)
    shutil.rmtree(photos / "Person 33")
    locked, exists = close_folder(photos / "Person 3", monkeypatch), os.path.exists

    def seems_to_exist(path: str) -> bool:
        return not os.fspath(path).startswith(locked + os.sep) and exists(path)

    # Where a folder may not be entered, nothing in it seems to be there.
    monkeypatch.setattr(os.path, "exists", seems_to_exist)
    report = db.index_folder(photos, prune=True)
    assert report.removed == 2
    assert locked in [refusal.path for refusal in report.refused]
    assert names(db)["Person 3"] == 2
    assert "Person 33" not in names(db)


def test_prune_spares_a_photo_that_is_there_though_not_walked(db: FaceDB, photos: Path) -> None:
    db.enroll("Ada", save(photos / "loose.png", scene(48, 48, 70)))
    db.index_folder(photos)
    assert db.index_folder(photos, prune=True).removed == 0
    assert names(db)["Ada"] == 1


def test_a_photo_is_of_whom_its_folder_names_now(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    report = db.index_folder(photos.parent)  # where all are of one person, "photos"
    refused = [item.reason for item in report.refused if item.path.startswith(str(photos))]
    assert refused == [f"the same photo is enrolled as Person {n}" for n in range(6) for _ in "ab"]


def test_a_photo_moved_to_another_person_is_theirs_after_prune(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    moved = photos / "Person 2" / "moved.png"
    (photos / "Person 1" / "0000.png").rename(moved)
    (refusal,) = db.index_folder(photos).refused
    assert refusal.reason == "the same photo is enrolled as Person 1"
    report = db.index_folder(photos, prune=True)
    assert (report.removed, report.enrolled, report.refused) == (1, 1, [])
    assert db.identify(moved)[0].identity == "Person 2"
    assert (names(db)["Person 1"], names(db)["Person 2"]) == (1, 3)


def test_a_file_that_went_bad_and_then_away_is_pruned(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    file = photos / "Person 1" / "0000.png"
    file.write_bytes(b"")
    db.index_folder(photos)
    file.unlink()
    assert db.index_folder(photos, prune=True).removed == 1
    assert names(db)["Person 1"] == 1


def test_a_file_that_went_bad_is_replaced_by_a_good_one(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    file = photos / "Person 1" / "0000.png"
    file.write_bytes(b"")
    db.index_folder(photos)
    save(file, scene(48, 48, 88))
    report = db.index_folder(photos)
    assert (report.enrolled, report.removed, names(db)["Person 1"]) == (1, 1, 2)


def test_enrolled_photo_keeps_its_file_when_its_folder_is_indexed(db: FaceDB, photos: Path) -> None:
    file = photos / "Person 1" / "0000.png"
    db.enroll("Bob", [file])
    db.index_folder(photos)
    (template,) = db.people.show("Bob").templates
    assert template.photo == str(file)


def test_people_whose_photos_were_all_refused_can_be_removed(db: FaceDB, photos: Path) -> None:
    secret = photos / "Secret Name" / "s.jpg"
    secret.parent.mkdir()
    secret.write_bytes(b"no photo")
    db.index_folder(photos)
    assert db.people.remove("Secret Name").templates == 0
    for close in (lambda: None, db.close):
        close()
        contents = b"".join(file.read_bytes() for file in db.folder.iterdir())
        assert b"Secret Name" not in contents


def test_refused_photos_under_every_name_are_shown_and_forgotten(db: FaceDB, photos: Path) -> None:
    broken = [photos / name / "more" / "broken.jpg" for name in ("Person 0", "Person 1")]
    for file in broken:
        file.parent.mkdir()
        file.write_bytes(b"")
    db.index_folder(photos)
    db.people.merge("Person 1", "Person 0")
    assert [row.path for row in db.people.show("Person 0").refused] == [str(f) for f in broken]
    folders = db.people.remove("Person 0").folders
    assert {str(file.parent) for file in broken} <= set(folders)
    assert db.gallery.store.files_of(["Person 0", "Person 1"]) == {}


def test_names_in_both_unicode_forms_are_one_person(db: FaceDB, tmp_path: Path) -> None:
    files = person(tmp_path / "loose", seed=3)
    db.enroll("Zoe\u0301", files[:1])
    db.enroll("Zo\u00e9", files[1:])
    assert names(db) == {"Zo\u00e9": 2}
    assert db.people.show("Zoe\u0301").person.templates == 2
    for name in ("two\nlines", "two\u2028lines", "a\ttab"):
        with pytest.raises(InputError, match="one line of printable characters"):
            db.enroll(name, files)
    # "Ali-Reza" as Persian writes it, with a joiner that is seen by nobody.
    joined = "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627"
    assert db.people.rename("Zoe\u0301", joined).name == joined


def test_a_link_to_anothers_folder_is_not_said_to_be_a_second_file(
    db: FaceDB, photos: Path
) -> None:
    (photos / "Seen often").symlink_to(photos / "Person 1")
    (photos / "Person 3" / "link.png").symlink_to(photos / "Person 1" / "0000.png")
    report = db.index_folder(photos)
    assert (report.enrolled, report.with_two) == (12, [])
    assert {item.reason for item in report.refused} == {"the same photo is enrolled as Person 1"}


def test_the_same_photo_under_two_people_counts_once(db: FaceDB, photos: Path) -> None:
    (photos / "Zoe Impostor").mkdir()
    shutil.copy(photos / "Person 1" / "0000.png", photos / "Zoe Impostor" / "copy.png")
    shutil.copy(photos / "Person 1" / "0000.png", photos / "Person 1" / "copy.png")
    report = db.index_folder(photos)
    assert (report.enrolled, report.duplicates) == (12, 1)
    (refusal,) = report.refused
    owners = {Path(refusal.path).parent.name, *names(db)}
    assert "the same photo is enrolled as" in refusal.reason
    assert owners >= {"Zoe Impostor", "Person 1"}
    assert sum(names(db).values()) == 12
    assert db.index_folder(photos).refused == [refusal]


def test_renamed_people_stay_whole_when_indexed_again(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    db.people.rename("Person 0", "Ada Lovelace")
    db.people.merge("Person 1", "Person 2")
    person(photos / "Person 0", seed=0, photos=3)
    person(photos / "Person 1", seed=1, photos=3)
    db.index_folder(photos)
    assert names(db)["Ada Lovelace"] == 3
    assert names(db)["Person 2"] == 5
    assert "Person 0" not in names(db)


def test_remove_says_which_folders_would_enroll_again(
    db: FaceDB, photos: Path, tmp_path: Path
) -> None:
    db.index_folder(photos)
    removal = db.people.remove("Person 0")
    assert removal.folders == (str(photos / "Person 0"),)
    assert db.remove("Person 5") == 2
    assert db.index_folder(photos).enrolled == 4
    (file,) = person(tmp_path / "one", 30, photos=1)
    (tmp_path / "two").mkdir()
    shutil.copy(file, tmp_path / "two" / "copy.png")
    db.enroll("Ada", [tmp_path / "one", tmp_path / "two"])
    assert db.people.remove("Ada").folders == (str(tmp_path / "one"), str(tmp_path / "two"))
    with pytest.raises(UnknownIdentity, match="people list"):
        db.remove("Nobody")


def test_single_photos_of_a_person_are_removed_for_good(
    db: FaceDB, photos: Path, tmp_path: Path
) -> None:
    db.index_folder(photos)
    first, second = sorted((photos / "Person 0").iterdir())
    elsewhere = shutil.copy(first, tmp_path / "copy of one.png")
    with pytest.raises(InputError, match=r"0001.png: no photo of Person 1 .* people show"):
        db.remove("Person 1", [photos / "Person 1" / "0000.png", second])
    assert names(db) == {f"Person {n}": 2 for n in range(6)}
    # By a copy of it, and what was enrolled from it goes with every file of it.
    removal = db.people.remove_photos("Person 0", [elsewhere])
    assert (removal.templates, removal.folders) == (1, (str(photos / "Person 0"),))
    assert [template.photo for template in db.people.show("Person 0").templates] == [str(second)]
    contents = b"".join(file.read_bytes() for file in db.folder.iterdir())
    assert str(first).encode() not in contents
    assert db.gallery.check() == []
    # It is free to be somebody else's; and with the last one the person goes.
    assert db.enroll("Ada", [first]).enrolled == 1
    second.unlink()
    assert db.remove("Person 0", second) == 1
    assert "Person 0" not in names(db)


def test_photos_of_a_merged_person_are_removed_though_their_files_are_gone(
    db: FaceDB, photos: Path
) -> None:
    db.index_folder(photos)
    db.people.merge("Person 1", "Person 0")
    gone = photos / "Person 1" / "0000.png"
    gone.unlink()
    assert db.remove("Person 0", [gone]) == 1
    assert names(db)["Person 0"] == 3
    # Whose every photo was left out is forgotten photo by photo, too.
    broken = photos / "Nof" / "x.png"
    broken.parent.mkdir()
    broken.write_bytes(b"")
    db.index_folder(photos)
    assert db.remove("Nof", [broken]) == 0
    with pytest.raises(UnknownIdentity):
        db.remove("Nof", [broken])


def test_a_photo_that_was_left_out_is_forgotten_by_its_name(db: FaceDB, photos: Path) -> None:
    broken = photos / "Person 0" / "broken.jpg"
    broken.write_bytes(b"")
    db.index_folder(photos)
    assert db.remove("Person 0", broken) == 0
    assert db.people.show("Person 0").refused == ()
    assert names(db)["Person 0"] == 2


def test_unknown_names_are_guessed_and_people_sorted_without_case(
    db: FaceDB, tmp_path: Path
) -> None:
    for seed, name in enumerate(("hans", "Zoë Renée", "anna", "Bob")):
        db.enroll(name, person(tmp_path / name, seed))
    db.people.rename("hans", "Hans Peter")
    assert [one.name for one in db.people.list()] == ["anna", "Bob", "Hans Peter", "Zoë Renée"]
    for typed, meant in (("Hanz", "hans"), ("zoe renee", "Zoë Renée"), ("ANNA", "anna")):
        with pytest.raises(UnknownIdentity, match=rf"did you mean {meant}\? See: "):
            db.people.show(typed)
    with pytest.raises(UnknownIdentity) as caught:
        db.remove("Xylophone")
    assert "did you mean" not in str(caught.value)


def test_enroll_photos_under_a_name(db: FaceDB, tmp_path: Path) -> None:
    files = person(tmp_path / "loose", seed=3)
    report = db.enroll("Émile 山田", [*files, tmp_path / "missing.jpg"])
    assert (report.enrolled, report.people) == (2, 1)
    assert [refusal.reason for refusal in report.refused] == ["no such file"]
    assert db.info().waiting == 0
    assert len(list(db.folder.glob("index-*"))) == 1
    assert db.identify(files[0])[0].identity == "Émile 山田"
    with pytest.raises(InputError, match="needs a name"):
        db.enroll("  ", files)


def test_a_path_that_is_used_again_takes_nobody_away(db: FaceDB, tmp_path: Path) -> None:
    upload = tmp_path / "upload.png"
    for seed, name in ((70, "Ada"), (71, "Bob"), (72, "Bob"), (73, "Bob")):
        save(upload, scene(48, 48, seed))
        report = db.enroll(name, upload)
        assert (report.enrolled, report.removed) == (1, 0)
    assert names(db) == {"Ada": 1, "Bob": 3}
    again = save(tmp_path / "again.png", scene(48, 48, 70))
    assert db.identify(again, k=1)[0].identity == "Ada"
    upload.write_bytes(b"")
    assert db.enroll("Cleo", upload).enrolled == 0
    assert names(db) == {"Ada": 1, "Bob": 3}


def test_a_thousand_photos_with_forty_bad_ones(db: FaceDB, tmp_path: Path) -> None:
    top = tmp_path / "many"
    for number in range(960):
        save(top / f"P{number % 60:02}" / f"{number}.png", scene(24, 24, number))
    bad: dict[Path, str] = {}
    number = 0
    while len(bad) < 40:
        for path, reason in bad_files(top / f"B{number:02}").items():
            if len(bad) < 40:
                bad[path] = reason
            elif path.is_symlink() or path.is_file():
                path.unlink()
        number += 1
    report = db.index_folder(top)
    assert report.enrolled == 960
    refused = {Path(item.path): item.reason for item in report.refused}
    assert {path: refused.get(path) for path in bad} == bad
    assert [item.path for item in report.refused] == sorted(item.path for item in report.refused)
    stored = db.gallery.store.files_under(str(top))
    remembered = {path: row.reason for path, row in stored.items() if row.reason}
    assert set(remembered) <= {str(path) for path in bad}
    assert len(remembered) > 20
    again = db.index_folder(top)
    assert {(item.path, item.reason) for item in again.refused} == {
        (item.path, item.reason) for item in report.refused
    }


def test_interrupted_index_goes_on_where_it_was(tmp_path: Path) -> None:
    top = tmp_path / "many"
    for number in range(3000):
        save(top / f"P{number % 50:02}" / f"{number}.jpg", scene(20, 20, number), quality=95)
    # A shell starts background jobs deaf to SIGINT, and children inherit that.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from facedb.cli.main import main; main()"
    )
    options = ["index", str(top), "-g", str(tmp_path / "g"), "--detector", "none"]
    run = subprocess.Popen(
        [sys.executable, "-c", code, *options], stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "g" / "gallery.sqlite").exists() and run.poll() is None:
        time.sleep(0.02)
    time.sleep(1.0)
    for _ in range(4):
        run.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, stderr = run.communicate(timeout=60)
    db = facedb.open(tmp_path / "g", CROPS)
    kept = db.gallery.store.count()
    assert (run.returncode, "run the same command to go on" in stderr) == (1, True), stderr
    assert 0 < kept < 3000
    assert db.gallery.check() == []
    report = db.index_folder(top)
    assert (report.unchanged, report.enrolled) == (kept, 3000 - kept)


def pinned(folder: Path, **changes: str) -> None:
    """Write into a gallery that it was made with something else."""
    store = facedb.open(folder).gallery.store
    with store.writing() as writer:
        every = store.identity_ids()[0].tolist()
        assert writer.change_encoder(replace(store.pin, **changes), every)


def test_another_encoder_is_refused(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    db.close()
    pinned(db.folder, encoder_fingerprint="0" * 64, encoder_name="somebody else's")
    with pytest.raises(EncoderMismatch, match=r"somebody else's .*\); make .* gallery reencode"):
        facedb.open(db.folder, CROPS).identify(photos / "Person 0" / "0000.png")


def other_encoder(folder: Path) -> Settings:
    """The bundled encoder's graph under another preprocessing: another by its fingerprint."""
    shutil.copytree(ENCODER, folder)
    card = json.loads((folder / "encoder.json").read_text())
    card["name"], card["std"] = "the other", [0.5, 0.5, 0.500001]
    (folder / "encoder.json").write_text(json.dumps(card))
    return Settings(encoder=str(folder), detector="none", threshold=0.3)


def test_another_encoder_is_refused_where_another_process_made_the_gallery_first(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = facedb.open(tmp_path / "g", other_encoder(tmp_path / "other-encoder"))
    create = Gallery.create

    def made_meanwhile(*given: Any) -> Gallery:
        with monkeypatch.context() as patch:
            patch.setattr(Gallery, "create", create)
            facedb.open(tmp_path / "g", CROPS).index_folder(photos)
        return create(*given)

    monkeypatch.setattr(Gallery, "create", made_meanwhile)
    with pytest.raises(EncoderMismatch, match="were made by encoder"):
        db.index_folder(photos)


def test_another_detector_is_refused_and_the_old_one_is_offered(
    tmp_path: Path, photos: Path
) -> None:
    moved = shutil.copy(BUNDLED, tmp_path / "moved.onnx")
    photo = photos / "Person 0" / "0000.png"
    for made, brought in (("none", "bundled"), ("none", moved), (moved, "bundled")):
        folder = tmp_path / f"{Path(made).stem}-{Path(brought).stem}"
        with facedb.open(folder, Settings(detector=str(made))) as first:
            first.index_folder(SAMPLE if made == moved else photos)
        way = rf"leave --detector out .*reencode -g {folder} --detector {brought}$"
        with pytest.raises(EncoderMismatch, match=way):
            facedb.open(folder, Settings(detector=str(brought))).identify(photo)
        facedb.open(folder).identify(photo)


def test_a_detector_whose_answers_are_read_otherwise_now_is_told(
    db: FaceDB, tmp_path: Path
) -> None:
    with facedb.open(tmp_path / "bundled") as first:
        first.index_folder(SAMPLE)
        fingerprint = first.detector.fingerprint
    earlier = fingerprint.rpartition(".")[0] + ".1"
    pinned(first.folder, detector_fingerprint=earlier)
    way = rf"{earlier}, whose answers are read otherwise.* reencode -g \S+ --detector bundled$"
    with pytest.raises(EncoderMismatch, match=way):
        facedb.open(first.folder).identify(next(SAMPLE.rglob("*.jpg")))


def test_reencode_is_all_or_nothing(db: FaceDB, photos: Path, tmp_path: Path) -> None:
    db.index_folder(photos)
    settings = other_encoder(tmp_path / "other-encoder")
    gone = photos / "Person 0" / "0000.png"
    kept = gone.read_bytes()
    gone.unlink()
    with pytest.raises(EncoderMismatch, match=r"the other .* leave --encoder out to go on .* anew"):
        _ = facedb.open(db.folder, settings).encoder
    with pytest.raises(InputError, match=r"nothing was changed[\s\S]*0000.png: no such file"):
        facedb.open(db.folder, settings).reencode()
    assert facedb.open(db.folder, CROPS).identify(photos / "Person 1" / "0000.png")[0].identity
    gone.write_bytes(kept)
    report = facedb.open(db.folder, settings).reencode()
    assert (report.reencoded, report.dropped) == (12, ())
    after = facedb.open(db.folder, Settings(threshold=0.3))
    assert after.encoder.name == "the other"
    assert after.identify(gone)[0].identity == "Person 0"
    assert after.gallery.check() == []
    gone.unlink()
    report = facedb.open(db.folder, Settings(detector="none")).reencode(drop_missing=True)
    assert (report.reencoded, len(report.dropped)) == (11, 1)
    # Dropped photos that come back are enrolled again.
    gone.write_bytes(kept)
    assert facedb.open(db.folder).index_folder(photos).enrolled == 1


def test_reencode_drops_changed_photos_and_whoever_has_none_left(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    save(photos / "Person 1" / "0000.png", scene(48, 48, 77))
    shutil.rmtree(photos / "Person 0")
    with pytest.raises(InputError, match=r"0000.png: the file has changed since it was enrolled"):
        db.reencode()
    report = db.reencode(drop_missing=True)
    assert (report.reencoded, len(report.dropped)) == (9, 3)
    assert names(db) == {"Person 1": 1, **{f"Person {n}": 2 for n in range(2, 6)}}


def test_photos_that_are_all_gone_are_not_dropped(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    photos.rename(photos.with_name("elsewhere"))
    with pytest.raises(InputError, match=r"not one of 12 templates can[\s\S]*drive not mounted"):
        db.reencode(drop_missing=True)
    assert sum(names(db).values()) == 12


def test_reencoding_twice_reads_the_photos_twice(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    db.reencode()
    (photos / "Person 1" / "0000.png").unlink()
    with pytest.raises(InputError, match="no such file"):
        db.reencode()


def test_reencode_by_a_detector_that_sees_no_face(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    with pytest.raises(InputError, match=r"12 templates[\s\S]*0000.png: no face found"):
        facedb.open(db.folder, Settings(detector="bundled")).reencode()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_gallery_in_use_goes_on_in_a_forked_process(tmp_path: Path) -> None:
    # As a server's master does that loads everything before it forks its workers.
    with facedb.open(tmp_path / "g") as db:
        db.index_folder(SAMPLE)
    stranger = max(SAMPLE.with_name("val").rglob("*.jpg"))
    forked = Path(__file__).with_name("forked.py")
    command = [sys.executable, forked, tmp_path / "g", SAMPLE, stranger]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_info_beside_a_writer_whose_file_is_gone_before_it_is_measured(
    db: FaceDB, photos: Path
) -> None:
    db.index_folder(photos)
    size = db.info().bytes
    (db.folder / "index-000000000007-0badcafe.faiss.tmp").symlink_to("gone")
    assert db.info().bytes == size > 0


def swapped(folder: Path, photos: Path, settings: Settings = CROPS) -> None:
    """Put a gallery of one other person in the place of the one in `folder`."""
    person(photos / "Somebody else", seed=77)
    with facedb.open(folder.with_name("other"), settings) as other:
        other.index_folder(photos)
    folder.rename(folder.with_name("before"))
    folder.with_name("other").rename(folder)


def test_a_gallery_put_in_the_place_of_an_open_one(
    db: FaceDB, photos: Path, tmp_path: Path
) -> None:
    db.index_folder(photos)
    held = db.gallery
    assert db.identify(photos / "Person 1" / "0000.png")[0].identity == "Person 1"
    swapped(db.folder, tmp_path / "others")
    for write in (held.settle, held.publish, lambda: held.writing().__enter__()):
        with pytest.raises(GalleryMissing, match="open it again"):
            write()
    (face,) = db.identify(tmp_path / "others" / "Somebody else" / "0000.png")
    assert face.identity == "Somebody else"
    db.enroll("Person 1", photos / "Person 1")
    assert names(db) == {"Somebody else": 2, "Person 1": 2}
    assert len(list(db.folder.glob("index-*"))) == 1
    assert db.gallery.check() == []


def test_a_gallery_that_got_the_file_number_of_the_one_that_was_open(
    db: FaceDB, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facedb.store.store.place", lambda file: (1, 2))
    db.index_folder(photos)
    assert db.identify(photos / "Person 1" / "0000.png")[0].identity == "Person 1"
    db.gallery.store.close()  # as a fork does: no connection holds the file now
    swapped(db.folder, tmp_path / "others")
    (face,) = db.identify(tmp_path / "others" / "Somebody else" / "0000.png")
    assert (face.identity, face.candidates[0].distance) == ("Somebody else", 0.0)
    assert {near.identity for near in face.candidates} == {"Somebody else"}


def test_a_gallery_of_another_detector_put_in_the_place_of_an_open_one(
    db: FaceDB, photos: Path, tmp_path: Path
) -> None:
    db.index_folder(photos)
    swapped(db.folder, tmp_path / "others", Settings(detector="whole"))
    for _ in range(2):
        with pytest.raises(EncoderMismatch, match="open it again"):
            db.identify(photos / "Person 1" / "0000.png")
    with facedb.open(db.folder) as again:
        assert again.identify(photos / "Person 1" / "0000.png")[0].candidates


def test_an_open_gallery_that_is_deleted(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    shutil.rmtree(db.folder)
    with pytest.raises(GalleryMissing, match="facedb index"):
        db.identify(photos / "Person 1" / "0000.png")
    db.enroll("Person 1", photos / "Person 1")
    assert names(db) == {"Person 1": 2}


def test_an_album_numbered_anew_keeps_its_photos(
    db: FaceDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facedb.enroller._COMMIT_PHOTOS", 4)
    folder = tmp_path / "photos" / "Ada"
    for number in range(11):
        save(folder / f"{number:02}.png", scene(48, 48, number))
    db.index_folder(folder.parent)
    for number in reversed(range(11)):
        (folder / f"{number:02}.png").rename(folder / f"{number + 1:02}.png")
    save(folder / "00.png", scene(48, 48, 99))
    report = db.index_folder(folder.parent)
    assert report.refused == []
    assert names(db) == {"Ada": 12}
    assert db.index_folder(folder.parent).unchanged == 12


def test_an_emptied_person_is_pruned(db: FaceDB, photos: Path) -> None:
    db.index_folder(photos)
    for file in (photos / "Person 2").iterdir():
        file.unlink()
    assert db.index_folder(photos).vanished == 2
    assert db.index_folder(photos, prune=True).removed == 2
    assert "Person 2" not in names(db)


def test_a_photo_of_the_folder_that_was_enrolled_as_somebody_else(db: FaceDB, photos: Path) -> None:
    file = photos / "Person 2" / "0000.png"
    db.enroll("Robert", file)
    report = db.index_folder(photos)
    assert (report.with_two, report.moved, report.vanished) == ([], [], 0)
    assert [(item.path, item.reason) for item in report.refused] == [
        (str(file), "the same photo is enrolled as Robert")
    ]


def test_a_gallery_beside_the_photos_is_passed_over(photos: Path) -> None:
    with facedb.open(photos / "facedb.gallery", CROPS) as db:
        db.index_folder(photos)
        report = db.index_folder(photos)
        assert (report.people, report.skipped, report.refused) == (6, 0, [])
        assert db.enroll("All", photos).refused != []  # of which none lies in the gallery
        assert not any("facedb.gallery" in item.path for item in db.enroll("All", photos).refused)


def test_refused_photos_are_forgotten_by_the_name_in_either_form(db: FaceDB, photos: Path) -> None:
    (photos / "José").mkdir()
    (photos / "José" / "broken.jpg").touch()
    db.index_folder(photos)
    decomposed = unicodedata.normalize("NFD", "José")
    assert db.people.refused(decomposed)
    assert db.people.remove(decomposed).templates == 0
    assert not db.people.refused("José")


@pytest.mark.parametrize("fpir", [0, 1.5, -1, True, float("nan"), "0.01"])
def test_a_calibration_at_no_such_rate(db: FaceDB, photos: Path, fpir: Any) -> None:
    db.index_folder(photos)
    with pytest.raises(InputError, match="a share between 0 and 1"):
        db.calibrate(None, fpir)
    assert db.info().calibrated_fpir is None


@pytest.mark.parametrize("given", [[b"bytes"], [3], [None]])
def test_what_is_no_path(db: FaceDB, photos: Path, given: Any) -> None:
    db.index_folder(photos)
    with pytest.raises(InputError, match="is no path"):
        db.enroll("Ada", given)
    with pytest.raises(InputError, match="is no path"):
        list(db.identify_photos(given))


def test_a_gallery_swapped_while_it_is_asked(
    db: FaceDB, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.index_folder(photos)
    with facedb.open(tmp_path / "new", CROPS) as other:
        other.index_folder(people_folder(tmp_path / "others", count=1))
    search, swapped = Gallery.search, []

    def swap(gallery: Gallery, *rest: Any) -> Any:
        if not swapped:
            swapped.append(shutil.move(tmp_path / "g", tmp_path / "old"))
            shutil.move(tmp_path / "new", tmp_path / "g")
        return search(gallery, *rest)

    monkeypatch.setattr(Gallery, "search", swap)
    (face,) = db.identify(photos / "Person 0" / "0000.png")
    assert {candidate.identity for candidate in face.candidates} == {"Person 0"}


def test_what_was_refused_is_read_again_after_reencoding(db: FaceDB, photos: Path) -> None:
    (photos / "Person 0" / "broken.jpg").write_bytes(b"")
    assert len(db.index_folder(photos).refused) == 1
    assert db.index_folder(photos).unchanged == 13
    db.reencode()
    again = db.index_folder(photos)
    assert (again.unchanged, again.enrolled, len(again.refused)) == (12, 0, 1)
    assert db.index_folder(photos).unchanged == 13
