"""photos.py: every format upright with its sha256, every bad file with its reason, the walks."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import photos_maker as maker
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from facedb.errors import InputError, PhotoError
from facedb.photos import (
    Refusal,
    as_photo,
    load_photo,
    photo_from_array,
    reasons,
    walk_people,
    walk_photos,
)
from facedb.types import Photo

LOSSLESS: dict[str, dict[str, Any]] = {
    "png": {},
    "webp": {"lossless": True},
    "tif": {},
    "bmp": {},
    "ppm": {},
    "jp2": {},
}
LOSSY = ["jpg", "gif", *(["avif"] if features.check("avif") else [])]


def reason_of(path: Path) -> str:
    with pytest.raises(PhotoError) as caught:
        load_photo(path)
    assert caught.value.path == str(path)
    return caught.value.reason


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextmanager
def nobody() -> Iterator[None]:
    """Root may read everything, so that root's tests of denied files drop their rights."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


# Formats


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_a_lossless_file_gives_its_pixels_size_and_hash(tmp_path: Path, suffix: str) -> None:
    file = maker.save(tmp_path / f"photo.{suffix}", **LOSSLESS[suffix])
    photo = load_photo(file)
    assert np.array_equal(photo.pixels, maker.scene())
    assert (photo.width, photo.height) == (96, 64)
    assert photo.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert photo.path == str(file)


@pytest.mark.parametrize("suffix", LOSSY)
def test_a_lossy_file_gives_nearly_its_pixels(tmp_path: Path, suffix: str) -> None:
    photo = load_photo(maker.save(tmp_path / f"photo.{suffix}"))
    assert photo.pixels.dtype == np.uint8
    assert difference(photo.pixels, maker.scene()) < 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", *LOSSY[2:]])
def test_every_exif_orientation_comes_upright(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    stored = maker.stored_for(maker.scene(), orientation)
    file = maker.save(tmp_path / f"p.{suffix}", stored, orientation, **LOSSLESS.get(suffix, {}))
    photo = load_photo(file)
    assert difference(photo.pixels, maker.scene()) < (0.1 if suffix in LOSSLESS else 6)
    assert (photo.width, photo.height) == (96, 64)


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_an_orientation_that_means_nothing_is_ignored(tmp_path: Path, orientation: int) -> None:
    file = maker.save(tmp_path / "p.png", None, orientation)
    assert np.array_equal(load_photo(file).pixels, maker.scene())


@pytest.mark.parametrize("exif", [b"rubbish", b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_a_photo_with_damaged_exif_is_read(tmp_path: Path, exif: bytes) -> None:
    file = maker.save(tmp_path / "p.jpg", exif=exif)
    assert difference(load_photo(file).pixels, maker.scene()) < 6


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "LA", "PA"])
def test_every_pixel_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    source = Image.fromarray(maker.scene())
    image = source.convert("RGBA").convert(mode) if mode in ("LA", "PA") else source.convert(mode)
    image.save(tmp_path / "p.tif")
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(load_photo(tmp_path / "p.tif").pixels, expected)


def test_a_cmyk_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    Image.fromarray(maker.scene()).convert("CMYK").save(tmp_path / "p.jpg", quality=95)
    assert difference(load_photo(tmp_path / "p.jpg").pixels, maker.scene()) < 8


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    grey = maker.scene()[..., 2]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / f"p.{suffix}")
    expected = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(load_photo(tmp_path / f"p.{suffix}").pixels, expected)


def test_a_dark_16_bit_photo_stays_dark(tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 32), 2570, np.uint16)).save(tmp_path / "p.png")
    assert np.unique(load_photo(tmp_path / "p.png").pixels).tolist() == [10]


@pytest.mark.parametrize("full", [1.0, 255.0])
def test_floating_point_tiff_is_scaled_by_its_range(tmp_path: Path, full: float) -> None:
    grey = maker.scene()[..., 0]
    values = grey.astype(np.float32) / 255 * full
    Image.fromarray(values).save(tmp_path / "p.tif")
    assert np.array_equal(load_photo(tmp_path / "p.tif").pixels[..., 1], grey)


def test_not_a_number_in_a_floating_point_tiff_is_black(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), np.nan, np.float32)).save(tmp_path / "p.tif")
    assert load_photo(tmp_path / "p.tif").pixels.max() == 0


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    alpha = np.zeros((64, 96, 1), np.uint8)
    alpha[:, 48:] = 255
    Image.fromarray(np.concatenate([maker.scene(), alpha], axis=2)).save(tmp_path / "p.png")
    pixels = load_photo(tmp_path / "p.png").pixels
    assert pixels[:, :48].min() == 255
    assert np.array_equal(pixels[:, 48:], maker.scene()[:, 48:])


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat([[0], [1]], 16, axis=0).repeat(32, axis=1).astype(np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "p.png", transparency=0)
    pixels = load_photo(tmp_path / "p.png").pixels
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[31, 31].tolist() == [40, 50, 60]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_the_first_frame_of_an_animation_counts(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(maker.scene(seed=seed)) for seed in range(3)]
    options = LOSSLESS.get(suffix, {})
    frames[0].save(tmp_path / f"p.{suffix}", save_all=True, append_images=frames[1:], **options)
    pixels = load_photo(tmp_path / f"p.{suffix}").pixels
    assert difference(pixels, maker.scene(seed=0)) < difference(pixels, maker.scene(seed=1)) / 4


def test_a_jpeg_with_more_pictures_behind_is_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(maker.scene(640, 480, seed)) for seed in range(2)]
    frames[0].save(tmp_path / "p.mpo", save_all=True, append_images=frames[1:])
    photo = load_photo(tmp_path / "p.mpo", 320)
    assert (photo.width, photo.height, photo.pixels.shape) == (640, 480, (240, 320, 3))


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    maker.save(tmp_path / "p.png").rename(tmp_path / "p.jpg")
    assert np.array_equal(load_photo(tmp_path / "p.jpg").pixels, maker.scene())


def test_heic_is_read_with_the_extra(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra [heic] is not installed")
    stored = Image.fromarray(maker.stored_for(maker.scene(), 6))
    exif = Image.Exif()
    exif[maker.ORIENTATION] = 6
    file = tmp_path / "p.heic"
    heif.from_pillow(stored).save(file, exif=exif.tobytes(), quality=95)
    photo = load_photo(file)
    assert (photo.width, photo.height) == (96, 64)
    assert difference(photo.pixels, maker.scene()) < 8


def test_heic_without_the_extra_names_the_line_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "p.heic").write_bytes(maker.heic_stub())
    assert reason_of(tmp_path / "p.heic") == "HEIC needs: pip install '.[heic]'"


@pytest.mark.parametrize("name", ["Zoë Å.png", "李小龙.png", "محمد.png", "😀 a'b.png", "-k.png"])
def test_names_in_any_script(tmp_path: Path, name: str) -> None:
    assert load_photo(maker.save(tmp_path / name)).path.endswith(name)


# Large photos


@pytest.mark.parametrize(
    ("suffix", "size", "detail", "decoded"),
    [
        ("jpg", (800, 600), 400, (400, 300)),
        ("jpg", (800, 600), 401, (800, 600)),
        ("jpg", (801, 601), 200, (201, 151)),
        ("jpg", (600, 800), 200, (150, 200)),
        ("png", (800, 600), 400, (400, 300)),
        ("png", (800, 600), 401, (800, 600)),
        ("png", (601, 801), 200, (151, 201)),
    ],
)
def test_a_large_photo_is_decoded_at_a_fraction(
    tmp_path: Path, suffix: str, size: tuple[int, int], detail: int, decoded: tuple[int, int]
) -> None:
    scene = maker.scene(*size)
    photo = load_photo(maker.save(tmp_path / f"p.{suffix}", scene), detail)
    assert (photo.width, photo.height) == size
    assert photo.pixels.shape == (decoded[1], decoded[0], 3)
    smaller = np.asarray(Image.fromarray(scene).resize(decoded, Image.Resampling.BOX))
    assert difference(photo.pixels, smaller) < 4


def test_a_fraction_of_a_turned_photo_is_upright(tmp_path: Path) -> None:
    stored = maker.stored_for(maker.scene(800, 600), 6)
    photo = load_photo(maker.save(tmp_path / "p.jpg", stored, 6), 200)
    assert (photo.width, photo.height) == (800, 600)
    assert photo.pixels.shape == (150, 200, 3)
    assert difference(photo.pixels, maker.scene(800, 600)[::4, ::4]) < 6


def test_a_photo_that_pillow_warns_of_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64 - 1)
    assert load_photo(maker.save(tmp_path / "p.png")).width == 96


# Bad files


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_bytes_of_a_file_are_the_photo_that_the_file_is(
    tmp_path: Path, orientation: int
) -> None:
    stored = maker.stored_for(maker.scene(), orientation)
    file = maker.save(tmp_path / "p.png", stored, orientation)
    expected = load_photo(file)
    with open(file, "rb") as stream:
        for given in (file.read_bytes(), stream, io.BytesIO(file.read_bytes())):
            photo = as_photo(given)
            assert np.array_equal(photo.pixels, expected.pixels)
            assert (photo.sha256, photo.width) == (expected.sha256, expected.width)


def test_bad_bytes_have_the_reasons_of_bad_files(tmp_path: Path) -> None:
    for file, reason in maker.bad_files(tmp_path).items():
        if not file.is_symlink():
            with pytest.raises(PhotoError) as caught:
                as_photo(file.read_bytes())
            assert caught.value.reason == reason


def test_every_bad_file_has_its_reason(tmp_path: Path) -> None:
    expected = maker.bad_files(tmp_path)
    assert {file: reason_of(file) for file in expected} == expected
    assert set(expected.values()) <= set(reasons.REASONS)


@pytest.mark.parametrize("side", [13_300, 14_000, 1_000_000])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "p.png").write_bytes(maker.bomb(side))
    assert reason_of(tmp_path / "p.png") == reasons.BOMB


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("seed", range(8))
def test_flipped_bytes_give_a_photo_or_a_reason(tmp_path: Path, kind: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    data = bytearray(maker.encoded(kind))
    for position in generator.integers(0, len(data), 12):
        data[position] = generator.integers(0, 256)
    (tmp_path / "p").write_bytes(data)
    try:
        outcome = load_photo(tmp_path / "p").pixels.dtype.name
    except PhotoError as error:
        outcome = error.reason
    assert outcome in ("uint8", *reasons.REASONS)


def test_what_is_no_file_has_its_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason_of(tmp_path / "nowhere.jpg") == reasons.MISSING
    assert reason_of(tmp_path) == reasons.FOLDER
    assert reason_of(tmp_path / "pipe.jpg") == reasons.SPECIAL
    assert reason_of(tmp_path / "a\0b.jpg") == reasons.UNREADABLE
    assert reason_of(maker.save(tmp_path / "p.png") / "below.jpg") == reasons.MISSING


def test_a_file_too_large_to_be_a_photo_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "p.jpg", "wb") as file:
        file.truncate(600 << 20)
    assert reason_of(tmp_path / "p.jpg") == reasons.HUGE_FILE


def test_a_file_that_may_not_be_read(public: Path) -> None:
    file, other = maker.save(public / "p.png"), maker.save(public / "q.png")
    file.chmod(0)
    with nobody():
        assert reason_of(file) == reasons.DENIED
        assert load_photo(other).width == 96


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_what_is_not_permitted_is_denied(code: int) -> None:
    assert reasons.reason_of(PermissionError(code, os.strerror(code))) == reasons.DENIED


def test_the_message_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"nowhere\.jpg: no such file$"):
        load_photo(tmp_path / "nowhere.jpg")


# Arrays


def test_an_array_is_a_photo() -> None:
    scene = maker.scene()
    photo = photo_from_array(scene, "camera")
    assert (photo.path, photo.width, photo.height) == ("camera", 96, 64)
    assert np.array_equal(photo.pixels, scene)
    assert photo.sha256 == photo_from_array(scene[:, ::1].copy()).sha256
    assert photo.sha256 != photo_from_array(scene.reshape(96, 64, 3)).sha256
    assert photo.sha256 != photo_from_array(scene[::-1]).sha256


def test_a_grey_array_becomes_rgb() -> None:
    grey = maker.scene()[..., 0]
    assert np.array_equal(photo_from_array(grey).pixels, np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((64, 64, 3), np.float32), reasons.NOT_PIXELS),
        (np.zeros((64, 64, 4), np.uint8), reasons.NOT_PIXELS),
        (np.zeros(64, np.uint8), reasons.NOT_PIXELS),
        (np.zeros((64, 0, 3), np.uint8), reasons.TOO_SMALL),
        (np.zeros((15, 64), np.uint8), reasons.TOO_SMALL),
    ],
)
def test_an_array_that_is_no_photo(pixels: NDArray[Any], reason: str) -> None:
    with pytest.raises(PhotoError) as caught:
        photo_from_array(pixels)
    assert caught.value.reason == reason


# A folder of people


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def entries_of(folder: Path) -> list[tuple[str, str]]:
    return [(who, os.path.relpath(path, folder)) for who, path in walk_people(folder).entries]


def skipped_of(folder: Path) -> dict[str, str]:
    return {os.path.relpath(item.path, folder): item.reason for item in walk_people(folder).skipped}


def test_a_person_per_folder_and_nothing_is_moved(tmp_path: Path) -> None:
    for name in (
        *("bob/2.JPG", "bob/10.png"),
        *("ann/distortion/a_blurred.jpg", "ann/a.webp", "ann/Album/z.jpg"),
    ):
        touch(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    assert entries_of(tmp_path) == [
        ("ann", "ann/Album/z.jpg"),
        ("ann", "ann/a.webp"),
        ("ann", "ann/distortion/a_blurred.jpg"),
        ("bob", "bob/10.png"),
        ("bob", "bob/2.JPG"),
    ]
    assert skipped_of(tmp_path) == {}
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_left_out_is_listed_unless_hidden(tmp_path: Path) -> None:
    for name in (
        "ann/a.jpg", "ann/notes.txt", "ann/noext", "flat.jpg", "labels.csv",
        ".git/x.jpg", "ann/.a.jpg.swp", "ann/.thumbs/a.jpg", "ann/Thumbs.db", "__MACOSX/ann/a.jpg",
        ".DS_Store", "texts/readme.md",
    ):  # fmt: skip
        touch(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert entries_of(tmp_path) == [("ann", "ann/a.jpg")]
    assert skipped_of(tmp_path) == {
        "ann/notes.txt": reasons.NOT_A_PHOTO,
        "ann/noext": reasons.NOT_A_PHOTO,
        "empty": reasons.NO_PHOTOS,
        "flat.jpg": reasons.NO_PERSON,
        "labels.csv": reasons.NOT_A_PHOTO,
        "texts/readme.md": reasons.NOT_A_PHOTO,
    }


def test_a_name_is_one_person_however_it_is_composed(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        touch(tmp_path / unicodedata.normalize(form, "Zoë Ångström") / f"{form}.jpg")
    touch(tmp_path / "李_小龙" / "a.jpg")
    names = {who for who, _ in walk_people(tmp_path).entries}
    assert names == {unicodedata.normalize("NFC", "Zoë Ångström"), "李_小龙"}
    assert len(walk_people(tmp_path).entries) == 3
    assert all(os.path.exists(path) for _, path in walk_people(tmp_path).entries)


def test_links_are_followed_and_loops_cut(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    touch(elsewhere / "album" / "c.jpg")
    people = tmp_path / "people"
    touch(people / "ann" / "a.jpg")
    touch(people / "ann" / "more" / "b.jpg")
    (people / "carl").symlink_to(elsewhere / "album")
    (people / "ann" / "linked.jpg").symlink_to(elsewhere / "album" / "c.jpg")
    (people / "ann" / "again").symlink_to(people / "ann" / "more")
    (people / "ann" / "more" / "up").symlink_to(people / "ann")
    (people / "ann" / "top").symlink_to(people)
    (people / "ann" / "self.jpg").symlink_to("self.jpg")
    (people / "ann" / "gone.jpg").symlink_to("nowhere.jpg")
    (people / "round").symlink_to("round")
    assert entries_of(people) == [
        ("ann", "ann/a.jpg"),
        ("ann", "ann/linked.jpg"),
        ("ann", "ann/more/b.jpg"),
        ("carl", "carl/c.jpg"),
    ]
    assert skipped_of(people) == {
        "ann/gone.jpg": reasons.MISSING,
        "ann/more/up": reasons.SYMLINK_LOOP,
        "ann/self.jpg": reasons.SYMLINK_LOOP,
        "ann/top": reasons.SYMLINK_LOOP,
        "round": reasons.SYMLINK_LOOP,
    }


def test_a_folder_that_may_not_be_read_is_listed(public: Path) -> None:
    touch(public / "ann" / "a.jpg")
    touch(public / "bob" / "b.jpg")
    (public / "bob").chmod(0)
    with nobody():
        walk = walk_people(public)
    assert [who for who, _ in walk.entries] == ["ann"]
    assert walk.skipped == [Refusal(str(public / "bob"), reasons.DENIED)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are bytes")
def test_a_name_of_broken_bytes_is_listed_in_print(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/ann\xff")
    touch(tmp_path / "bob" / "b.jpg")
    with open(os.fsencode(tmp_path) + b"/bob/\xe9.jpg", "wb"):
        pass
    walk = walk_people(tmp_path)
    assert [who for who, _ in walk.entries] == ["bob"]
    assert [(Path(item.path).name, item.reason) for item in walk.skipped] == [
        (r"ann\xff", reasons.BAD_NAME),
        (r"\xe9.jpg", reasons.BAD_NAME),
    ]


@pytest.mark.parametrize("name", ["nowhere", "file.jpg"])
def test_what_is_no_folder_of_people(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "file.jpg")
    with pytest.raises(InputError, match=name):
        walk_people(tmp_path / name)


# Photos to query


def test_files_and_folders_come_in_the_order_given(tmp_path: Path) -> None:
    for name in ("album/b.jpg", "album/a.jpg", "album/deep/c.png", "album/x.txt", "one.dat"):
        touch(tmp_path / name)
    walk = walk_photos([tmp_path / "one.dat", tmp_path / "album", tmp_path / "gone.jpg"])
    names = [os.path.relpath(path, tmp_path) for path in walk.paths]
    assert names == ["one.dat", "album/a.jpg", "album/b.jpg", "album/deep/c.png", "gone.jpg"]
    assert walk.skipped == [Refusal(str(tmp_path / "album" / "x.txt"), reasons.NOT_A_PHOTO)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are bytes")
def test_a_photo_named_in_broken_bytes_is_skipped(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.jpg")
    assert walk_photos([name]).skipped == [Refusal(r"\xff.jpg", reasons.BAD_NAME)]


def test_importing_it_loads_no_opencv() -> None:
    code = "import sys, facedb.photos; sys.exit('cv2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


class Dribble(io.RawIOBase):
    """A stream that gives a thousand bytes at a time, as a pipe may."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def read(self, size: int = -1) -> bytes:
        part, self._rest = self._rest[:1000], self._rest[1000:]
        return part


def test_a_stream_that_comes_in_parts(tmp_path: Path) -> None:
    file = maker.save(tmp_path / "a.bmp", maker.scene(64, 48, 3))
    assert len(file.read_bytes()) > 2000
    np.testing.assert_array_equal(
        as_photo(Dribble(file.read_bytes())).pixels, load_photo(file).pixels
    )
    with pytest.raises(InputError, match="gives str is no photo"):
        as_photo(io.StringIO("text"))


def test_pixels_in_a_matrix_are_pixels() -> None:
    grey = np.arange(400, dtype=np.uint8).reshape(20, 20)
    photo = photo_from_array(grey.view(np.matrix))
    assert type(photo.pixels) is np.ndarray
    assert np.array_equal(photo.pixels, np.stack([grey] * 3, axis=2))


def test_a_stream_that_breaks_and_a_photo_that_is_too_small() -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise ConnectionResetError("gone")

    closed = io.BytesIO(b"bytes")
    closed.close()
    for stream in (Broken(), closed):
        with pytest.raises(PhotoError, match="stream: cannot be read"):
            as_photo(stream)
    small = Photo("small", np.zeros((0, 0, 3), np.uint8), "", 0, 0)
    with pytest.raises(PhotoError, match="small: smaller than 16 pixels"):
        as_photo(small)


def test_a_raw_photo_that_is_named_is_called_one(tmp_path: Path) -> None:
    file = tmp_path / "IMG_0001.CR2"
    file.write_bytes(b"II*\0\x10\0\0\0CR\2\0" + bytes(500))
    with pytest.raises(PhotoError, match=r"IMG_0001.CR2: a raw photo.*export a JPEG"):
        load_photo(file)
    file.write_bytes(b"")
    with pytest.raises(PhotoError, match="empty file"):
        load_photo(file)
