"""training/detector/: the model file, written, decoded, and made trainable again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
onnx = pytest.importorskip("onnx", reason="export needs onnx")

from facedb.detections import OUTPUTS, STRIDES  # noqa: E402
from facedb.errors import InputError  # noqa: E402
from facedb.faces import BUNDLED, ScalePolicy, YuNet  # noqa: E402
from facedb.photos import load_photo, photo_from_array  # noqa: E402
from facedb.training.detector.export import LIMIT, to_onnx  # noqa: E402
from facedb.training.detector.losses import distillation  # noqa: E402
from facedb.training.detector.network import DetectorNetwork, as_rows  # noqa: E402
from facedb.training.detector.revive import revived  # noqa: E402
from facedb.training.detector.teacher import Teacher  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = sorted((ROOT / "data" / "train").glob("*/*.jpg"))[:6]
NO_HINT = torch.zeros(())
VIEW = ScalePolicy(sides=(64,), least_side=64, rescue_sides=(), threshold=0.5)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def set_by_hand(network: DetectorNetwork, values: list[float]) -> DetectorNetwork:
    """Stride 16 answers these values everywhere, the other strides never find a face."""
    with torch.no_grad():
        for head, stride in zip(network.heads, STRIDES, strict=True):
            head[-1].weight.zero_()
            head[-1].bias.zero_()
            head[-1].bias[0] = -9.0
            if stride == 16:
                head[-1].bias.copy_(torch.tensor(values))
    return network


def with_levels(network: DetectorNetwork) -> DetectorNetwork:
    """Kernels that are whole multiples of something, 127 at most, as a file can have them."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                levels = torch.randint(-127, 128, module.weight.shape).float()
                levels[:, 0, 0, 0] = 127
                module.weight.copy_(levels * (module.weight.std() / 73))
    return network


def test_what_is_written_is_decoded_by_the_product(tmp_path: Path) -> None:
    landmarks = [-0.2, 0.0, 1.2, 0.0, 0.5, 0.5, 0.0, 1.0, 1.0, 1.0]
    values = [math.log(0.8 / 0.2), 0.5, 0.25, math.log(1.5), 0.0, *landmarks]
    (tmp_path / "made.onnx").write_bytes(to_onnx(set_by_hand(DetectorNetwork(), values)))
    photo = photo_from_array(np.zeros((32, 64, 3), np.uint8))
    faces = YuNet(tmp_path / "made.onnx", VIEW).detect(photo)
    # Eight cells of 16 pixels; neighbours overlap by a fifth at most, so each one stays.
    assert len(faces) == 8
    (face,) = [face for face in faces if 20 < face.box[0] < 40 and face.box[1] > 0]
    # The cell at (2, 1): its centre is (2.5, 1.25) strides, 24x16 pixels.
    assert face.box == pytest.approx((2.5 * 16 - 12, 1.25 * 16 - 8, 24, 16), abs=1e-3)
    expected = (np.array(landmarks).reshape(5, 2) + np.array([2, 1])) * 16
    assert np.allclose(face.landmarks, expected, atol=1e-3)
    assert face.score == pytest.approx(0.8, abs=1e-5)


def test_the_file_computes_what_torch_does_at_any_size(tmp_path: Path) -> None:
    import cv2

    torch.manual_seed(1)
    network = with_levels(DetectorNetwork())
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.normal_(module.bias)
    file = tmp_path / "made.onnx"
    file.write_bytes(to_onnx(network.eval(), offset=0.5))
    assert file.stat().st_size <= LIMIT
    teacher = Teacher(file)
    for height, width in ((64, 96), (160, 32)):
        view = random(height).integers(0, 256, (height, width, 3), np.uint8)
        pixels = torch.from_numpy(view[..., ::-1].transpose(2, 0, 1)[None].copy()).float()
        with torch.no_grad():
            expected = as_rows(network(pixels))[0].numpy()
        score = 1 / (1 + np.exp(-(expected[:, 0] + 0.5)))
        answers, maps = teacher.look(view)
        assert np.allclose(answers[:, 0], score, atol=1e-4)
        assert np.allclose(answers[:, 1:], expected[:, 1:], rtol=1e-3, atol=1e-3)
        assert maps.shape == (len(answers), 0)  # ours has no maps of YuNet's names
    opencv = cv2.dnn.readNetFromONNX(str(file))
    opencv.setInput(pixels.numpy())
    outputs = opencv.forward(list(OUTPUTS))
    rows = np.concatenate([outputs[OUTPUTS.index(f"kps_{stride}")][0] for stride in STRIDES])
    assert np.allclose(rows, expected[:, 5:], rtol=1e-3, atol=1e-3)


def test_a_kernel_is_written_to_the_nearest_of_255_levels_of_its_channel() -> None:
    torch.manual_seed(2)
    network = DetectorNetwork().eval()
    graph = onnx.load_from_string(to_onnx(network)).graph
    written = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    kernels = [node.input for node in graph.node if node.op_type == "Mul"]
    last = [written[casts[levels]] * written[step] for levels, step in kernels]
    last = [kernel for kernel in last if kernel.shape == (15, 64, 1, 1)]
    for head, kernel in zip(network.heads, last, strict=True):
        wanted = head[-1].weight.detach().numpy()
        step = np.abs(wanted).max(axis=(1, 2, 3)) / 127
        assert np.all(np.abs(kernel - wanted).max(axis=(1, 2, 3)) <= step * 0.5001)


def test_a_network_learns_one_photo_and_finds_its_faces(tmp_path: Path) -> None:
    """Faces laid out by hand over a mosaic of sample people: overfitted, exported, found."""
    torch.manual_seed(0)
    tiles = [load_photo(file).pixels[:64, :64] for file in SAMPLE[:4]]
    view = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    targets = torch.zeros(1, 16 * 16 + 8 * 8 + 4 * 4, 15)
    cells = [(1, 2), (6, 1), (5, 6)]
    layout = torch.tensor(
        [0.95, 0.5, 0.5, 0.7, 0.8, 0.1, 0.2, 0.9, 0.2, 0.5, 0.5, 0.2, 0.9, 0.8, 0.9]
    )
    for column, row in cells:
        targets[0, 256 + row * 8 + column] = layout
    network = DetectorNetwork().train()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    pixels = torch.from_numpy(view[..., ::-1].transpose(2, 0, 1)[None].copy()).float()
    for _ in range(240):
        optimiser.zero_grad()
        distillation(as_rows(network(pixels)), targets, NO_HINT).total().backward()
        optimiser.step()
    network.eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    network.train()
    with torch.no_grad():
        network(pixels)
    (tmp_path / "one.onnx").write_bytes(to_onnx(network.eval()))
    policy = ScalePolicy(sides=(128,), least_side=128, rescue_sides=())
    faces = YuNet(tmp_path / "one.onnx", policy).detect(photo_from_array(view))
    found = sorted((face.box[0] + face.box[2] / 2, face.box[1] + face.box[3] / 2) for face in faces)
    expected = sorted(((column + 0.5) * 16, (row + 0.5) * 16) for column, row in cells)
    assert np.allclose(found, expected, atol=2.0)


def views_of_sample_people() -> torch.Tensor:
    """float32[6, 3, 96, 96] BGR."""
    views = np.stack([load_photo(file).pixels[20:116, 20:116] for file in SAMPLE])
    return torch.from_numpy(views[..., ::-1].transpose(0, 3, 1, 2).copy()).float()


def test_a_file_made_trainable_answers_as_it_did_and_as_it_learns() -> None:
    views = views_of_sample_people()
    options = json.loads(BUNDLED.with_name("detector.json").read_text())["architecture_options"]
    network = DetectorNetwork(**options)
    network.load_state_dict(revived(BUNDLED, views, options))
    file = onnxruntime.InferenceSession(BUNDLED)
    wanted = [f"{part}_{stride}" for part in ("cls", "bbox", "kps") for stride in STRIDES]
    outputs = [file.run(wanted, {"input": view[None].numpy()}) for view in views]
    expected = [
        np.concatenate([np.concatenate(one[part : part + 3], 1)[0] for part in (0, 3, 6)], axis=1)
        for one in outputs
    ]
    for mode in (network.eval(), network.train()):
        with torch.no_grad():
            answers = as_rows(mode(views)).numpy()
        answers[..., 0] = 1 / (1 + np.exp(-answers[..., 0]))
        assert np.allclose(answers, expected, atol=2e-3)


def test_dead_channels_begin_anew_when_asked_to(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = DetectorNetwork().eval()
    with torch.no_grad():
        network.laterals[2][1].weight[:40] = 0.0  # most of them: the rule must not look at medians
    (tmp_path / "one.onnx").write_bytes(to_onnx(network))
    views = views_of_sample_people()
    kernels = []
    for enliven in (False, True):
        state = revived(tmp_path / "one.onnx", views, network.options, enliven)
        assert all(value.isfinite().all() for value in state.values())
        kernels.append(state["laterals.2.0.weight"])
    as_it_was, anew = kernels
    assert (as_it_was[:40] == 0).all()
    assert torch.allclose(anew.flatten(1).norm(dim=1), torch.ones(64), atol=1e-4)
    assert torch.equal(anew[40:], as_it_was[40:])


def test_only_the_network_of_its_card_is_made_trainable(tmp_path: Path) -> None:
    views = views_of_sample_people()
    with pytest.raises(InputError, match="not the network of its card"):
        revived(BUNDLED, views, {"depths": (0, 2, 2, 0)})
    with pytest.raises(InputError, match="not the network of its card"):
        revived(BUNDLED, views, {"widths": (16, 32, 64, 96, 112)})
    with pytest.raises(InputError, match="not an ONNX file"):
        revived(SAMPLE[0], views, {})
