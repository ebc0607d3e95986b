"""The seven distortions through their door, and the script that builds the FACECOM layout."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("albumentations", reason="needs the extra: pip install '.[train]'")

from facedb.errors import InputError
from facedb.photos import load_photo
from facedb.training.distortions import DEFAULT_SEVERITY, KINDS, SEVERITIES, distort
from facedb.types import Pixels

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = sorted((ROOT / "data" / "train").glob("*/01.jpg"))[:3]
RANDOM = ("foggy", "lowlight", "noisy", "rainy", "sunny")


@pytest.fixture(scope="module")
def photo() -> Pixels:
    return load_photo(SAMPLES[0]).pixels


def change(photo: Pixels, distorted: Pixels) -> float:
    return float(np.abs(photo.astype(np.int16) - distorted).mean())


def test_the_seven_kinds_of_facecom() -> None:
    expected = ("blurred", "foggy", "lowlight", "noisy", "rainy", "resized", "sunny")
    assert expected == KINDS
    assert SEVERITIES == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_gives_one_picture_and_leaves_the_photo_alone(kind: str, photo: Pixels) -> None:
    before = photo.copy()
    first = distort(photo, kind, seed=7)
    assert np.array_equal(first, distort(photo, kind, DEFAULT_SEVERITY, 7))
    assert not np.array_equal(first, photo)
    assert np.array_equal(before, photo)


@pytest.mark.parametrize("kind", RANDOM)
def test_another_seed_gives_another_picture(kind: str, photo: Pixels) -> None:
    assert not np.array_equal(distort(photo, kind, seed=1), distort(photo, kind, seed=2))


def test_another_process_gives_the_same_pictures(photo: Pixels, tmp_path: Path) -> None:
    np.save(tmp_path / "photo.npy", photo)
    code = """
import hashlib, sys, numpy
from facedb.training.distortions import KINDS, distort
photo = numpy.load(sys.argv[1])
print(hashlib.sha256(b"".join(distort(photo, k, seed=-5).tobytes() for k in KINDS)).hexdigest())
"""
    command = [sys.executable, "-c", code, str(tmp_path / "photo.npy")]
    there = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    here = b"".join(distort(photo, kind, seed=-5).tobytes() for kind in KINDS)
    assert there.strip() == hashlib.sha256(here).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (37, 16), (113, 250)])
def test_shape_and_dtype_are_kept(kind: str, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for severity in SEVERITIES:
        distorted = distort(pixels, kind, severity)
        assert distorted.shape == pixels.shape
        assert distorted.dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_severity_changes_more(kind: str, photo: Pixels) -> None:
    changes = [change(photo, distort(photo, kind, severity, 3)) for severity in SEVERITIES]
    assert changes == sorted(set(changes))


# resized takes a share of the pixels there are: what is lost hangs on how many there were.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "resized"])
def test_a_small_photo_looks_like_a_large_one(kind: str, photo: Pixels) -> None:
    """Distorted small, or distorted large and made small: about the same change."""

    def resized(pixels: Pixels, side: int) -> Pixels:
        return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX))

    large = np.asarray(Image.fromarray(photo).resize((250, 250)))
    small = resized(large, 125)
    direct = change(small, distort(small, kind, seed=4))
    through = change(small, resized(distort(large, kind, seed=4), 125))
    # The change is what is compared, and not the bytes: noise, for one, is drawn per size.
    assert direct == pytest.approx(through, rel=0.35)


def test_the_picture_is_what_its_name_says(photo: Pixels) -> None:
    assert distort(photo, "lowlight").mean() < 0.5 * photo.mean()
    assert distort(photo, "foggy").std() < 0.6 * photo.std()
    assert (distort(photo, "sunny") > 235).all(axis=2).mean() > 0.1
    assert distort(photo, "sunny").mean() > photo.mean()


def test_what_is_unknown_is_named(photo: Pixels) -> None:
    with pytest.raises(InputError, match=r"snowy.*blurred, foggy"):
        distort(photo, "snowy")
    for severity in (0, 6):
        with pytest.raises(InputError, match=f"foggy: no severity {severity}"):
            distort(photo, "foggy", severity)
    for wrong in (photo[..., 0], photo.astype(np.float32), photo[:0]):
        with pytest.raises(InputError, match="is not uint8"):
            distort(wrong, "foggy")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists and photos laid out like the shared data, of people who do not exist."""
    top = tmp_path_factory.mktemp("shared")
    lists = top / "data" / "facecom"
    lists.mkdir(parents=True)
    names = []
    for number, file in enumerate(SAMPLES):
        name = f"Person{number}/Person{number}_0001"
        photo = top / "data" / "lfw" / "images" / f"{name}.webp"
        photo.parent.mkdir(parents=True)
        Image.fromarray(load_photo(file).pixels).resize((64, 64)).save(photo, lossless=True)
        names.append(name)
    (lists / "train.txt").write_text("\n".join(names[:2]) + "\n")
    (lists / "val.txt").write_text(names[2] + "\n")
    return top


def make(shared: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "scripts" / "make_facecom.py")
    command = [sys.executable, script, "--out", str(out), "--shared", str(shared), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, "--size", "64"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


def tree(top: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(top)): file.read_bytes() for file in top.rglob("*") if file.is_file()
    }


@pytest.fixture(scope="module")
def layout(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("layout") / "facecom"
    run = make(shared, out, "--jobs", "2")
    assert run.returncode == 0, run.stderr
    return out


def test_the_layout(layout: Path) -> None:
    expected = {"train.json", "val.json"}
    for part, person in (("train", "Person0"), ("train", "Person1"), ("val", "Person2")):
        expected.add(f"{part}/{person}/{person}_0001.jpg")
        expected |= {f"{part}/{person}/distortion/{person}_0001_{kind}.jpg" for kind in KINDS}
    assert set(tree(layout)) == expected
    with Image.open(layout / "train" / "Person0" / "Person0_0001.jpg") as clean:
        assert clean.size == (64, 64)
    assert json.loads((layout / "train.json").read_text())["severity"] == DEFAULT_SEVERITY


def test_a_layout_that_was_cut_off_is_completed_to_the_same_bytes(
    shared: Path, layout: Path, tmp_path: Path
) -> None:
    whole = tree(layout)
    again = tmp_path / "again"
    shutil.copytree(layout, again)
    shutil.rmtree(again / "train" / "Person1")
    torn = again / "train" / "Person0" / "distortion" / "Person0_0001_rainy.jpg"
    torn.write_bytes(torn.read_bytes()[:500])
    kept = again / "val" / "Person2" / "Person2_0001.jpg"
    age = kept.stat().st_mtime_ns
    run = make(shared, again, "--jobs", "1")
    assert run.returncode == 0, run.stderr
    assert "train: 2 photos, 9 files written" in run.stdout
    assert tree(again) == whole
    assert kept.stat().st_mtime_ns == age


def test_drawn_distortions_are_some_of_all(shared: Path, layout: Path, tmp_path: Path) -> None:
    run = make(shared, tmp_path / "some", "--drawn", "2", "--list", "train", "--jobs", "1")
    assert run.returncode == 0, run.stderr
    some, whole = tree(tmp_path / "some"), tree(layout)
    assert sum("distortion" in name for name in some) == 2 * 2
    assert not any(name.startswith("val") for name in some)
    del some["train.json"]
    assert some.items() <= whole.items()


def test_other_options_do_not_mix_into_a_layout(shared: Path, layout: Path) -> None:
    before = tree(layout)
    run = make(shared, layout, "--severity", "1")
    assert run.returncode == 1
    assert "other options" in run.stderr
    assert tree(layout) == before


def test_a_folder_of_somebody_else_is_left_alone(
    shared: Path, layout: Path, tmp_path: Path
) -> None:
    shutil.copytree(layout / "train", tmp_path / "train")
    before = tree(tmp_path)
    run = make(shared, tmp_path, "--drawn", "2")
    assert run.returncode == 1
    assert f"{tmp_path / 'train'}: holds files" in run.stderr
    assert tree(tmp_path) == before


def test_what_is_missing_is_named(shared: Path, tmp_path: Path) -> None:
    broken = tmp_path / "shared"
    shutil.copytree(shared, broken)
    gone = broken / "data" / "lfw" / "images" / "Person2" / "Person2_0001.webp"
    gone.unlink()
    run = make(broken, tmp_path / "out")
    assert run.returncode == 1
    assert f"{gone}: no such photo" in run.stderr
    (broken / "data" / "facecom" / "train.txt").unlink()
    run = make(broken, tmp_path / "out")
    assert run.returncode == 1
    assert "train.txt: no such list" in run.stderr
    assert not (tmp_path / "out").exists()
