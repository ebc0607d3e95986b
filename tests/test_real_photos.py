"""The whole way on real photographs, where they lie beside the repository."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from photos_maker import save

import facedb
from facedb.evaluation.protocol import evaluate
from facedb.identify import FaceDB, Settings

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
LFW = SHARED / "data" / "lfw" / "images"
YUNET = SHARED / "models" / "face_detection_yunet_2026may.onnx"

pytestmark = pytest.mark.skipif(
    not (LFW.is_dir() and YUNET.is_file()), reason="no real photographs beside the repository"
)


def people_with(photos: int, count: int) -> list[list[Path]]:
    found = (sorted(folder.iterdir()) for folder in sorted(LFW.iterdir()))
    return [files[:photos] for files in found if len(files) >= photos][:count]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> FaceDB:
    top = tmp_path_factory.mktemp("lfw")
    for files in people_with(4, 30):
        for folder, photos in ((top / "train", files[:2]), (top / "val", files[2:])):
            (folder / files[0].parent.name).mkdir(parents=True)
            for file in photos:
                shutil.copy(file, folder / files[0].parent.name)
    db = facedb.open(top / "g", Settings(detector=str(YUNET)))
    assert db.index_folder(top / "train").enrolled == 60
    return db


def test_new_photos_of_enrolled_people(db: FaceDB) -> None:
    report = evaluate(db, str(db.folder.parent / "val"), (1, 5))
    assert (report.mated, report.non_mated, report.refused) == (60, 0, ())
    # Guessing is right once in thirty.
    assert report.rank[1] >= 0.6
    assert report.rank[5] >= 0.8


def test_the_photo_itself_is_found_and_upright_whatever_its_exif(
    db: FaceDB, tmp_path: Path
) -> None:
    from PIL import Image

    file = next((db.folder.parent / "train").glob("*/*.webp"))
    (face,) = db.identify(file, faces="largest")
    assert face.identity == file.parent.name
    assert face.candidates[0].distance == 0.0
    pixels = np.asarray(Image.open(file).convert("RGB"))
    turned = save(tmp_path / "turned.png", np.rot90(pixels), orientation=6)
    (again,) = db.identify(turned, faces="largest")
    assert again.candidates[0].distance == 0.0
    assert again.box == face.box


def test_pixels_in_memory_answer_like_the_file(db: FaceDB) -> None:
    from PIL import Image

    file = next((db.folder.parent / "val").glob("*/*.webp"))
    pixels = np.asarray(Image.open(file).convert("RGB"))
    assert db.identify(pixels) == db.identify(file)


def test_everybody_in_a_group_is_named(db: FaceDB, tmp_path: Path) -> None:
    from PIL import Image

    files = [
        sorted(folder.iterdir())[0] for folder in sorted((db.folder.parent / "train").iterdir())
    ]
    group = np.hstack([np.asarray(Image.open(file).convert("RGB")) for file in files[:4]])
    photo = save(tmp_path / "group.png", group)
    faces = [face for face in db.identify(photo) if face.box[2] > 60]
    from_left = sorted(faces, key=lambda face: face.box[0])
    assert [face.identity for face in from_left] == [file.parent.name for file in files[:4]]


def test_threads_share_an_open_gallery(db: FaceDB) -> None:
    from concurrent.futures import ThreadPoolExecutor

    files = sorted((db.folder.parent / "val").glob("*/*.webp"))[:24]
    alone = [db.identify(file, faces="largest") for file in files]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda file: db.identify(file, faces="largest"), files))
    assert together == alone


def test_a_moved_detector_is_found_by_the_environment(
    db: FaceDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved.onnx"
    shutil.copy(YUNET, moved)
    other = facedb.open(tmp_path / "g", Settings(detector=str(moved)))
    file = next((db.folder.parent / "train").glob("*/*.webp"))
    other.enroll("Somebody", [file])
    os.unlink(moved)
    monkeypatch.setenv("FACEDB_DETECTOR", str(YUNET))
    assert facedb.open(tmp_path / "g").identify(file, faces="largest")[0].identity == "Somebody"
