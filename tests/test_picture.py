"""What `query --picture` draws, found again in the pixels of the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor

from facedb.errors import InputError, PhotoError
from facedb.picture import (
    ACCEPTED,
    MOST_CANDIDATES,
    MOST_ROWS,
    NOT_DECIDED,
    NOT_IDENTIFIED,
    draw_answer,
)
from facedb.types import Box, Candidate, Identification, PhotoAnswer

PROBE, FACE = "#808000", "#ffc0cb"
GALLERY = ["#0000ff", "#ff00ff", "#00ffff", "#ffff00"]
WHOLE: Box = (0, 0, 160, 160)
FACE_BOX: Box = (100, 60, 80, 100)

Pixels = NDArray[np.uint8]


def flat(path: Path, colour: str, size: tuple[int, int] = (160, 160)) -> str:
    Image.new("RGB", size, colour).save(path, quality=100)
    return str(path)


@pytest.fixture
def probe(tmp_path: Path) -> str:
    image = Image.new("RGB", (400, 300), PROBE)
    x, y, width, height = (int(value) for value in FACE_BOX)
    image.paste(FACE, (x, y, x + width, y + height))
    image.save(tmp_path / "probe.png")
    return str(tmp_path / "probe.png")


@pytest.fixture
def candidates(tmp_path: Path) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            f"Person {number}",
            0.8 + 0.2 * number,
            number,
            flat(tmp_path / f"{number}.png", colour),
            WHOLE,
        )
        for number, colour in enumerate(GALLERY)
    )


def answered(
    candidates: tuple[Candidate, ...], threshold: float | None = 1.0, box: Box = FACE_BOX
) -> Identification:
    accepted = candidates and threshold is not None and candidates[0].distance <= threshold
    return Identification(
        candidates[0].identity if accepted else None, threshold, candidates, box, 0.9
    )


def drawn(file: Path, path: str, *faces: Identification) -> Pixels:
    draw_answer(PhotoAnswer(path, None, faces), str(file))
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def of_colour(pixels: Pixels, colour: str) -> NDArray[np.bool_]:
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return np.asarray((np.abs(pixels.astype(int) - wanted) <= 2).all(axis=2))


def place(pixels: Pixels, colour: str) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what has the colour; all inside."""
    rows, columns = np.nonzero(of_colour(pixels, colour))
    assert len(rows), f"nothing is {colour}"
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def frame_of(pixels: Pixels, colour: str) -> Pixels:
    """The column of pixels just left of a flat thumbnail, at its middle third."""
    left, top, right, _ = place(pixels, colour)
    third = (right - left) // 3
    return pixels[top + third : top + 2 * third, left - 3 : left - 2]


def share(pixels: Pixels, colour: str) -> float:
    return float(of_colour(pixels, colour).mean())


def test_accepted_person_is_framed_and_the_others_are_not(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...]
) -> None:
    pixels = drawn(tmp_path / "out.png", probe, answered(candidates))
    assert share(frame_of(pixels, GALLERY[0]), ACCEPTED) == 1.0
    for colour in GALLERY[1:]:
        assert share(frame_of(pixels, colour), ACCEPTED) == 0.0
    assert share(pixels, NOT_IDENTIFIED) == 0.0


def test_candidates_stand_in_order_right_of_the_photo_as_squares(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...]
) -> None:
    pixels = drawn(tmp_path / "out.png", probe, answered(candidates, 0.1))
    lefts = [place(pixels, colour)[0] for colour in GALLERY]
    photo = place(pixels[:, : lefts[0] // 2], PROBE)
    assert lefts == sorted(lefts)
    assert photo[2] < lefts[0]
    for colour in GALLERY:
        left, top, right, bottom = place(pixels, colour)
        assert right - left == bottom - top > 100


def test_stranger_has_no_accepted_colour_anywhere(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...]
) -> None:
    pixels = drawn(tmp_path / "out.png", probe, answered(candidates, 0.7))
    assert share(pixels, NOT_IDENTIFIED) > 0
    assert share(pixels, ACCEPTED) == 0


def test_without_a_threshold_nothing_is_accepted_or_refused(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...]
) -> None:
    pixels = drawn(tmp_path / "out.png", probe, answered(candidates, None))
    assert share(pixels, NOT_DECIDED) > 0
    assert share(pixels, ACCEPTED) == share(pixels, NOT_IDENTIFIED) == 0


def test_threshold_of_zero_is_a_threshold(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...]
) -> None:
    same = (replace(candidates[0], distance=0.0), *candidates[1:])
    assert share(drawn(tmp_path / "same.png", probe, answered(same, 0.0)), ACCEPTED) > 0
    assert share(drawn(tmp_path / "other.png", probe, answered(candidates, 0.0)), ACCEPTED) == 0


@pytest.mark.parametrize("size", [(400, 300), (4000, 3000), (3000, 4000), (100, 100), (60, 900)])
def test_box_lies_where_the_face_is_at_any_size(
    tmp_path: Path, candidates: tuple[Candidate, ...], size: tuple[int, int]
) -> None:
    width, height = size
    path = flat(tmp_path / "photo.jpg", PROBE, size)
    box: Box = (0.25 * width, 0.4 * height, 0.5 * width, 0.3 * height)
    pixels = drawn(tmp_path / "out.png", path, answered(candidates[:1], box=box))
    left, top, right, bottom = place(pixels[:, : place(pixels, GALLERY[0])[0] - 250], PROBE)
    across, down = right - left + 1, bottom - top + 1
    assert across / down == pytest.approx(width / height, rel=0.05)
    edge = place(pixels[top : top + round(0.69 * down), left : right + 1], ACCEPTED)
    assert edge[2] >= 0.75 * across - 3
    column = np.nonzero(of_colour(pixels[:, left + round(0.5 * across)][:, None], ACCEPTED))[0]
    assert column.max() - top == pytest.approx(0.7 * down, abs=3)
    row = np.nonzero(of_colour(pixels[top + round(0.55 * down)][None, : right + 1], ACCEPTED))[1]
    assert row.min() - left == pytest.approx(0.25 * across, abs=3)
    assert row.max() - left == pytest.approx(0.75 * across, abs=3)


def test_the_face_is_cut_from_the_probe_and_from_the_gallery_photo(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...]
) -> None:
    group = replace(candidates[0], photo=probe, box=FACE_BOX)
    pixels = drawn(tmp_path / "out.png", probe, answered((group, *candidates[1:3])))
    first, second = (place(pixels, colour)[0] for colour in GALLERY[1:3])
    cell = pixels[:, 2 * first - second : first - 8]
    left, top, right, bottom = place(cell, FACE)
    assert (bottom - top) / (right - left) == pytest.approx(FACE_BOX[3] / FACE_BOX[2], rel=0.05)
    assert 0.6 * cell.shape[1] < bottom - top < 0.85 * cell.shape[1]
    assert share(cell, PROBE) > 0


@pytest.mark.parametrize("photo", ["gone", "", "text", "small"])
def test_gallery_photo_that_cannot_be_shown_is_a_silhouette(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...], photo: str
) -> None:
    (tmp_path / "text").write_text("not an image")
    flat(tmp_path / "small.png", GALLERY[0], (20, 20))
    paths = {"": "", "small": str(tmp_path / "small.png")}
    lost = replace(candidates[0], photo=paths.get(photo, str(tmp_path / photo)))
    whole = drawn(tmp_path / "whole.png", probe, answered(candidates))
    pixels = drawn(tmp_path / "out.png", probe, answered((lost, *candidates[1:])))
    assert pixels.shape == whole.shape
    assert share(pixels, GALLERY[0]) == 0
    assert share(pixels, ACCEPTED) == pytest.approx(share(whole, ACCEPTED), rel=0.1)


def test_no_face_and_no_gallery(tmp_path: Path, probe: str) -> None:
    faceless = drawn(tmp_path / "faceless.png", probe)
    assert share(faceless, PROBE) > 0.2
    assert share(faceless, ACCEPTED) == share(faceless, NOT_IDENTIFIED) == 0
    empty = drawn(tmp_path / "empty.png", probe, answered(()))
    assert share(empty, NOT_IDENTIFIED) > 0
    assert empty.shape[1] > faceless.shape[1]


def test_many_faces_and_many_people_are_capped(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...]
) -> None:
    def size(faces: int, people: int) -> tuple[int, int]:
        some = (candidates * people)[:people]
        boxes = [(10.0 + 30 * number, 50.0, 25.0, 25.0) for number in range(faces)]
        found = [answered(some, box=box) for box in boxes]
        height, width, _ = drawn(tmp_path / "out.png", probe, *found).shape
        return width, height

    assert size(1, 1)[0] < size(1, MOST_CANDIDATES)[0] == size(1, MOST_CANDIDATES + 30)[0] < 3200
    assert size(MOST_ROWS, 2)[1] < size(MOST_ROWS + 1, 2)[1] == size(MOST_ROWS + 4, 2)[1] < 2400


@pytest.mark.parametrize(
    ("size", "faces", "share"), [((2000, 400), 8, 0.9), ((900, 600), 8, 0.8), ((400, 300), 2, 0.4)]
)
def test_a_photo_of_many_has_the_width_to_itself(
    tmp_path: Path, candidates: tuple[Candidate, ...], size: tuple[int, int], faces: int,
    share: float,
) -> None:  # fmt: skip
    """And its rows stand below in two columns, where beside it would be a column far longer."""
    path = flat(tmp_path / "probe.png", PROBE, size)
    five = (candidates * 5)[:5]
    boxes = [(10.0 + size[0] / 10 * number, 50.0, 25.0, 25.0) for number in range(faces)]
    picture = drawn(tmp_path / "out.png", path, *(answered(five, box=box) for box in boxes))
    colour = np.array(ImageColor.getrgb(PROBE))
    there = (np.abs(picture.astype(int) - colour) < 8).all(axis=2)
    across = np.flatnonzero(there.any(axis=0))
    assert (across[-1] - across[0]) / picture.shape[1] == pytest.approx(share, abs=0.1)
    assert picture.shape[0] < 2200


NAMES = [
    "Анна Каренина",
    "宮崎 駿",
    "أحمد",
    "김민수",
    "a\nb\tc",
    "\x07\x00",
    "👩‍🚀",
    "Maximilian " * 30,
    "x" * 255,
    "\udcff",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_of_any_script_and_length_keep_the_layout(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...], name: str
) -> None:
    plain = drawn(tmp_path / "plain.png", probe, answered(candidates))
    named = (replace(candidates[0], identity=name), *candidates[1:])
    pixels = drawn(tmp_path / "out.png", probe, answered(named))
    assert pixels.shape == plain.shape
    for colour in GALLERY[1:]:
        assert place(pixels, colour) == place(plain, colour)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.webp", "WEBP")],
)
def test_suffix_tells_the_format_and_the_same_answer_the_same_bytes(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...], name: str, kind: str
) -> None:
    (tmp_path / "again").mkdir()
    for file in (tmp_path / name, tmp_path / "again" / name):
        drawn(file, probe, answered(candidates))
        with Image.open(file) as image:
            assert image.format == kind
    assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", ["out.gif", "out", ".png", "out.png.txt", ""])
def test_other_suffixes_are_refused_by_name(tmp_path: Path, probe: str, name: str) -> None:
    with pytest.raises(InputError, match=r"a picture is a \.png, \.jpg or \.webp"):
        draw_answer(PhotoAnswer(probe, None, ()), str(tmp_path / name))


def test_folder_that_is_missing_or_cannot_be_written(tmp_path: Path, probe: str) -> None:
    answer = PhotoAnswer(probe, None, ())
    with pytest.raises(InputError, match=r"there is no folder .*nowhere; make it first"):
        draw_answer(answer, str(tmp_path / "nowhere" / "out.png"))
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(InputError, match=r"taken\.png: cannot write here"):
        draw_answer(answer, str(tmp_path / "taken.png"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["probe.png", "taken.png"]


def test_a_photo_is_never_drawn_over(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...]
) -> None:
    for photo in (probe, candidates[2].photo):
        before = Path(photo).read_bytes()
        with pytest.raises(InputError, match="is one of the photos shown"):
            draw_answer(PhotoAnswer(probe, None, (answered(candidates),)), photo)
        assert Path(photo).read_bytes() == before


def test_an_older_picture_is_replaced_only_by_a_whole_one(tmp_path: Path, probe: str) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"older")
    with pytest.raises(PhotoError, match="no such file"):
        draw_answer(PhotoAnswer(str(tmp_path / "gone.png"), None, ()), str(out))
    assert out.read_bytes() == b"older"
    drawn(out, probe)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.png", "probe.png"]


def test_box_past_the_edges_is_held_inside(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...]
) -> None:
    outside: Any = [(-50.0, -60.0, 500.0, 400.0), (390.0, 290.0, 60.0, 60.0), (5.0, 5.0, 0.0, 0.0)]
    pixels = drawn(
        tmp_path / "out.png", probe, *(answered(candidates[:1], box=box) for box in outside)
    )
    assert share(pixels[:, :20], ACCEPTED) == 0


def test_the_confidence_is_said_in_the_heading(
    tmp_path: Path, probe: str, candidates: tuple[Candidate, ...]
) -> None:
    known = (replace(candidates[0], share=0.025), *candidates[1:])
    plain = drawn(tmp_path / "plain.png", probe, answered(candidates))
    said = drawn(tmp_path / "said.png", probe, replace(answered(known), strangers=400))
    rows, columns = np.nonzero((plain != said).any(axis=2))
    assert 8 < np.ptp(rows) < 30  # one line of text
    assert columns.min() > plain.shape[1] // 3  # beside the photo, after "accepted"
