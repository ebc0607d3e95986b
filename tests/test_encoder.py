"""The encoder: what the card says is what it computes, on every runtime."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from photos_maker import scene

from facedb.encoder import Encoder, open_encoder
from facedb.encoder.bundle import BUNDLED, read_bundle
from facedb.encoder.encoder import ramp, unit_rows
from facedb.errors import BadEmbedding, DependencyMissing, EncoderError


def crops(count: int = 6) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.stack([scene(112, 112, number) for number in range(count)])


def test_embeddings_are_unit_rows() -> None:
    encoder = open_encoder()
    found = encoder.embed(crops(40))
    assert (found.shape, found.dtype) == ((40, 128), np.float32)
    np.testing.assert_allclose(np.linalg.norm(found.astype(np.float64), axis=1), 1, atol=1e-6)
    assert encoder.embed(crops(40)[:0]).shape == (0, 128)


def test_a_crop_has_one_embedding_whatever_its_batch() -> None:
    encoder = open_encoder()
    alone = np.concatenate([encoder.embed(crop[None]) for crop in crops()])
    assert np.min(np.sum(alone * encoder.embed(crops()), axis=1)) > 0.99999


def test_canonical_vector_of_the_card() -> None:
    card = json.loads((BUNDLED / "encoder.json").read_text())
    y, x, c = np.meshgrid(np.arange(112), np.arange(112), np.arange(3), indexing="ij")
    crop = ((3 * y + 5 * x + 80 * c) % 256).astype(np.uint8)
    np.testing.assert_array_equal(ramp(112), crop)
    found = open_encoder().embed(crop[None])[0]
    np.testing.assert_allclose(found, card["canonical"]["embedding"], atol=2e-3)


def test_torch_and_onnx_runtime_agree() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from facedb.encoder.torch import bundle_forward

    expected = open_encoder().embed(crops())
    bundle = read_bundle(BUNDLED)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        found = unit_rows(bundle_forward(bundle, device)(crops()), 128)
        assert np.min(np.sum(found * expected, axis=1)) >= 0.999


def test_self_test_notices_another_preprocessing(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(BUNDLED, folder)
    card = json.loads((folder / "encoder.json").read_text())
    card["canonical"]["embedding"] = card["canonical"]["embedding"][::-1]
    (folder / "encoder.json").write_text(json.dumps(card))
    with pytest.raises(EncoderError, match="self-test gave cosine"):
        open_encoder(str(folder))


@pytest.mark.parametrize("missing", ["name", "weights_sha256", "canonical", "std"])
def test_card_that_is_not_whole(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(BUNDLED, folder)
    card = json.loads((folder / "encoder.json").read_text())
    del card[missing]
    (folder / "encoder.json").write_text(json.dumps(card))
    with pytest.raises(EncoderError, match=missing):
        open_encoder(str(folder))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1.0, float("nan")]], "NaN"),
        ([[float("inf"), 1.0]], "NaN or infinity"),
        ([[0.0, 0.0]], "zero vector"),
        ([[1.0, 2.0, 3.0]], "2 dimensions"),
    ],
)
def test_the_door_refuses(rows: list[list[float]], words: str) -> None:
    def forward(batch: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.array(rows, dtype=np.float32)

    encoder = Encoder("made up", "made up", "0", 2, None, "cpu", forward)
    with pytest.raises(BadEmbedding, match=words):
        encoder.embed(np.zeros((1, 4, 4, 3), dtype=np.uint8))
    with pytest.raises(BadEmbedding, match="uint8"):
        encoder.embed(np.zeros((1, 4, 4, 3), dtype=np.float32))  # type: ignore[arg-type]


def test_unit_rows_keeps_small_vectors() -> None:
    found = unit_rows(np.array([[3e-6, 4e-6], [0.0, -2.0]], dtype=np.float32), 2)
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.0, -1.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("model", "classifier"), [("convnext_atto", "head.fc"), ("efficientnet_b0", "classifier")]
)
def test_timm_encoder_from_a_local_folder(tmp_path: Path, model: str, classifier: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    from safetensors.torch import save_file

    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    network = timm.create_model(model, pretrained=False, num_classes=3)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    settings = {
        "input_size": [3, 64, 64],
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.2, 0.2],
        "classifier": classifier,
    }
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": model, "num_classes": 3, "pretrained_cfg": settings})
    )
    encoder = open_encoder(f"timm:local-dir:{tmp_path}")
    found = encoder.embed(crops(2))
    pixels = torch.from_numpy(crops(2)).permute(0, 3, 1, 2).float() / 255
    pixels = torch.nn.functional.interpolate(pixels, size=(64, 64), mode="bilinear", antialias=True)
    mean = torch.tensor(settings["mean"]).view(1, 3, 1, 1)
    with torch.inference_mode():
        network.reset_classifier(0)
        features = network.eval()((pixels - mean) / 0.2)
    expected = torch.nn.functional.normalize(features).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert encoder.threshold is None
    with pytest.raises(EncoderError, match="no-such-model"):
        open_encoder("timm:no-such-model")


def test_exported_bundle_opens_at_once(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    torch = pytest.importorskip("torch")
    from facedb.encoder.export import write_bundle
    from facedb.encoder.network import EncoderNetwork

    torch.manual_seed(2)
    network = EncoderNetwork("convnext_atto", dim=32)
    card = {
        "name": "fresh",
        "architecture": "convnext_atto",
        "hidden": 512,
        "dim": 32,
        "input_size": 64,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "alignment": "arcface-112",
    }
    write_bundle(tmp_path / "new", network, card)
    encoder = open_encoder(str(tmp_path / "new"))
    small = crops()[:, ::2, ::2][:, :64, :64]
    small = np.ascontiguousarray(np.pad(small, ((0, 0), (0, 8), (0, 8), (0, 0))))
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(network(torch.from_numpy(small))).numpy()
    assert np.min(np.sum(encoder.embed(small) * expected, axis=1)) > 0.9999
    # The weights are there once: the graph is small, and the folder is about their size.
    assert (tmp_path / "new" / "encoder.onnx").stat().st_size < 200_000


def test_a_bundle_blurs_its_crops_as_its_card_says(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    torch = pytest.importorskip("torch")
    import cv2

    from facedb.encoder.export import write_bundle
    from facedb.encoder.network import EncoderNetwork
    from facedb.encoder.torch import bundle_network

    card = {
        "name": "fresh", "architecture": "test_convnext", "hidden": 16, "dim": 8,
        "input_size": 112, "mean": [0.5] * 3, "std": [0.5] * 3, "alignment": "arcface-112",
    }  # fmt: skip
    torch.manual_seed(2)
    network = EncoderNetwork("test_convnext", hidden=16, dim=8)
    write_bundle(tmp_path / "plain", network, card)
    network.blur = 3
    write_bundle(tmp_path / "blurred", network, card | {"blur": 3})
    network.blur = 1
    write_bundle(tmp_path / "said-so", network, card | {"blur": 1})
    noise = np.random.default_rng(3).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)
    kernel = np.array([1, 2, 1]) / 4
    pictures = [
        cv2.sepFilter2D(crop, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
        for crop in noise
    ]
    with torch.inference_mode():
        scaled = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1
        expected = torch.nn.functional.normalize(network.embed(scaled)).numpy()
    found = open_encoder(str(tmp_path / "blurred"), "cpu")
    np.testing.assert_allclose(found.embed(noise), expected, atol=1e-4)
    assert np.abs(open_encoder(str(tmp_path / "plain"), "cpu").embed(noise) - expected).max() > 0.01
    bundles = {name: read_bundle(tmp_path / name) for name in ("plain", "blurred", "said-so")}
    assert bundles["plain"].fingerprint == bundles["said-so"].fingerprint
    assert bundles["plain"].fingerprint != bundles["blurred"].fingerprint
    assert bundle_network(bundles["blurred"]).blur == 3


@pytest.mark.parametrize("side", [2, 0, -1, "3", None])
def test_a_blur_is_an_odd_number_of_pixels(tmp_path: Path, side: object) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(BUNDLED, folder)
    card = json.loads((folder / "encoder.json").read_text()) | {"blur": side}
    (folder / "encoder.json").write_text(json.dumps(card))
    with pytest.raises(EncoderError, match="blur"):
        open_encoder(str(folder))


def test_cuda_where_there_is_none() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(DependencyMissing, match="--device cuda"):
        open_encoder(device="cuda")
