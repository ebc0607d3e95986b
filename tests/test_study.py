"""The CIFAR-10 block study: blocks, data, augmentation, training, analysis, and its script."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from facedb.errors import InputError  # noqa: E402
from facedb.study import analysis, cost  # noqa: E402
from facedb.study.augment import Augmentation, Photos, draw  # noqa: E402
from facedb.study.blocks import (  # noqa: E402
    BLOCKS,
    BlockNetwork,
    ChannelAttention,
    ResidualBlock,
    SpatialAttention,
)
from facedb.study.data import NAMES, Part, load  # noqa: E402
from facedb.study.report import block_table  # noqa: E402
from facedb.study.train import RECIPES, Plan, Training, find_recipe, learning_rate  # noqa: E402

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "run_block_study.py"
CPU = torch.device("cpu")


def part(each: int, seed: int = 0) -> Part:
    """Noise whose brightness tells the class."""
    labels = np.repeat(np.arange(10), each)
    noise = np.random.default_rng(seed).integers(0, 60, (len(labels), 3, 32, 32))
    return Part((noise + 18 * labels[:, None, None, None]).astype(np.uint8), labels)


# ---------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("name", list(BLOCKS))
def test_a_block_keeps_the_place_and_changes_the_width(name: str) -> None:
    found = BLOCKS[name].make(64, 128)(torch.rand(2, 64, 8, 6))
    assert found.shape == (2, 128, 8, 6)
    assert (found >= 0).all()


@pytest.mark.parametrize("name", list(BLOCKS))
def test_parameters_are_the_published_ones(name: str) -> None:
    differs = {"E": 256}
    assert cost.parameters(BlockNetwork(name)) == BLOCKS[name].parameters + differs.get(name, 0)


def test_the_network_gives_ten_logits_and_512_features() -> None:
    network = BlockNetwork("D-depthwise").eval()
    images = torch.rand(2, 3, 32, 32)
    assert network.features(images).shape == (2, 512)
    assert network(images).shape == (2, 10)


def test_an_unknown_block_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"F: no such block; there are A, B, C, D, D-depthwise, E"):
        BlockNetwork("F")


def test_spatial_attention_by_hand() -> None:
    layer = SpatialAttention(2)
    with torch.no_grad():
        layer.mix.weight.copy_(torch.tensor([1.0, -2.0]).view(1, 2, 1, 1))
    features = torch.tensor([[[[0.0, 3.0]], [[1.0, 1.5]]]])  # two channels, two places
    first, second = 1 / (1 + np.exp(2.0)), 0.5  # 0 - 2 and 3 - 3
    expected = [[[[0.0, 3.0 * second]], [[first, 1.5 * second]]]]
    np.testing.assert_allclose(layer(features).detach().numpy(), expected, rtol=1e-6)


def test_channel_attention_by_hand() -> None:
    layer = ChannelAttention(2, reduction=2)
    with torch.no_grad():
        layer.narrow.weight.copy_(torch.tensor([[1.0, 1.0]]))
        layer.narrow.bias.fill_(-1.0)
        layer.widen.weight.copy_(torch.tensor([[2.0], [0.0]]))
        layer.widen.bias.copy_(torch.tensor([0.0, 1.0]))
    features = torch.tensor([[[[0.0, 2.0]], [[1.0, 1.0]]]])  # means 1 and 1, so narrow gives 1
    first, second = 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(-1.0))
    expected = [[[[0.0, 2.0 * first]], [[second, second]]]]
    np.testing.assert_allclose(layer(features).detach().numpy(), expected, rtol=1e-6)


def test_a_residual_block_with_a_silent_path_is_its_shortcut() -> None:
    block = ResidualBlock(3, 3).eval()
    with torch.no_grad():
        block.path[0].weight.zero_()
        block.shortcut.weight.copy_(torch.eye(3)[:, :, None, None])
    features = torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(block(features), features.clamp(min=0))


def test_multiply_accumulates_by_hand() -> None:
    layers = [
        torch.nn.Conv2d(3, 8, 3, padding=1, stride=2),
        torch.nn.Conv2d(8, 8, 3, padding=1, groups=8),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 10),
    ]
    expected = 16 * 16 * 8 * 3 * 9 + 16 * 16 * 8 * 9 + 80
    assert cost.multiply_accumulates(torch.nn.Sequential(*layers)) == expected


# ------------------------------------------------------------------------------------ data


def save_folders(folder: Path, sizes: dict[str, int]) -> dict[str, Part]:
    """Folders of PNG; file names do not sort like numbers on purpose."""
    made = {name: part(each, seed) for seed, (name, each) in enumerate(sizes.items())}
    for name, one in made.items():
        for number, (image, label) in enumerate(zip(one.images, one.labels, strict=True)):
            place = folder / name / NAMES[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(place / f"{number:04}.png")
    return made


def test_folders_and_their_archive_are_the_same(tmp_path: Path) -> None:
    made = save_folders(tmp_path / "set", {"train": 2, "test": 1})
    with tarfile.open(tmp_path / "set.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "set", ".")
    for source in (tmp_path / "set", tmp_path / "set.tar.xz"):
        for _ in ("decoded", "from the cache"):
            found = load(source, tmp_path / "cache", partial=True)
            assert found.storage == "lossless"
            for name in ("train", "test"):
                np.testing.assert_array_equal(getattr(found, name).images, made[name].images)
                np.testing.assert_array_equal(getattr(found, name).labels, made[name].labels)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def save_batches(folder: Path, each: int) -> Part:
    """As torchvision keeps them: pickled dictionaries with bytes as keys."""
    folder.mkdir(parents=True)
    made = part(each)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        batch = {b"data": made.images.reshape(-1, 3072), b"labels": made.labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return made


def test_torchvision_batches(tmp_path: Path) -> None:
    made = save_batches(tmp_path / "cifar-10-batches-py", 2)
    found = load(tmp_path, tmp_path / "cache", partial=True)
    np.testing.assert_array_equal(found.test.images, made.images)
    np.testing.assert_array_equal(found.train.labels, np.tile(made.labels, 5))


def test_missing_data_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file or folder; give --data"):
        load(tmp_path / "nowhere", tmp_path)
    save_folders(tmp_path / "set", {"train": 2, "test": 1})
    (tmp_path / "set" / "test" / "dog" / "0005.png").unlink()
    with pytest.raises(InputError, match=r"train: airplane has 2 of 5,000.*--partial"):
        load(tmp_path / "set", tmp_path / "cache")
    with pytest.raises(InputError, match=r"test: dog has 0 of 1,000; give --data"):
        load(tmp_path / "set", tmp_path / "cache", partial=True)
    save_batches(tmp_path / "cifar-10-batches-py", 1)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(InputError, match=r"data_batch_3 missing; .*--download"):
        load(tmp_path, tmp_path / "cache", partial=True)


def test_torn_and_foreign_files_are_refused(tmp_path: Path) -> None:
    save_folders(tmp_path / "set", {"train": 1, "test": 1})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as archive:
        archive.add(tmp_path / "set", ".")
    (tmp_path / "torn.tar.xz").write_bytes(stream.getvalue()[:-2000])
    (tmp_path / "note.txt").write_text("not an archive")
    (tmp_path / "set" / "train" / "cat" / "0003.png").write_bytes(b"not a picture")
    for name, reason in (
        ("torn.tar.xz", "torn archive"),
        ("note.txt", "neither a folder nor a tar archive"),
        ("set", "train/cat/0003.png: not a picture"),
    ):
        with pytest.raises(InputError, match=reason):
            load(tmp_path / name, tmp_path / "cache", partial=True)


class Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch broken-in",)


def test_a_batch_that_would_run_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_batches(tmp_path / "cifar-10-batches-py", 1)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(Malice()))
    with pytest.raises(InputError, match=r"test_batch: not a batch.*system"):
        load(tmp_path, tmp_path / "cache", partial=True)
    assert not (tmp_path / "broken-in").exists()


def test_a_balanced_part() -> None:
    chosen = part(7).balanced(30)
    assert np.bincount(chosen.labels).tolist() == [3] * 10
    assert len(np.unique(chosen.images.reshape(30, -1), axis=0)) == 30


# ---------------------------------------------------------------------------- augmentation


def test_batches_without_augmentation_are_the_pictures_normalised() -> None:
    made = part(2)
    photos = Photos(made, CPU)
    draws = draw(20, Augmentation(), seed=3, epoch=1)
    images, labels = photos.batch(draws, slice(5, 9))
    chosen = draws.order[5:9].numpy()
    np.testing.assert_array_equal(labels.numpy(), made.labels[chosen])
    mean, deviation = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])
    shares = made.images[chosen].transpose(0, 2, 3, 1) / 255
    expected = ((shares - mean) / deviation).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(images.numpy(), expected, atol=1e-5)
    torch.testing.assert_close(photos.plain(slice(0, 20))[0][chosen], images)


def test_crops_and_mirrors_come_from_the_padded_picture() -> None:
    made = part(1)
    draws = draw(10, Augmentation(crop=True, flip="random"), seed=0, epoch=0)
    images, _ = Photos(made, CPU).batch(draws, slice(0, 10))
    scale = 255 * np.array([[0.2470, 0.2435, 0.2616]])[..., None, None]
    pixels = images.numpy() * scale + 255 * np.array([[0.4914, 0.4822, 0.4465]])[..., None, None]
    for row in range(10):
        padded = np.pad(made.images[draws.order[row]], ((0, 0), (4, 4), (4, 4)), mode="reflect")
        down, right = draws.shift[row].tolist()
        expected = padded[:, down : down + 32, right : right + 32]
        expected = expected[:, :, ::-1] if draws.mirror[row] else expected
        np.testing.assert_allclose(pixels[row], expected, atol=1e-3)
    assert 0 < draws.mirror.sum() < 10


def test_cutout_covers_a_square_with_the_mean() -> None:
    draws = draw(10, Augmentation(cutout=8), seed=0, epoch=0)
    draws = replace(draws, hole=torch.tensor([[16, 10]] * 9 + [[0, 31]]))
    images, _ = Photos(part(1), CPU).batch(draws, slice(0, 10), cutout=8)
    holes = (images == 0).all(1)
    assert holes[0].nonzero().min(0).values.tolist() == [12, 6]
    assert holes[0].nonzero().max(0).values.tolist() == [19, 13]
    assert holes[0].sum() == 64
    assert holes[9].sum() == 4 * 5


def test_draws_depend_on_seed_and_epoch_alone_and_flips_alternate() -> None:
    rules = Augmentation(crop=True, flip="alternating")
    first, again, second = (draw(50, rules, seed=1, epoch=epoch) for epoch in (0, 0, 1))
    assert torch.equal(first.order, again.order)
    assert torch.equal(first.shift, again.shift)
    assert not torch.equal(first.order, second.order)
    assert torch.equal(first.mirror + second.mirror, torch.ones(50, dtype=torch.int64))


def test_with_too_little_memory_the_pictures_stay_with_the_host() -> None:
    device = torch.device("meta")
    assert Photos(part(1), device, free=1 << 40).home == device
    crowded = Photos(part(1), device, free=4 * 10 * 3 * 40 * 40 - 1)
    assert crowded.home == CPU
    draws = crowded.place(draw(10, Augmentation(crop=True, cutout=8), seed=0, epoch=0))
    images, labels = crowded.batch(draws, slice(0, 4), cutout=8)
    assert (images.device, labels.device, images.shape) == (device, device, (4, 3, 32, 32))


# -------------------------------------------------------------------------------- training


def test_one_cycle_rises_and_falls() -> None:
    modern = RECIPES["modern"]
    rates = [learning_rate(modern, progress) for progress in (0, 0.1, 0.2, 0.6, 1)]
    np.testing.assert_allclose(rates, [0, 0.2, 0.4, 0.2, 0], atol=1e-12)
    assert learning_rate(RECIPES["plain"], 0.9) == 1e-3
    short = modern.shortened(5, 128)
    assert (short.epochs, short.batch, short.rate) == (5, 128, pytest.approx(0.1))
    with pytest.raises(InputError, match=r"fancy: no such recipe; there are plain, modern"):
        find_recipe("fancy")


@pytest.mark.parametrize("recipe", ["plain", "modern"])
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(
    recipe: str, tmp_path: Path
) -> None:
    plan = Plan("D-depthwise", RECIPES[recipe].shortened(2, 10), seed=4)
    photos = Photos(part(2), CPU)
    whole = Training(plan, photos)
    while not whole.finished:
        whole.epoch(lambda _: 0.5)
    expected = {name: values.clone() for name, values in whole.used.state_dict().items()}

    broken = Training(plan, photos)
    broken.epoch(lambda _: 0.5)
    broken.save(tmp_path / "checkpoint.pt")
    resumed = Training(plan, photos)
    resumed.resume(tmp_path / "checkpoint.pt")
    resumed.epoch(lambda _: 0.5)
    assert resumed.finished
    for name, values in resumed.used.state_dict().items():
        assert torch.equal(values, expected[name]), name
    assert [point.loss for point in resumed.curve] == [point.loss for point in whole.curve]

    other = Training(replace(plan, seed=5), photos)
    with pytest.raises(InputError, match=r"checkpoint.pt: was made with other settings"):
        other.resume(tmp_path / "checkpoint.pt")
    (tmp_path / "checkpoint.pt").write_bytes((tmp_path / "checkpoint.pt").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"checkpoint.pt: not a checkpoint.*delete it"):
        resumed.resume(tmp_path / "checkpoint.pt")


# -------------------------------------------------------------------------------- analysis


def test_confusion_and_the_pairs_most_confused() -> None:
    cat, dog, ship = (NAMES.index(name) for name in ("cat", "dog", "ship"))
    labels = np.array([cat, cat, dog, dog, ship, ship, ship])
    predicted = np.array([dog, cat, cat, cat, ship, ship, cat])
    counts = analysis.confusion(labels, predicted)
    assert (counts[cat, dog], counts[dog, cat], counts[ship, cat], counts.sum()) == (1, 2, 1, 7)
    assert analysis.most_confused(counts, 2) == [("dog", "cat", 3), ("ship", "cat", 1)]


def test_attention_maps_are_the_weights_of_each_block() -> None:
    network = BlockNetwork("B").eval()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, SpatialAttention):
                layer.mix.weight.zero_()
    maps = analysis.attention_maps(network, torch.rand(2, 3, 32, 32))
    assert [layer.shape[1] for layer in maps] == [16, 16, 16, 8, 8, 8, 4, 4]
    assert all((layer == 0.5).all() for layer in maps)
    assert analysis.attention_maps(BlockNetwork("E"), torch.rand(1, 3, 32, 32)) == []


def test_a_plane_keeps_apart_what_lies_apart() -> None:
    pytest.importorskip("sklearn")
    labels = np.repeat(np.arange(3), 20)
    features = np.random.default_rng(0).normal(size=(60, 8)) + 20 * labels[:, None]
    found = analysis.plane(features.astype(np.float32), labels)
    assert found.points.shape == (60, 2)
    assert (found.points.min(), found.points.max()) == (0, 1)
    assert min(found.silhouette_plane, found.silhouette_features) > 0.5


# ------------------------------------------------------------------------------ the script


def study(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_tells_every_option() -> None:
    found = study("run", "--help")
    assert found.returncode == 0
    for option in ("--quick", "--minutes", "--blocks", "--partial", "--download"):
        assert option in found.stdout


def test_an_unknown_block_stops_the_study_before_anything_is_read(tmp_path: Path) -> None:
    found = study("run", "--data", tmp_path / "nowhere", "--blocks", "A,Z", "--runs", tmp_path)
    assert (found.returncode, found.stdout) == (4, "")
    assert "Z: no such block; there are A, B" in found.stderr


def test_the_study_runs_reports_and_stops_in_time(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    save_folders(tmp_path / "set", {"train": 4, "test": 3})
    options = ["--data", tmp_path / "set", "--partial", "--quick", "--epochs", "1", "--blocks", "B"]
    options += ["--runs", tmp_path / "runs", "--out", tmp_path / "results", "--device", "cpu"]
    done = study("run", *options, "--recipes", "modern")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "results" / "cifar10-quick.json"
    found = json.loads(file.read_text())
    assert (found["complete"], found["train_photos"], found["test_photos"]) == (True, 40, 30)
    (run,) = found["runs"]
    diagonal = sum(run["confusion"][label][label] for label in range(10))
    assert run["test_accuracy"] == pytest.approx(diagonal / 30)
    assert run["parameters"] == 7_773_994
    kept = tmp_path / "runs" / "quick" / "modern-B-seed0"
    assert (kept / "source" / "blocks.py").exists()
    around = json.loads((kept / "circumstances.json").read_text())
    assert {"hardware", "versions", "seed", "plan"} <= set(around)
    check_report(tmp_path)

    before = (kept / "checkpoint.pt").stat().st_mtime_ns
    stopped = study("run", *options, "--recipes", "modern,plain", "--minutes", "0.0001")
    assert stopped.returncode == 0, stopped.stderr
    assert "the same command goes on" in stopped.stdout
    assert "epoch" not in stopped.stdout
    assert (kept / "checkpoint.pt").stat().st_mtime_ns == before
    found = json.loads(file.read_text())
    assert (found["complete"], len(found["runs"])) == (False, 1)


def check_report(folder: Path) -> None:
    text = "# Title\n<!-- blocks -->\nold\n<!-- end -->\n<!-- quick -->\nold\n<!-- end -->\nAfter\n"
    (folder / "cifar10.md").write_text(text)
    found = study("report", "--results", folder / "results", "--document", folder / "cifar10.md")
    assert found.returncode == 0, found.stderr
    written = (folder / "cifar10.md").read_text()
    assert "old" not in written
    assert written.startswith("# Title\n")
    assert written.endswith("<!-- end -->\nAfter\n")
    assert "| modern | B | 1 |" in written
    for kind in ("curves", "confusion", "tsne", "attention"):
        assert f"(cifar10/quick-{kind}.png)" in written
        with Image.open(folder / "cifar10" / f"quick-{kind}.png") as picture:
            assert min(picture.size) > 200

    (folder / "cifar10.md").write_text("# nothing to fill in")
    found = study("report", "--results", folder / "results", "--document", folder / "cifar10.md")
    assert found.returncode == 1
    assert "no <!-- blocks --> ... <!-- end --> in it" in found.stderr
    assert (folder / "cifar10.md").read_text() == "# nothing to fill in"


def test_the_table_of_blocks_tells_parameters_beside_the_published_ones() -> None:
    assert "| E | ResNeXt bottleneck | 1,422,634 | 1,422,378 | +256 |" in block_table()
