"""training/detector/: the targets, the views, the losses by hand, a run that resumes."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="training needs torch")
onnx = pytest.importorskip("onnx", reason="export needs onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from torch.utils.data import default_collate  # noqa: E402

from facedb.detections import STRIDES  # noqa: E402
from facedb.encoder.bundle import BUNDLED as ENCODER  # noqa: E402
from facedb.encoder.bundle import GRAPH  # noqa: E402
from facedb.errors import DetectorError, InputError, TrainingError  # noqa: E402
from facedb.faces import ScalePolicy  # noqa: E402
from facedb.photos import load_photo  # noqa: E402
from facedb.training.detector import loop, views  # noqa: E402
from facedb.training.detector.hints import Hints  # noqa: E402
from facedb.training.detector.loop import Plan, Run, Views, averaged, train  # noqa: E402
from facedb.training.detector.losses import (  # noqa: E402
    box_loss,
    distillation,
    hint_loss,
    landmark_loss,
)
from facedb.training.detector.material import (  # noqa: E402
    Material,
    gather,
    hold_out,
    keep,
    recall,
)
from facedb.training.detector.network import DetectorNetwork, as_rows  # noqa: E402
from facedb.training.detector.teacher import HINTS, Answers, Teacher, agreed  # noqa: E402
from facedb.training.detector.views import clean_view, cut, placed, worsened  # noqa: E402
from facedb.types import Pixels  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = sorted((ROOT / "data" / "train").glob("*/*.jpg"))[:6]
BUNDLED_GRAPH = ENCODER / GRAPH
NO_HINT = torch.zeros(())
VIEW = ScalePolicy(sides=(64,), least_side=64, rescue_sides=(), threshold=0.5)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def made_teacher(file: Path) -> Path:
    """A model in YuNet's layout that answers the same wherever it looks.

    A cell of stride 16 is sure (cls 0.81, obj 1.0) where the view is white; the others never.
    Channel 3 of the backbone's maps is the view's red, channel 5 of the heads' its blue.
    """
    nodes, weights, outputs = [], [], []

    def constant(name: str, values: object) -> str:
        weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def output(name: str, width: int) -> None:
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, width]))

    for stride in STRIDES:
        pool = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes.append(helper.make_node("AveragePool", ["input"], [f"mean{stride}"], **pool))
        for names, channel, colour in zip(HINTS, (3, 5), (2, 0), strict=True):
            kernel = np.zeros((64, 3, 1, 1), np.float32)
            kernel[channel, colour] = 1
            name = names[STRIDES.index(stride)]
            inputs = [f"mean{stride}", constant(f"k{name}", kernel)]
            nodes.append(helper.make_node("Conv", inputs, [name]))
        for head, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            name = f"{head}_{stride}"
            kernel = np.zeros((width, 3, 1, 1), np.float32)
            bias = np.zeros(width, np.float32)
            if head == "obj" and stride == 16:
                kernel[:] = 1 / 3 / 255
            if head == "cls":
                bias[:] = 0.81
            if head == "bbox":
                bias[:] = [0.5, 0.5, math.log(2), math.log(3)]
            if head == "kps":
                bias[:] = [0.2, 0.1, 0.7, 0.1, 0.5, 0.5, 0.3, 0.9, 0.6, 0.8]
            parts = [constant(f"k{name}", kernel), constant(f"b{name}", bias)]
            nodes += [
                helper.make_node("Conv", [f"mean{stride}", *parts], [f"c{name}"]),
                helper.make_node("Transpose", [f"c{name}"], [f"t{name}"], perm=[0, 2, 3, 1]),
                helper.make_node(
                    "Reshape", [f"t{name}", constant(f"s{name}", [1, -1, width])], [name]
                ),
            ]
            output(name, width)
    pixels = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "h", "w"])
    graph = helper.make_graph(nodes, "teacher", [pixels], outputs, weights)
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), file)
    return file


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_teacher(tmp_path_factory.mktemp("teacher") / "teacher.onnx")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Material:
    plain = [np.full((32, 32, 3), 60, np.uint8)]
    return gather(SAMPLE, plain, teacher)


# The targets


def white_square(side: int, left: int, top: int, size: int) -> Pixels:
    view = np.zeros((side, side, 3), np.uint8)
    view[top : top + size, left : left + size] = 255
    return view


def test_a_cell_is_assigned_what_the_teacher_answers_there(teacher: Path) -> None:
    answers, _ = Teacher(teacher).look(white_square(64, left=32, top=16, size=16))
    # 64 cells of stride 8 and 16 of stride 16 (4 a row), then 4 of stride 32.
    assert answers.shape == (84, 15)
    (face,) = np.flatnonzero(answers[:, 0] > 0)
    assert face == 64 + 1 * 4 + 2
    box = [0.5, 0.5, math.log(2), math.log(3)]
    landmarks = [0.2, 0.1, 0.7, 0.1, 0.5, 0.5, 0.3, 0.9, 0.6, 0.8]
    assert np.allclose(answers[face], [0.9, *box, *landmarks], atol=1e-6)


def answers_of(rows: dict[int, tuple[int, int, float, float]]) -> Answers:
    """Of a view of 64x64 (8x8, 4x4 and 2x2 cells): at a row its column, line, score and error.

    Cells of stride 16 see a box of 32x32 around (32, 24); row 79, the last of them, another one.
    """
    answers = np.zeros((84, 15), np.float32)
    for row, (x, y, score, error) in rows.items():
        centre = (2 - x, 1.5 - y) if row < 64 + 15 else (0.5, 0.5)
        answers[row] = [score, *centre, math.log(2), math.log(2), *[0.25 + error] * 10]
    return answers


def test_cells_that_see_one_face_agree_on_its_landmarks() -> None:
    one, two, other = 64 + 5, 64 + 6, 64 + 15
    answers = answers_of({one: (1, 1, 0.9, 0.0), two: (2, 1, 0.75, 0.3), other: (3, 3, 0.8, 0.7)})
    answers[0] = 0.1  # too little to be a face: left as it is
    changed = agreed(answers, 64, 64)
    assert np.array_equal(changed[:, :5], answers[:, :5])
    assert np.array_equal(changed[[0, other]], answers[[0, other]])
    # x lies at 16 + 4 and at 32 + 8.8 pixels, y at 16 + 4 and 16 + 8.8; weighted 0.9 and 0.75.
    x, y = (0.9 * 20 + 0.75 * 40.8) / 1.65, (0.9 * 20 + 0.75 * 24.8) / 1.65
    assert np.allclose(changed[one, 5:], [x / 16 - 1, y / 16 - 1] * 5, atol=1e-5)
    assert np.allclose(changed[two, 5:], [x / 16 - 2, y / 16 - 1] * 5, atol=1e-5)


def test_doubtful_cells_agree_with_a_sure_one_and_with_each_other_where_there_is_none() -> None:
    one, two = 64 + 5, 64 + 6
    changed = agreed(answers_of({one: (1, 1, 0.9, 0.0), two: (2, 1, 0.6, 0.3)}), 64, 64)
    # The sure cell's points, 20 pixels from the left and from above.
    assert np.allclose(changed[[one, two], 5:7], [[0.25, 0.25], [-0.75, 0.25]], atol=1e-4)
    changed = agreed(answers_of({one: (1, 1, 0.6, 0.0), two: (2, 1, 0.6, 0.3)}), 64, 64)
    assert np.allclose(changed[[one, two], 5:7], [[0.9, 0.4], [-0.1, 0.4]], atol=1e-4)


def test_maps_of_backbone_and_heads_are_given_cell_by_cell(teacher: Path) -> None:
    view = white_square(64, left=32, top=16, size=16)
    view[..., 2] = 7  # blue everywhere
    answers, maps = Teacher(teacher).look(view)
    assert maps.shape == (84, 128)
    cell = 64 + 1 * 4 + 2
    assert (maps[cell, 3], maps[cell + 1, 3]) == (255, 0)
    assert np.all(maps[:, 64 + 5] == 7)
    assert np.count_nonzero(maps[cell]) == 2
    assert len(answers) == len(maps)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    for file in (tmp_path / "no.onnx", SAMPLE[0], BUNDLED_GRAPH):
        with pytest.raises(DetectorError, match=rf"{file.name}: not a YuNet"):
            Teacher(file)
    with pytest.raises(DetectorError, match=r"missing\.onnx: no model there"):
        Teacher(tmp_path / "missing.onnx")


# The views


def test_a_box_is_placed_at_the_size_asked_sometimes_cut_and_flipped_as_often_as_not() -> None:
    box = np.array([30, 40, 20, 50], np.float32)
    flipped = outside = 0
    for seed in range(60):
        matrix = placed(box, side=128, size=25, random=random(seed))
        linear = matrix[:, :2]
        # A similarity that halves: 50 pixels become 25.
        assert np.allclose(linear @ linear.T, np.eye(2) / 4)
        flipped += np.linalg.det(linear) < 0
        centre = linear @ [40, 65] + matrix[:, 2]
        # Half of the box may be outside, no more, and that seldom.
        assert np.all((centre >= 0) & (centre <= 128))
        outside += bool(np.any((centre < 12.5) | (centre > 128 - 12.5)))
    assert 15 < flipped < 45
    assert 5 < outside < 30


def test_a_view_is_cut_as_the_matrix_says() -> None:
    photo = np.zeros((100, 100, 3), np.uint8)
    photo[40:50, 20:30, 0] = 255  # a red mark on the left
    photo[40:50, 70:80, 2] = 255  # a blue one on the right
    turned_over = np.array([[-1.0, 0, 99], [0, 1, 0]])
    view = cut(photo, turned_over, 100, random())
    assert (view[45, 25, 2], view[45, 75, 0]) == (255, 255)
    assert view[45, 25, 0] == 0


def test_some_people_stand_before_others_and_some_are_out_of_focus(material: Material) -> None:
    """What is covered or soft is so before the teacher looks, and the rest of the view is not."""
    view = np.full((96, 96, 3), 200, np.uint8)
    covered = [views._covered(view, material, random(seed)) for seed in range(20)]
    changed = [np.any(one != view, axis=2).mean() for one in covered]
    assert 0.02 < np.median(changed) < 0.9
    assert np.array_equal(covered[3], views._covered(view, material, random(3)))
    edge = white_square(64, 16, 16, 32)
    soft = views._out_of_focus(edge, 2.0)
    assert 100 < soft[32, 16, 0] < 160  # the middle of the slope that was an edge
    assert (soft[32, 32, 0], soft[4, 4, 0]) == (255, 0)
    assert np.array_equal(views._out_of_focus(edge, 0.1), edge)


def test_a_photo_that_shrinks_is_averaged() -> None:
    checks = np.indices((200, 200)).sum(axis=0) % 2 * 255
    photo = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    view = cut(photo, np.array([[0.1, 0, 0], [0, 0.1, 0]]), 20, random())
    assert np.abs(view.astype(int) - 127).max() <= 2


def test_views_are_theirs_by_number_and_differ(material: Material, teacher: Path) -> None:
    one = Views(material, teacher, seed=3, side=64)
    again = Views(material, teacher, seed=3, side=64)
    for number in range(6):
        assert all(map(torch.equal, one[number], again[number]))
    assert not torch.equal(one[0][0], one[1][0])
    assert one[0][0].shape == (3, 64, 64)
    assert one[0][0].dtype == torch.uint8


def test_clean_views_come_again_worsened_otherwise(
    material: Material, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "KEPT", 3)
    monkeypatch.setattr(loop, "REUSED", 2)
    some = Views(material, teacher, seed=3, side=64)
    seen = [some[number] for number in range(9)]
    for number in range(3):
        assert torch.equal(seen[number][1], seen[number + 3][1])
        assert not torch.equal(seen[number][1], seen[number + 6][1])
    assert any(not torch.equal(seen[n][0], seen[n + 3][0]) for n in range(3))
    # What a run that goes on in the middle sees is the same.
    again = Views(material, teacher, seed=3, side=64)
    assert all(map(torch.equal, seen[4], again[4]))


def test_material_is_recalled_as_it_was_kept(material: Material, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prepare"):
        recall(tmp_path)
    keep(material, tmp_path)
    kept = recall(tmp_path)
    for number, file in enumerate(SAMPLE):
        assert np.array_equal(kept.photo(number), load_photo(file).pixels)
    assert np.array_equal(kept.faces, material.faces)
    assert np.array_equal(clean_view(kept, random(1), 64), clean_view(material, random(1), 64))


def people_alone(monkeypatch: pytest.MonkeyPatch, **shares: float) -> None:
    """Views of one person each, as they are."""
    for name in ("PLAIN_VIEW", "PLAIN_TILE", "ANYWHERE", "COVERED", "SOFT", "PADDED"):
        monkeypatch.setattr(views, name, 0.0)
    monkeypatch.setattr(views, "GRIDS", (1,))
    monkeypatch.setattr(views, "MIRRORED", 1.0)
    for name, share in shares.items():
        monkeypatch.setattr(views, name, share)


def photographed(
    photos: Sequence[Pixels], faces: Sequence[Sequence[tuple[float, ...]]]
) -> Material:
    """Photographs, the boxes of the faces in each, and a grey picture without."""
    return Material(
        np.concatenate([photo.ravel() for photo in photos]),
        np.cumsum([0, *(photo.size for photo in photos[:-1])]),
        np.array([photo.shape[:2] for photo in photos]),
        np.array([box for boxes in faces for box in boxes], np.float32),
        np.repeat(np.arange(len(photos)), [len(boxes) for boxes in faces]),
        np.full((1, 8, 8, 3), 60, np.uint8),
    )


def test_who_is_not_the_largest_of_a_photo_is_shown_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos = [np.full((100, 100, 3), level, np.uint8) for level in (40, 200)]
    boxes = [(5, 5, 9, 12), (40, 40, 30, 40), (80, 80, 12, 12)]
    material = photographed(photos, [[(30, 30, 30, 40)], boxes])
    assert material.behind.tolist() == [1, 3]

    def of_the_second(share: float) -> float:
        people_alone(monkeypatch, BEHIND=share)
        shown = [clean_view(material, random(seed), 16, change=0.0) for seed in range(300)]
        return float(np.mean([view[8, 8, 0] == 200 for view in shown]))

    assert of_the_second(0.0) == pytest.approx(0.75, abs=0.08)
    assert of_the_second(0.6) == pytest.approx(0.6 + 0.4 * 0.75, abs=0.08)
    assert of_the_second(1.0) == 1


def test_people_are_often_in_the_middle_and_large(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = np.zeros((300, 300, 3), np.uint8)
    photo[120:180, 80:140] = 255
    material = photographed([photo], [[(80, 120, 60, 60)]])

    def shown(share: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How far from the middle the face is, and its size, in sides of the view."""
        people_alone(monkeypatch, PORTRAIT=share)
        whites = [clean_view(material, random(seed), 96, 0.0)[..., 0] > 127 for seed in range(60)]
        whites = [white for white in whites if white.any()]
        off = [np.abs(np.argwhere(white).mean(axis=0) / 96 - 0.5).max() for white in whites]
        return np.array(off), np.sqrt([white.mean() for white in whites])

    off, size = shown(1.0)
    assert off.max() < 4 * 0.04
    assert 0.34 < size.min() < 0.45
    assert 0.55 < size.max() < 0.66
    off, size = shown(0.0)
    assert off.max() > 0.3
    assert size.min() < 0.3
    assert size.max() > 0.7


def test_what_the_student_sees_is_worse_at_times_and_never_of_another_size(
    material: Material,
) -> None:
    view = clean_view(material, random(2), 64)
    before = view.copy()
    shown = [worsened(view, random(seed)) for seed in range(12)]
    assert np.array_equal(view, before)
    assert {one.shape for one in shown} == {(64, 64, 3)}
    same = sum(np.array_equal(one, view) for one in shown)
    assert 0 < same < 12


def test_the_teacher_is_asked_in_the_light_that_the_student_sees(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "LIT", 1.0)
    monkeypatch.setattr(views, "PADDED", 0.0)
    lit, plain = (clean_view(material, random(2), 64, change) for change in (1.0, 0.0))
    assert 1 < np.abs(lit.astype(int) - plain).mean() < 100
    assert all(np.array_equal(worsened(lit, random(seed), 0.0), lit) for seed in range(12))
    monkeypatch.setattr(views, "GREY", 0.0)
    monkeypatch.setattr(views, "DISTORTED", 0.0)
    assert all(np.array_equal(worsened(lit, random(seed)), lit) for seed in range(12))


def test_half_the_change_is_half_as_many_changed_views(material: Material, teacher: Path) -> None:
    def changed(change: float) -> int:
        some = Views(material, teacher, seed=3, side=64, change=change)
        plain = Views(material, teacher, seed=3, side=64, change=0.0)
        return sum(not torch.equal(some[n][0], plain[n][0]) for n in range(100))

    assert changed(0.0) == 0
    assert 0.3 < changed(0.5) / changed(1.0) < 0.8


def test_people_are_held_out_by_the_seed_alone() -> None:
    people = [f"{number:03}" for number in range(50)]
    held = hold_out(people, 10, seed=1)
    assert held == hold_out(people[::-1], 10, seed=1)
    assert len(set(held)) == 10
    assert held != hold_out(people, 10, seed=2)


# The losses


def test_box_loss_by_hand() -> None:
    own = torch.tensor([[0.5, 0.5, math.log(2), math.log(2)], [1.5, 0.5, math.log(2), math.log(2)]])
    other = torch.tensor([[0.5, 0.5, math.log(2), math.log(2)]]).repeat(2, 1)
    # The second: 1x2 of two 2x2 boxes in common, 2 / 6; centres 1 apart in a hull of 3x2.
    assert torch.allclose(box_loss(own, other), torch.tensor([0.0, 1 - 1 / 3 + 1 / 13]), atol=1e-6)


def test_landmark_loss_by_hand() -> None:
    other = torch.zeros(2, 15)
    other[:, 3:5] = math.log(4)
    other[0, 7], other[1, 7] = 2.0, 0.1  # the eyes of the second are too close: a fifth of 4
    own = other[:, 5:].clone()
    own[0, 9], own[1, 9] = 0.5, 0.4
    # 0.5 / 2 and 0.4 / 0.8, both less 0.02 / 2, one of ten.
    assert torch.allclose(landmark_loss(own, other), torch.tensor([0.024, 0.049]), atol=1e-6)


def test_score_loss_by_hand() -> None:
    targets = torch.zeros(1, 3, 15)
    targets[0, :, 0] = torch.tensor([0.8, 0.7, 0.0])
    answers = targets.clone()
    answers[0, :, 0] = torch.logit(torch.tensor([0.6, 0.7, 0.1]))
    # The two divergences, over the sum of the teacher's scores.
    apart = 0.8 * math.log(0.8 / 0.6) + 0.2 * math.log(0.2 / 0.4) - math.log(0.9)
    score = distillation(answers, targets, NO_HINT).score
    assert torch.isclose(score, torch.tensor(apart / 1.5), atol=1e-6)


def test_only_the_score_counts_where_there_is_no_face() -> None:
    targets = torch.zeros(1, 3, 15)
    targets[0, 0, 0] = 0.9
    right = targets.clone()
    right[0, :, 0] = torch.logit(targets[0, :, 0], eps=1e-6)
    elsewhere = right.clone()
    elsewhere[0, 1:, 1:] = 7.0
    of_right, of_elsewhere = (distillation(one, targets, NO_HINT) for one in (right, elsewhere))
    assert of_right.total() < 1e-4
    assert torch.equal(of_right.total(), of_elsewhere.total())
    elsewhere[0, 0, 6] = 1.0
    off = distillation(elsewhere, targets, NO_HINT)
    assert off.landmarks > 0.05
    assert torch.isclose(off.total(30.0) - off.total(10.0), 20 * off.landmarks)


def test_an_empty_batch_has_finite_losses() -> None:
    nothing = torch.zeros(2, 84, 15)
    assert torch.isfinite(distillation(nothing, nothing, NO_HINT).total())
    assert torch.isfinite(hint_loss(nothing, nothing, nothing))


def test_hint_loss_by_hand() -> None:
    other = torch.tensor([[[3.0, 0.0], [4.0, 0.0], [0.0, 0.0], [5.0, 0.0]]])
    targets = torch.zeros(1, 4, 15)
    targets[0, 1, 0] = 0.9
    # Root mean squares: sqrt(50 / 4), and 0.05 where there is nothing. Off by 0.5 and by 0.1.
    own = other / torch.tensor([math.sqrt(12.5), 1.0])
    own[0, 0, 0] += 0.5
    own[0, 1, 1] += 0.1
    expected = (0.25 / 2 + (1 + 30) * 0.01 / 2) / 4
    assert hint_loss(own, other, targets).item() == pytest.approx(expected, rel=1e-5)


# The run


def plan(steps: int) -> Plan:
    return Plan(steps=steps, batch=2, side=64, seed=5, workers=0, seconds=0)


def test_a_resumed_run_ends_where_an_unbroken_one_does(
    material: Material, teacher: Path, tmp_path: Path
) -> None:
    lines: list[dict[str, float]] = []
    some = Views(material, teacher, seed=5, side=64)
    train(Run(plan(4)), some, tmp_path / "whole", lines.append)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    broken = Run(plan(4))
    for _ in zip(range(2), broken.train(some), strict=False):
        broken.keep(tmp_path / "broken")
    resumed = Run(plan(4))
    assert resumed.recall(tmp_path / "broken")
    assert resumed.step == 2
    train(resumed, some, tmp_path / "broken", lines.append)
    whole, facts = averaged(tmp_path / "whole")
    parts, _ = averaged(tmp_path / "broken")
    assert facts["step"] == 4
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    first = Run(plan(4)).network.state_dict()
    assert not any(
        torch.equal(first[name], value) for name, value in whole.items() if value.ndim == 4
    )


def test_frozen_normalisations_stay_and_the_weights_learn_under_them(
    material: Material, teacher: Path
) -> None:
    some = Views(material, teacher, seed=5, side=64)
    views, targets, _ = default_collate([some[0], some[1]])
    run = Run(replace(plan(2), frozen_norms=True))
    with torch.no_grad():
        answers = as_rows(run.network.eval()(views.float()))
        wanted = distillation(answers, targets, NO_HINT).score
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    first, _ = run.train(some)
    assert torch.isclose(first.parts.score, wanted, rtol=1e-4)
    for name, value in run.network.state_dict().items():
        kept = "running" in name or "tracked" in name
        assert kept == torch.equal(value, before[name]), name


def test_a_run_begins_from_the_weights_of_another(
    material: Material, teacher: Path, tmp_path: Path
) -> None:
    other = Run(plan(1))
    train(other, Views(material, teacher, seed=5, side=64), tmp_path, lambda line: None)
    weights, _ = averaged(tmp_path)
    begun = Run(plan(1), weights)
    assert all(map(torch.equal, begun.network.state_dict().values(), weights.values()))
    assert all(map(torch.equal, begun.average.values(), weights.values()))

    def same(one: Run) -> list[bool]:
        return list(map(torch.equal, one.hints.parameters(), other.hints.parameters()))

    assert not any(same(begun))
    begun.begin_hints(tmp_path)
    assert all(same(begun))
    with pytest.raises(InputError, match=r"nowhere: no detector\.pt; train first"):
        begun.begin_hints(tmp_path / "nowhere")


def test_a_run_and_its_branches_are_averaged(
    material: Material, teacher: Path, tmp_path: Path
) -> None:
    some = Views(material, teacher, seed=5, side=64)
    folders = [tmp_path / name for name in ("trunk", "branch", "other")]
    for steps, folder in enumerate(folders, start=1):
        train(Run(plan(steps)), some, folder, lambda line: None)
    each = [averaged(folder)[0] for folder in folders]
    long = np.array([averaged(folder)[1]["seconds"] for folder in folders])
    share = long / long.sum()
    weights, facts = averaged(folders[0], folders[1:])
    assert facts["step"] == 1
    for name, value in weights.items():
        apart = [one[name].double() for one in each]
        if value.is_floating_point():
            mean = sum(map(operator.mul, share, apart))
            assert torch.allclose(value.double(), mean, atol=1e-5)
            assert value.ndim < 4 or not torch.equal(apart[0], apart[2])
        else:
            assert torch.equal(value.double(), apart[0])
    state = torch.load(folders[1] / "detector.pt", weights_only=True)
    state["belongs"]["network"]["depths"] = [0, 2, 2, 0]
    torch.save(state, folders[1] / "detector.pt")
    with pytest.raises(InputError, match="no branch of"):
        averaged(folders[0], folders[1:])


def test_a_deeper_network_begins_as_the_one_that_it_grew_from() -> None:
    torch.manual_seed(3)
    small, large = DetectorNetwork(depths=(0, 2, 1, 0)).eval(), DetectorNetwork(depths=(1, 2, 3, 1))
    large.begin_from(small.state_dict())
    pixels = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        assert torch.equal(as_rows(large.eval()(pixels)), as_rows(small(pixels)))
    with pytest.raises(RuntimeError, match="size mismatch"):
        large.begin_from(DetectorNetwork(widths=(16, 32, 48, 96, 96)).state_dict())


def test_hints_compare_each_stride_with_its_own_cells_of_the_teachers_maps() -> None:
    network = DetectorNetwork()
    hints = Hints(network)
    for layer in (*hints.stages, *hints.seen):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    _, stages, seen = network.look(torch.zeros(1, 3, 64, 64))
    maps, targets = torch.zeros(1, 84, 128, dtype=torch.float16), torch.zeros(1, 84, 15)
    maps[0, 64:80, 64 + 5] = 3.0  # what the heads see at stride 16: 16 cells of 84
    # Divided by its own root mean square it is 1, and 0 was said: 1 of 64 channels.
    with torch.no_grad():
        loss = hints(stages, seen, maps, targets).item()
        nothing = hints(stages, seen, torch.zeros(1, 84, 0), targets).item()
        torch.nn.init.ones_(hints.seen[1].bias[5:6])
        right = hints(stages, seen, maps, targets).item()
    assert loss == pytest.approx(16 / 84 / 64, rel=1e-3)
    assert (nothing, right) == (0.0, 0.0)


def test_fitted_hints_are_the_best_there_are_and_leave_the_network_alone(
    material: Material, teacher: Path
) -> None:
    some = Views(material, teacher, seed=5, side=64)
    batch = default_collate([some[number] for number in range(8)])
    run = Run(plan(1))
    before = [value.clone() for value in run.network.state_dict().values()]
    run.fit_hints(batch)
    assert all(map(torch.equal, before, run.network.state_dict().values()))
    views_, targets, maps = batch
    with torch.no_grad():
        _, stages, seen = run.network.eval().look(views_.float())
    loss = run.hints(stages, seen, maps, targets)
    usual = Hints(run.network)(stages, seen, maps, targets)
    assert 0 < loss < usual / 2
    loss.backward()
    # The least is where no step leads down.
    steep = max(float(one.grad.abs().max()) for one in run.hints.parameters())
    assert steep < 1e-3


def test_a_gradient_that_is_no_number_stops_the_run(material: Material, teacher: Path) -> None:
    run = Run(plan(2))
    with torch.no_grad():
        run.network.heads[0][-1].bias[0] = math.nan
    before = run.network.stem[0][0].weight.clone()
    with pytest.raises(TrainingError, match="step 1"):
        next(run.train(Views(material, teacher, seed=5, side=64)))
    assert torch.equal(run.network.stem[0][0].weight, before)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    assert not Run(plan(1)).recall(tmp_path)
    Run(plan(1)).keep(tmp_path)
    with pytest.raises(InputError, match="seed was 5, is 6"):
        Run(Plan(steps=1, batch=2, side=64, seed=6)).recall(tmp_path)
    state = torch.load(tmp_path / "detector.pt", weights_only=True)
    state["belongs"]["network"]["depths"] = [0, 2, 2, 0]
    torch.save(state, tmp_path / "detector.pt")
    with pytest.raises(InputError, match="network was"):
        Run(plan(1)).recall(tmp_path)
    with pytest.raises(InputError, match="train first"):
        averaged(tmp_path / "nowhere")


def test_the_rate_rises_falls_and_ends_at_zero() -> None:
    rates = [Plan(rate=1.0).rate_at(progress) for progress in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 5
    assert rates[-1] == pytest.approx(0.0)
    assert Plan(steps=10, minutes=2).progress(2, 60) == 0.5
    assert Plan(steps=10, minutes=2).progress(12, 60) == 1.0
