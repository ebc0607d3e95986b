"""Training through its doors, on the sample people, with a network of 300,000 weights."""

from __future__ import annotations

import copy
import csv
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image

from facedb.cli.main import run
from facedb.encoder import open_encoder
from facedb.encoder.bundle import BUNDLED, read_bundle
from facedb.encoder.encoder import unit_rows
from facedb.encoder.network import EncoderNetwork
from facedb.encoder.torch import bundle_forward
from facedb.errors import EncoderError, InputError, TrainingError
from facedb.faces import open_detector
from facedb.identify import FaceDB, Settings
from facedb.operating import shipped
from facedb.photos import load_photo, walk_people
from facedb.render_training import training_text
from facedb.training.ahead import ahead
from facedb.training.batches import Loader, draw, pictures_of, renewed
from facedb.training.blends import bent, blended, crossed, exaggerated, patched
from facedb.training.convolutions import hasten
from facedb.training.data import Faces, read_faces
from facedb.training.learner import Learner, rate_at
from facedb.training.loop import train
from facedb.training.losses import Seen
from facedb.training.networks import build, settled, usual_detector
from facedb.training.operating import by_gallery_size
from facedb.training.precision import make_optimizer
from facedb.training.recipes import OF_THE_NETWORK, RECIPES, recipe
from facedb.training.request import TrainReport, TrainRequest
from facedb.training.teacher import Memory, Teacher, open_teacher
from facedb.training.transforms import Augmentation, normalised
from facedb.training.validation import thumbnails

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "train"
TINY: dict[str, Any] = {"network": "test_convnext", "size": 32, "epochs": 2, "batch_size": 8}
KINDS = ("blurred", "foggy", "lowlight", "noisy", "rainy", "resized", "sunny")


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people to train on and four to validate on, with a darker version of each photo."""
    folder = tmp_path_factory.mktemp("people")
    for number, person in enumerate(sorted(SAMPLE.iterdir())[:10]):
        place = folder / ("train" if number < 6 else "val") / person.name
        (place / "distortion").mkdir(parents=True)
        for photo in sorted(person.glob("*.jpg"))[:3]:
            shutil.copy(photo, place)
            with Image.open(photo) as image:
                dark = image.point(lambda value: value // 2)
            dark.save(place / "distortion" / f"{photo.stem}_lowlight.jpg", quality=95)
    return folder


def request(people: Path, out: Path, **changes: Any) -> TrainRequest:
    usual = {
        name: value
        for name, value in TINY.items()
        if "begin" not in changes or name not in OF_THE_NETWORK
    }
    made = recipe("comsys", usual | {"precision": "fp32"} | changes)
    return TrainRequest(people, out, made, detector="none", workers=0, draw=False)


@pytest.fixture(scope="session")
def trained(people: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainReport:
    return train(request(people, tmp_path_factory.mktemp("trained") / "run"))


def test_a_run_leaves_an_encoder_that_index_takes_at_once(
    trained: TrainReport, people: Path, tmp_path: Path
) -> None:
    with FaceDB(tmp_path / "g", Settings(encoder=trained.encoder, detector="none")) as db:
        report = db.index_folder(people / "val")
        assert report.enrolled == 24
        photo = next((people / "val").rglob("*.jpg"))
        (face,) = db.identify(photo)
    assert face.candidates[0].identity == photo.relative_to(people / "val").parts[0]
    assert face.candidates[0].distance == pytest.approx(0, abs=1e-3)
    card = json.loads((Path(trained.encoder) / "encoder.json").read_text())
    assert len(card["training"]["photos_sha256"]) == 36
    assert card["threshold"]["distance"] == trained.threshold
    # Four people with three photos each: people are counted, and are said to be too few.
    measured_on = card["threshold"]["calibrated_on"]
    assert (measured_on["gallery"], measured_on["strangers"]) == (3, 4)
    assert "needs 300 different strangers" in measured_on["caveat"]


def test_the_card_says_how_near_strangers_come_by_gallery_size(trained: TrainReport) -> None:
    card = json.loads((Path(trained.encoder) / "encoder.json").read_text())
    *smaller, whole = card["threshold"]["by_gallery_size"]
    # Of four people galleries of one and of two, and each of the four before the other three.
    assert [(size["people"], size["strangers"]) for size in smaller] == [(1, 4), (2, 4)]
    assert (whole["people"], whole["strangers"]) == (3, 4)
    told = np.load(Path(trained.run) / "embeddings.npz")
    clean = told["kinds"] == "clean"
    vectors, labels = told["embeddings"][clean].astype(np.float64), told["labels"][clean]
    nearest = []
    for vector, label in zip(vectors, labels, strict=True):
        near = []
        for other in set(labels.tolist()) - {label}:
            theirs = vectors[labels == other]
            mean = theirs.mean(axis=0) / np.linalg.norm(theirs.mean(axis=0))
            near.append(np.linalg.norm([*(theirs - vector), mean - vector], axis=1).min())
        nearest.append(min(near))
    # 1 % of 12 photos is none: the threshold lies just below the least, or the smaller galleries'.
    ordered = np.sort(nearest)
    limits = [size["distance"] for size in (*smaller, whole)]
    assert limits[2] == pytest.approx(min(ordered[0], limits[1]), abs=1e-6)
    assert limits == sorted(limits, reverse=True)
    # The two nearest are each other's: 2 of 12 come as close.
    shares = (2 / 12, 0.2, 0.3, 0.5, 1.0)
    expected = {share: ordered[int(share * 12 + 1e-9) - 1] for share in shares}
    assert dict(whole["curve"]) == pytest.approx(expected, abs=1e-4)
    assert all(distance <= expected[share] for share, distance in whole["curve"])
    encoder = open_encoder(trained.encoder, "cpu")
    assert shipped(encoder, 2).threshold == limits[1]
    assert (shipped(encoder, 100).threshold or 0.0) <= limits[2]


def test_a_thousand_people_measure_galleries_of_a_thousand() -> None:
    random = np.random.default_rng(3)
    people = 1200
    vectors = random.normal(size=(people, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = np.arange(people)
    names = tuple(map(str, numbers))
    none = np.empty((people, 0, 0, 3), np.uint8)
    faces = Faces(none, numbers, numbers, ("clean",) * people, names, names, names, ())
    sizes = by_gallery_size(vectors, faces)
    assert [size["people"] for size in sizes] == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1199]
    distances = [size["distance"] for size in sizes]
    assert distances == sorted(distances, reverse=True)
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=2) + 9 * np.eye(people)
    assert distances[-1] == pytest.approx(np.sort(apart.min(axis=1))[11], abs=1e-5)


def test_distorted_photos_alone_validate_and_say_what_they_cannot(
    people: Path, tmp_path: Path
) -> None:
    for photo in (people / "val").rglob("*_lowlight.jpg"):
        place = tmp_path / "val" / photo.parent.parent.name / "distortion"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, place)
    asked = replace(request(people / "train", tmp_path / "run", epochs=1), val=tmp_path / "val")
    report = train(asked)
    assert report.no_quality.startswith("0 of the people validated on have two clean photos")
    card = json.loads((Path(report.encoder) / "encoder.json").read_text())
    assert (card["threshold"]["distance"], card["threshold"]["by_gallery_size"]) == (0.0, [])
    # Nobody is accepted until somebody calibrates.
    assert shipped(open_encoder(report.encoder, "cpu"), 4).threshold == 0.0
    assert "threshold none: nobody is accepted until facedb calibrate" in training_text(report)


def test_a_network_for_smaller_pictures_measures_quality_or_says_why(tmp_path: Path) -> None:
    for number, person in enumerate(sorted(SAMPLE.iterdir())[:16]):
        shutil.copytree(
            person, tmp_path / "data" / ("val" if number < 12 else "train") / person.name
        )
    report = train(request(tmp_path / "data", tmp_path / "run", epochs=1))
    told = json.loads((Path(report.encoder) / "encoder.json").read_text()).get("quality")
    smeared = "a face that is smeared away is found like any other"
    assert report.no_quality == ("" if told else smeared)


def test_nobody_validates_alone(people: Path, tmp_path: Path) -> None:
    (one, *_) = sorted((people / "val").iterdir())
    shutil.copytree(one, tmp_path / "val" / one.name)
    asked = replace(request(people / "train", tmp_path / "run"), val=tmp_path / "val")
    with pytest.raises(InputError, match=f"{one.name} is alone among the validation photos"):
        train(asked)


def test_a_rate_needs_as_many_pairs_as_it_has_ones(trained: TrainReport) -> None:
    """24 pictures of 4 people: 12 negative pairs as published, 216 pairs across photos."""
    for before in ("", "cross_photo_"):
        assert trained.metrics[f"{before}tar_at_far_1e-3"] is None
    assert trained.metrics["tar_at_far_1e-2"] is None
    assert trained.metrics["cross_photo_tar_at_far_1e-2"] is not None
    assert trained.metrics["auc"] is not None


def test_the_command_takes_its_options_and_says_what_came_out(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["train", str(people), "--out", str(out), "--detector", "none", "--workers", "0"]
    words += ["--network", "test_convnext", "--size", "32", "--epochs", "1", "--margin", "1.2"]
    assert run(words) == 0
    text, lines = capsys.readouterr()
    assert "trained on 36 photos of 6 people" in text
    gallery = out.with_suffix(".gallery")
    assert f"facedb index DIR -g {gallery} --encoder {out / 'encoder'}" in text
    assert "an FPIR of 1 % needs 300 different strangers" in text
    assert "not measured (4 of the people validated on have two clean photos, and 10 must)" in text
    assert "epoch 1: loss" in lines
    card = json.loads((out / "encoder" / "encoder.json").read_text())
    assert (card["alignment"], card["detector"]) == ("arcface-112", "none")
    assert json.loads((out / "recipe.json").read_text())["margin"] == 1.2
    page = (out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert {file.name for file in (out / "figures").iterdir()} >= {"curves.png", "tsne.png"}
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr()[0])["schema"] == "facedb.train/1"
    assert run(["train", str(people), "--out", str(out), "--loss", "hinge"]) == 4


def test_photos_are_cut_as_the_network_knows_them(
    trained: TrainReport, people: Path, tmp_path: Path
) -> None:
    words = ["train", str(people), "--epochs", "1", "--workers", "0"]
    anew = ["--network", "test_convnext", "--size", "32"]
    cut = []
    for begin in (anew, ["--begin", trained.encoder]):
        out = tmp_path / begin[0]
        assert run([*words, *begin, "--out", str(out)]) == 0
        card = json.loads((out / "encoder" / "encoder.json").read_text())
        cut.append((card["alignment"], card["detector"]))
    assert cut == [("whole", "whole"), ("arcface-112", "bundled")]
    assert run([*words, "--begin", str(tmp_path)]) == 6


def test_a_run_leaves_its_log_and_what_it_measured(trained: TrainReport) -> None:
    run = Path(trained.run)
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    # 36 pictures make 36 pairs an epoch, 8 a step.
    assert [row["steps"] for row in rows] == ["5", "10"]
    assert float(rows[0]["learning_rate"]) == pytest.approx(1e-4)
    assert float(rows[1]["learning_rate"]) == pytest.approx(0.5e-4)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["encoder"] == trained.metrics
    assert (metrics["n"], metrics["people"], metrics["seen_in_training"]) == (24, 4, False)
    with np.load(run / "embeddings.npz") as data:
        assert np.linalg.norm(data["embeddings"], axis=1) == pytest.approx(np.ones(24), abs=1e-5)
        assert sorted(set(data["kinds"].tolist())) == ["clean", "lowlight"]
        pictures = [Path(path).stem.removesuffix("_lowlight") for path in data["paths"].tolist()]
        by_photo = {number: set() for number in data["photos"].tolist()}
        for number, picture in zip(data["photos"].tolist(), pictures, strict=True):
            by_photo[number].add(picture)
    assert len(by_photo) == 12
    assert all(len(pictures) == 1 for pictures in by_photo.values())


def test_ranks_are_those_of_a_search_by_hand(trained: TrainReport) -> None:
    with np.load(Path(trained.run) / "embeddings.npz") as data:
        embeddings, labels, photos, kinds = (
            data[name] for name in ("embeddings", "labels", "photos", "kinds")
        )
    clean = [n for n in range(24) if kinds[n] == "clean"]

    def nearest_is_right(probe: int, gallery: list[int]) -> bool:
        distances = [float(np.linalg.norm(embeddings[probe] - embeddings[n])) for n in gallery]
        return bool(labels[gallery[int(np.argmin(distances))]] == labels[probe])

    dark = [n for n in range(24) if kinds[n] == "lowlight"]
    same = [nearest_is_right(n, clean) for n in dark]
    cross = [nearest_is_right(n, [c for c in clean if photos[c] != photos[n]]) for n in range(24)]
    assert trained.metrics["same_photo_rank1"] == np.mean(same)
    assert trained.metrics["cross_photo_rank1"] == np.mean(cross)
    assert trained.by_distortion["lowlight"]["cross_photo_rank1"] == np.mean(
        [cross[n] for n in dark]
    )
    assert trained.by_distortion["clean"]["same_photo_rank1"] is None
    assert trained.thumbnail["same_photo_rank1"] == 1.0


def test_the_same_seed_gives_the_same_network(
    trained: TrainReport, people: Path, tmp_path: Path
) -> None:
    again = train(request(people, tmp_path / "run"))
    assert again.metrics == trained.metrics
    other = train(request(people, tmp_path / "other", seed=2))
    assert other.metrics != trained.metrics


def test_killed_in_an_epoch_it_goes_on_to_the_same_result(
    trained: TrainReport, people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code = (
        "import sys, time\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import facedb.training.loop as loop\n"
        "from test_training import request\n"
        "loop.SAVE_EVERY = 0.0\n"
        "def tell(words, done, total):\n"
        "    if words == 'epoch 2/2' and done == 3:\n"
        "        print('here', flush=True)\n"
        "        time.sleep(60)\n"
        f"made = request(Path({str(people)!r}), Path({str(out)!r}))\n"
        "loop.train(replace(made, progress=tell))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "here\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert state["at"][:2] == (1, 2)
    assert train(request(people, out)).metrics == trained.metrics


def test_going_on_with_other_options_is_refused(
    trained: TrainReport, people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(trained.run, out)
    with pytest.raises(InputError, match=r"margin was 1\.0, is 1\.5.*--out"):
        train(request(people, out, margin=1.5))
    (tmp_path / "torn.txt").write_text("no folder")
    with pytest.raises(InputError, match=r"torn\.txt/run: cannot be written .*: --out"):
        train(request(people, tmp_path / "torn.txt" / "run"))
    with pytest.raises(InputError, match="network was 'test_convnext'"):
        train(request(people, out, network="test_convnext2"))
    with pytest.raises(InputError, match="detector was 'none', is 'whole'"):
        train(replace(request(people, out), detector="whole"))
    with pytest.raises(InputError, match="teacher_detector was None, is 'whole'"):
        train(replace(request(people, out), teacher_detector="whole"))
    (out / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(InputError, match="damaged"):
        train(request(people, out))


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(
    people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"epoch \d, step \d.*--learning-rate"):
        train(request(people, out, learning_rate=1e30, epochs=4))
    assert not (out / "encoder").exists()


def test_patience_ends_a_run_early(people: Path, tmp_path: Path) -> None:
    made = request(people, tmp_path / "run", patience=1, epochs=9, learning_rate=1e-12)
    assert train(made).epochs == 2


@pytest.mark.parametrize("loss", ["triplet", "cosface+0.5*contrastive", "arcface"])
def test_mined_losses_learn_from_people_batches(loss: str, people: Path, tmp_path: Path) -> None:
    made = request(
        people, tmp_path / "run", loss=loss, sampler="pk", photos_per_person=2, learning_rate=2e-3,
        epochs=6, ema=0.5, clip=1.0,
    )  # fmt: skip
    report = train(made)
    with (Path(report.run) / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0]


def test_distillation_draws_the_student_to_its_teacher(people: Path, tmp_path: Path) -> None:
    made = request(
        people, tmp_path / "run", loss="distillation", teacher="bundled", sampler="pk",
        photos_per_person=2, learning_rate=2e-3, epochs=8,
    )  # fmt: skip
    report = train(made)
    photos = sorted((people / "train").glob("*/*.jpg"))
    crops = np.stack([np.asarray(Image.open(photo).convert("RGB")) for photo in photos])
    middle = crops[:, 24:136, 24:136]
    teacher = open_encoder("bundled", "cpu").embed(np.ascontiguousarray(middle))
    with FaceDB(tmp_path / "g", Settings(encoder=report.encoder, detector="none")) as db:
        student = db.encoder.embed(
            np.stack([db.detector.detect(load_photo(p))[0].crop for p in photos])
        )
    assert np.sum(teacher * student, axis=1).mean() > 0.5


def test_relations_are_learned_from_a_teacher_of_another_width(
    people: Path, tmp_path: Path
) -> None:
    made = request(
        people, tmp_path / "run", loss="relational", teacher="bundled", sampler="pk", dim=32,
        photos_per_person=2, learning_rate=2e-3, epochs=12,
    )  # fmt: skip
    report = train(made)
    photos = sorted((people / "train").glob("*/*.jpg"))
    crops = np.stack([np.asarray(Image.open(photo).convert("RGB")) for photo in photos])
    teacher = open_encoder("bundled", "cpu").embed(np.ascontiguousarray(crops[:, 24:136, 24:136]))
    with FaceDB(tmp_path / "g", Settings(encoder=report.encoder, detector="none")) as db:
        student = db.encoder.embed(
            np.stack([db.detector.detect(load_photo(p))[0].crop for p in photos])
        )
    assert student.shape[1] == 32
    pairs = np.triu_indices(len(photos), 1)
    distances = [np.linalg.norm(e[pairs[0]] - e[pairs[1]], axis=1) for e in (student, teacher)]
    assert np.corrcoef(distances)[0, 1] > 0.5


def test_blends_teach_what_the_teacher_says_of_them(people: Path, tmp_path: Path) -> None:
    changes = {"network": "test_convnext", "network_options": "", "size": 112, "epochs": 3}
    changes |= {"batch_size": 8, "teacher": "bundled", "seed": 4, "warmup": 0.0, "ema": 0.5}
    made = TrainRequest(
        people, tmp_path / "run", recipe("best", changes), detector="none", workers=0, draw=False
    )
    report = train(made)
    with (Path(report.run) / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0] - 0.05
    with pytest.raises(InputError, match="only a teacher knows"):
        recipe("comsys", {"mix": 0.5})


def test_hints_are_learned_from_a_teacher_in_onnx(people: Path, tmp_path: Path) -> None:
    file = tmp_path / "teacher.onnx"
    onnx.save(mobile_network(np.random.default_rng(5)), file)
    changes = {"network": "test_convnext", "network_options": "", "size": 112, "epochs": 4}
    changes |= {"batch_size": 8, "teacher": str(file), "seed": 4, "warmup": 0.0, "loss": "hints"}
    changes |= {"mix": 0.0, "distort": 0.0, "augment": "none", "learning_rate": 0.01}

    def losses(out: Path) -> list[float]:
        made = recipe("best", changes)
        train(TrainRequest(people, out, made, detector="none", workers=0, draw=False))
        with (out / "log.csv").open() as log:
            return [float(row["loss"]) for row in csv.DictReader(log)]

    found = losses(tmp_path / "run")
    assert found[-1] < 0.5 * found[0]
    with pytest.raises(InputError, match=r"hints: they are given of new pictures; add --mix"):
        recipe("comsys", {"loss": "hints"})
    changes["teacher"] = "bundled"
    with pytest.raises(InputError, match=r"only an \.onnx teacher shows its feature map"):
        losses(tmp_path / "no")


@pytest.mark.parametrize(
    ("change", "detector", "words"),
    [
        ({"size": 32}, "none", "--size 112"),
        ({"size": 112}, "whole", "--detector bundled"),
        ({"size": 112, "clean_teacher": False}, "none", "--no-clean-teacher"),
    ],
)
def test_a_teacher_of_blends_takes_what_the_student_takes(
    change: dict[str, Any], detector: str, words: str, people: Path, tmp_path: Path
) -> None:
    plan = recipe("best", {"network": "test_convnext", "network_options": "", "epochs": 1} | change)
    made = replace(plan, teacher="bundled", bend=0.05, mix=0.0)
    with pytest.raises(InputError, match=words):
        train(TrainRequest(people, tmp_path / "run", made, detector=detector, workers=0))


def test_the_rate_never_rises_above_the_highest() -> None:
    plan = recipe("best", {"warmup": 1e-4})
    assert rate_at(plan, 0, 0.0) <= plan.learning_rate


def test_a_short_run_averages_its_late_weights_not_its_first() -> None:
    options = {"network": "test_convnext", "network_options": "", "size": 32, "loss": "contrastive"}
    made = replace(recipe("comsys", options), ema=0.998, precision="fp32")
    learner = Learner(made, 2, "cpu")
    crops = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    weights = []
    for _ in range(4):
        learner.step(crops, Seen(torch.tensor([0, 1, 0, 1]), True), 0.01)
        weights.append(learner.network.head[0].weight.detach().clone())
    wanted = weights[0]
    for share, one in zip((9 / 11, 9 / 12, 9 / 13), weights[1:], strict=True):
        wanted = wanted + share * (one - wanted)
    assert torch.allclose(learner.best_network.head[0].weight, wanted, atol=1e-6)


QUINTICS = [  # Muon's, a polynomial of the singular values a step
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
]


@pytest.mark.parametrize("shape", [(25, 25), (100, 25), (25, 100)])
def test_muon_steps_along_the_orthogonal_factor_and_rounds_only_where_that_is_quick(
    shape: tuple[int, int],
) -> None:
    """At rate 1 from zero, the weight after a step is what Muon makes of the gradient, negated."""
    layer = torch.nn.Linear(shape[1], shape[0], bias=False)
    torch.nn.init.zeros_(layer.weight)
    optimizer = make_optimizer(layer, "muon", 1.0, 0.0)
    layer.weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    weight = layer.weight.detach()
    left, values, right = np.linalg.svd(layer.weight.grad.double().numpy(), full_matrices=False)
    values /= np.linalg.norm(values)
    for a, b, c in QUINTICS:
        values = a * values + b * values**3 + c * values**5
    assert np.allclose(values, 1, atol=0.05)
    wanted = -0.2 * max(shape) ** 0.5 * (left * values) @ right
    file = Path("/proc/cpuinfo")
    flags = file.read_text() if file.exists() else ""
    if "amx_bf16" in flags or "avx512_bf16" in flags:
        assert torch.equal(weight, weight.bfloat16().float())
        assert np.allclose(weight, wanted, atol=0.05)
    else:
        assert np.allclose(weight, wanted, atol=1e-5)


def test_a_blend_is_both_and_a_bend_of_nothing_is_nothing() -> None:
    photos = sorted(SAMPLE.rglob("*.jpg"))[:9:8]
    one, two = (np.asarray(Image.open(photo).convert("RGB")) for photo in photos)
    mixed = blended(one, two, np.random.default_rng(3)).astype(int)
    assert (mixed >= np.minimum(one, two).astype(int) - 1).all()
    assert (mixed <= np.maximum(one, two).astype(int) + 1).all()
    assert np.array_equal(blended(one, one, np.random.default_rng(3)), one)
    assert np.array_equal(bent(one, 0.0, np.random.default_rng(1)), one)
    assert 1 < np.abs(bent(one, 0.05, np.random.default_rng(1)).astype(int) - one).mean() < 60


def test_each_way_to_blend_takes_what_it_says_from_whom() -> None:
    photos = sorted(SAMPLE.rglob("*.jpg"))[:9:8]
    one, two = (np.asarray(Image.open(photo).convert("RGB")) for photo in photos)
    first, second = one.astype(int), two.astype(int)

    islands = patched(one, two, np.random.default_rng(3)).astype(int)
    unlike = np.abs(first - second).sum(axis=2) > 60
    mine = np.abs(islands - first).sum(axis=2) <= 6
    theirs = np.abs(islands - second).sum(axis=2) <= 6
    assert 0.1 < mine[unlike].mean() < 0.9
    assert 0.1 < theirs[unlike].mean() < 0.9

    def coarse(picture: NDArray[Any]) -> NDArray[Any]:
        small = Image.fromarray(picture.astype(np.uint8)).resize((4, 4), Image.Resampling.BOX)
        return np.asarray(small).astype(int)

    hybrid = crossed(one, two, np.random.default_rng(3))
    assert np.abs(coarse(hybrid) - coarse(one)).mean() < 8
    assert np.abs(coarse(hybrid) - coarse(two)).mean() > 20
    fine = [np.diff(picture.astype(int), 3, axis=1).ravel() for picture in (hybrid, one, two)]
    like = np.corrcoef(fine)[0]
    assert like[2] > 0.8 > 0.4 > like[1]

    away = exaggerated(one, two, np.random.default_rng(3)).astype(int)
    inside = (away > 0) & (away < 255)
    assert (((away - first) * (first - second))[inside] >= -np.abs(first - second)[inside]).all()
    assert np.abs(away - second).mean() > np.abs(first - second).mean()
    for way in (patched, crossed, exaggerated):
        itself = way(one, one, np.random.default_rng(1)).astype(int)
        assert np.abs(itself - first).max() <= 1


def test_a_blend_shows_nobody_in_particular(people: Path) -> None:
    faces = read_faces(walk_people(people / "train").entries, open_detector("none", 32), 32)
    plan = recipe("best", {"size": 32, "teacher": "bundled", "batch_size": 18, "distort": 0.0})
    (batch,) = list(Loader(faces, plan, 0).batches(draw(faces, plan, 0), 0, 0, False))[:1]
    blends = (batch.labels < 0).float().mean().item()
    assert 0.4 < blends < 0.95
    whole = batch.labels >= 0
    assert np.array_equal(batch.labels[whole], faces.labels[batch.rows[whole]])
    assert batch.clean is not None
    assert batch.clean.shape == batch.crops.shape == (36, 32, 32, 3)


def test_pictures_stay_until_they_are_renewed_and_change_each_epoch(people: Path) -> None:
    faces = read_faces(walk_people(people / "train").entries, open_detector("none", 32), 32)
    plan = recipe("best", {"size": 32, "teacher": "bundled", "batch_size": 36, "renew": 2})

    def clean_by_picture(epoch: int) -> tuple[dict[int, bytes], dict[int, bytes]]:
        clean, seen = {}, {}
        for batch in Loader(faces, plan, 0).batches(draw(faces, plan, epoch), epoch, 0, False):
            assert batch.clean is not None
            for picture, was, now in zip(batch.pictures, batch.clean, batch.crops, strict=True):
                key = int(picture)
                assert clean.setdefault(key, was.numpy().tobytes()) == was.numpy().tobytes()
                seen[key] = now.numpy().tobytes()
        return clean, seen

    (first, a), (second, b), (third, _) = (clean_by_picture(epoch) for epoch in range(3))
    both = first.keys() & second.keys()
    assert len(both) > len(faces)
    anew = renewed(pictures_of(faces), 1, 2)
    assert anew.sum() == len(faces)  # half of the pictures in each epoch, so that all are alike
    assert all((first[key] != second[key]) == anew[key] for key in both)
    assert all(a[key] != b[key] for key in both)
    assert not any(first[key] == third[key] for key in first.keys() & third.keys())


def test_a_teacher_is_asked_once_about_a_picture_until_it_is_renewed() -> None:
    bundled = open_encoder("bundled", "cpu")
    asked: list[int] = []

    def counting(crops: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        asked.append(len(crops))
        return bundled.forward(crops)

    memory = Memory(Teacher(replace(bundled, forward=counting)), 10)
    photos = sorted(SAMPLE.rglob("*.jpg"))[:4]
    crops = np.stack(
        [np.asarray(Image.open(photo).convert("RGB").resize((112, 112))) for photo in photos]
    )
    wanted = bundled.embed(crops)
    pictures = torch.tensor([3, 7, 3])
    assert np.allclose(
        memory(pictures, torch.from_numpy(crops[[0, 1, 0]]))[0], wanted[[0, 1, 0]], atol=1e-5
    )
    assert sum(asked) == 2
    pictures, clean = torch.tensor([7, 9]), torch.from_numpy(crops[[2, 3]])
    assert np.allclose(memory(pictures, clean)[0], wanted[[1, 3]], atol=1e-5)
    assert sum(asked) == 3
    memory.forget(np.arange(10) == 7)
    assert np.allclose(memory(pictures, clean)[0], wanted[[2, 3]], atol=1e-5)
    assert sum(asked) == 4


def test_the_next_batch_is_made_while_one_is_used() -> None:
    made = {number: threading.Event() for number in range(4)}
    threads = torch.get_num_threads()
    inside: set[int] = set()

    def ready(number: int) -> str:
        inside.add(torch.get_num_threads())
        if number == 3:
            raise ValueError("the fourth")
        made[number].set()
        return f"batch {number}"

    torch.set_num_threads(3)
    try:
        batches = ahead(iter(range(4)), ready, 1)
        for number in range(3):
            assert next(batches) == f"batch {number}"
            assert torch.get_num_threads() == 2
            assert number == 2 or made[number + 1].wait(10)
        with pytest.raises(ValueError, match="the fourth"):
            next(batches)
        assert torch.get_num_threads() == 3
        assert inside == {1}
        assert list(ahead(iter(range(3)), ready, 0)) == ["batch 0", "batch 1", "batch 2"]
    finally:
        torch.set_num_threads(threads)


def mobile_network(rng: np.random.Generator) -> onnx.ModelProto:
    """What MobileFaceNet is of: scaling, convolution, normalisation, PReLU, a block that adds to
    what came before, a wider map, pooling, product."""
    shapes = {"half": (1,), "scale": (1,), "w": (8, 3, 3, 3), "slope": (8, 1, 1), "p": (16, 24)}
    shapes |= {"up": (16, 8, 1, 1), "down": (8, 16, 1, 1), "wide": (24, 8, 1, 1)}
    shapes |= dict.fromkeys(("gain", "bias", "mean", "var"), (8,))
    values = {name: rng.uniform(0.1, 1, shape) for name, shape in shapes.items()}
    values |= {"half": np.array([127.5]), "scale": np.array([1 / 128]), "w": values["w"] - 0.5}
    make = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            make("Sub", ["x", "half"], ["a"]),
            make("Mul", ["a", "scale"], ["b"]),
            make("Conv", ["b", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
            make("BatchNormalization", ["c", "gain", "bias", "mean", "var"], ["d"]),
            make("PRelu", ["d", "slope"], ["e"]),
            make("Conv", ["e", "up"], ["more"]),
            make("Conv", ["more", "down"], ["back"]),
            make("Add", ["e", "back"], ["sum"]),
            make("Conv", ["sum", "wide"], ["last"]),
            make("GlobalAveragePool", ["last"], ["f"]),
            make("Flatten", ["f"], ["g"]),
            make("Gemm", ["g", "p"], ["y"], transB=1),
        ],
        "teacher",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", 3, 112, 112])],
        [onnx.helper.make_tensor_value_info("y", 1, ["n", 16])],
        [onnx.numpy_helper.from_array(v.astype(np.float32), name) for name, v in values.items()],
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)


def test_a_teacher_in_onnx_says_what_onnx_runtime_says(tmp_path: Path) -> None:
    file = tmp_path / "teacher.onnx"
    onnx.save(mobile_network(np.random.default_rng(5)), file)
    crops = np.random.default_rng(1).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    raw = session.run(None, {"x": crops.transpose(0, 3, 1, 2).astype(np.float32)})[0]
    wanted = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.allclose(open_teacher(str(file)).encoder.embed(crops), wanted, atol=1e-4)
    quick = open_teacher(str(file), precision=torch.bfloat16).encoder.embed(crops)
    assert np.sum(quick * wanted, axis=1).min() > 0.99


def test_a_teacher_in_onnx_shows_what_its_last_block_adds_up_to(tmp_path: Path) -> None:
    file, model = tmp_path / "teacher.onnx", mobile_network(np.random.default_rng(5))
    onnx.save(model, file)
    model.graph.output.append(onnx.helper.make_tensor_value_info("sum", 1, ["n", 8, 56, 56]))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    crops = np.random.default_rng(1).integers(0, 256, (20, 112, 112, 3), dtype=np.uint8)
    images = crops.transpose(0, 3, 1, 2).astype(np.float32)
    raw, wanted = session.run(["y", "sum"], {"x": images})
    onnx.save(model, tmp_path / "both.onnx")
    with pytest.raises(EncoderError, match="it gives y, sum; export the embedding alone"):
        open_teacher(str(tmp_path / "both.onnx"))
    teacher = open_teacher(str(file))
    assert teacher.look is not None
    embeddings, maps = teacher.look(crops)
    assert teacher.channels == 8
    assert np.allclose(maps, wanted, atol=1e-3)
    assert np.allclose(embeddings, raw, atol=1e-3 * np.abs(raw).max())
    memory = Memory(teacher, 25, hints=True)
    pictures = torch.arange(24, 4, -1)
    targets, hints = memory(pictures, torch.from_numpy(crops))
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.allclose(targets, unit, atol=1e-4)
    cells = wanted.reshape(20, 8, 4, 14, 4, 14).mean((3, 5))
    assert np.allclose(hints, cells, rtol=2e-3, atol=1e-3)
    again = memory(pictures[[3, 0]], torch.zeros(2, 112, 112, 3, dtype=torch.uint8))[1]
    assert torch.equal(again, hints[[3, 0]])


def test_what_is_no_network_is_no_teacher(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no network")
    with pytest.raises(EncoderError, match=r"no\.onnx: no network that torch can take up"):
        open_teacher(str(tmp_path / "no.onnx"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone is told")
def test_memory_that_is_freed_is_there_for_the_next_step() -> None:
    code = """
import resource
import torch
from facedb.heap import keep_freed_memory

keep_freed_memory()
for step in range(20):
    maps = [torch.ones(10 * 2**20 + 999 * n) for n in range(4)]
    del maps
    if step == 9:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40 * 1024  # new pages of 4 KiB; 40 maps of 40 MiB have 409,600


@pytest.mark.parametrize("sides", [(48, 48), (70, 61)])
def test_a_hastened_network_computes_the_same(sides: tuple[int, int]) -> None:
    """Also where patches leave a margin, and where maps are smaller than a kernel."""
    torch.manual_seed(2)
    plain = EncoderNetwork("test_convnext")
    quick = copy.deepcopy(plain)
    hasten(quick)
    changed = [
        type(a) is not type(b) for a, b in zip(plain.modules(), quick.modules(), strict=True)
    ]
    assert sum(changed) > 8
    images = torch.randn(4, 3, *sides)
    answers = []
    for network in (plain, quick):
        answers.append(network.embed(images))
        answers[-1].square().sum().backward()
    assert torch.allclose(*answers, atol=1e-4)
    for (name, one), other in zip(plain.named_parameters(), quick.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        nothing = 1e-4 * float(one.grad.abs().max())
        assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=nothing), name


def test_beginning_from_a_bundle_takes_its_network(
    trained: TrainReport, people: Path, tmp_path: Path
) -> None:
    made = request(people, tmp_path / "run", begin=trained.encoder, learning_rate=1e-12, epochs=1)
    report = train(made)
    assert (report.recipe.network, report.recipe.size) == ("test_convnext", 32)
    assert report.metrics["cross_photo_auc"] == pytest.approx(
        trained.metrics["cross_photo_auc"], abs=0.01
    )
    assert report.begun == pytest.approx(trained.metrics)
    cards = [json.loads((Path(r.encoder) / "encoder.json").read_text()) for r in (trained, report)]
    begun = {"name": cards[0]["name"], "weights": cards[0]["weights_sha256"]}
    assert "begun_from" not in cards[0]["training"]
    assert cards[1]["training"]["begun_from"] == begun
    # The terms are those of the same photographs: said once, however often it goes on.
    assert cards[1]["training"]["terms"] == cards[0]["training"]["terms"]


def test_terms_of_what_was_begun_from_go_with_the_weights(people: Path, tmp_path: Path) -> None:
    made = replace(recipe("own"), epochs=1, batch_size=8)
    said = []
    for number, begin in enumerate(("bundled", str(tmp_path / "0" / "encoder"))):
        out = tmp_path / str(number)
        run = replace(made, begin=begin)
        train(TrainRequest(people, out, run, detector="none", workers=0, draw=False))
        card = read_bundle(out / "encoder").card
        said.append(card.terms)
    bundled = read_bundle(BUNDLED).card
    assert said[0] == (
        f"as the photographs it was trained on allow; and {bundled.terms} ({bundled.name})"
    )
    assert said[1] == said[0]


def test_training_says_whether_the_encoder_became_better_than_before(
    trained: TrainReport, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(people / "train"), "--detector", "none", "--workers", "0", "--json"]
    words += ["--recipe", "own", "--batch-size", "8", "--epochs", "1", "--begin", trained.encoder]

    def ran(name: str, rate: str, val: Path) -> dict[str, Any]:
        out = tmp_path / name
        place = ["--out", str(out), "--val", str(val)]
        assert run([*words, *place, "--learning-rate", rate]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr()[0])
        assert escape(found["verdict"]) in (out / "report.html").read_text()
        return found

    many = SAMPLE.parent / "val"
    same, spoiled = ran("same", "1e-12", many), ran("spoiled", "1", many)
    assert same["begun"] == spoiled["begun"]
    assert same["verdict"] == (
        "Neither better nor worse than before, across photos. Of people whom it was trained on: "
        "of others it may be worse; name some with --val."
    )
    names = ("auc", "eer", "tar_at_far_1e-2", "tar_at_far_1e-3", "rank1")
    changes = {
        f"cross_photo_{name}": (spoiled["metrics"][key] - spoiled["begun"][key])
        * (-1 if name == "eer" else 1)
        for name in names
        if spoiled["begun"][key := f"cross_photo_{name}"] is not None
    }
    assert spoiled["worse"] == [name for name, change in changes.items() if change < 0]
    assert spoiled["better"] == [name for name, change in changes.items() if change > 0]
    assert "cross_photo_auc" in spoiled["worse"]
    assert "WORSE than before, across photos, by AUC" in spoiled["verdict"]
    few = ran("few", "1", people / "val")
    assert few["worse"]
    assert few["verdict"].startswith(
        "Too few people to tell whether it is better than before: 4 by two"
    )


def test_the_text_shows_the_encoder_begun_from_between_the_two(trained: TrainReport) -> None:
    said = training_text(trained)
    assert "before" not in said
    begun = dict.fromkeys(trained.metrics, 0.1234)
    assert "use it: facedb index DIR -g ..gallery " in training_text(replace(trained, run="."))
    said = training_text(replace(trained, begun=begun, verdict="Said."))
    (row,) = [line for line in said.splitlines() if "across photos: AUC" in line]
    auc = (trained.metrics, begun, trained.thumbnail)
    shown = [f"{100 * (figures['cross_photo_auc'] or 0):.2f}" for figures in auc]
    assert [cell for cell in row.replace("%", "").split() if cell[0].isdigit()] == shown
    assert "Said." in said.splitlines()


def test_the_recipe_for_people_of_ones_own_goes_on_from_the_bundled_encoder() -> None:
    made = settled(recipe("own"))
    assert made.loss == "distillation+0.5*triplet"
    assert (made.sampler, made.select) == ("pk", "cross_photo_auc")
    assert (made.augment, made.distort) == ("jitter", 0.4)
    card = read_bundle(BUNDLED).card
    assert (made.network, made.size, made.dim) == (card.architecture, card.input_size, card.dim)
    assert usual_detector(made) == "bundled"
    assert made.teacher == "bundled"
    assert settled(recipe("comsys", {"begin": "bundled"})).teacher == ""


def test_the_encoder_begun_from_teaches_what_it_says_of_the_same_crops(
    trained: TrainReport, people: Path, tmp_path: Path
) -> None:
    made = request(
        people, tmp_path / "run", begin=trained.encoder, loss="distillation", augment="none",
        clean_teacher=False, learning_rate=1e-12, epochs=1,
    )  # fmt: skip
    report = train(made)
    assert report.recipe.teacher == trained.encoder
    with (tmp_path / "run" / "log.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["loss"]) < 1e-3
    with pytest.raises(InputError, match="nowhere"):
        train(replace(made, out=tmp_path / "other", teacher_detector=str(tmp_path / "nowhere")))


def test_a_teacher_is_shown_what_it_knows(people: Path, tmp_path: Path) -> None:
    """One of faces sees faces, though the student sees whole photos: here there are none."""
    for person in ("a", "b"):
        (tmp_path / "grey" / person).mkdir(parents=True)
        for shade in (60, 120):
            grey = np.full((160, 160, 3), shade + (person == "b"), np.uint8)
            Image.fromarray(grey).save(tmp_path / "grey" / person / f"{shade}.png")
    asked = request(tmp_path / "grey", tmp_path / "run", loss="distillation", teacher="bundled")
    asked = replace(asked, val=people / "val", detector="whole")
    with pytest.raises(InputError, match="the teacher's detector found no face"):
        train(asked)
    train(replace(asked, teacher_detector="none"))


@pytest.mark.parametrize("part", ["begin", "teacher"])
def test_another_encoder_at_the_same_place_is_not_gone_on_from(
    part: str, trained: TrainReport, people: Path, tmp_path: Path
) -> None:
    place = tmp_path / "encoder"
    shutil.copytree(trained.encoder, place)
    from_it = {"begin": {"begin": str(place)}, "teacher": {"teacher": str(place)}}[part]
    made = request(people, tmp_path / "run", loss="distillation", epochs=1, **from_it)
    first = train(made)
    # The same one elsewhere is the same.
    moved = place.rename(tmp_path / "moved")
    again = replace(made.recipe, **{part: str(moved)})
    assert train(replace(made, recipe=again)).metrics == first.metrics
    shutil.copytree(first.encoder, place)
    with pytest.raises(InputError, match=f"of another run .*{part} was"):
        train(made)


@pytest.mark.parametrize("part", ["begin", "teacher"])
def test_no_run_writes_over_the_encoder_that_it_goes_on_from(
    part: str, trained: TrainReport, people: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained.encoder, tmp_path / "run" / "encoder")
    from_it = {part: str(tmp_path / "elsewhere" / ".." / "run" / "encoder")}
    (tmp_path / "elsewhere").mkdir()
    made = request(people, tmp_path / "run", loss="distillation", epochs=1, **from_it)
    with pytest.raises(InputError, match=f"--{part} .*write its encoder over it"):
        train(made)
    assert (
        read_bundle(tmp_path / "run" / "encoder").card.name
        == read_bundle(Path(trained.encoder)).card.name
    )
    with pytest.raises(EncoderError, match=r"did you mean .*run.encoder\?"):
        train(request(people, tmp_path / "next", begin=str(tmp_path / "run"), epochs=1))


def test_an_encoder_of_faces_is_not_judged_on_whole_photos(
    people: Path, trained: TrainReport, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = request(people, tmp_path / "run", begin=trained.encoder, epochs=1)
    report = train(replace(made, detector="whole"))
    assert "take --detector bundled" in caplog.text
    assert report.verdict == "Before, it knew other pictures than --detector whole cuts."
    assert (report.worse, report.better) == ((), ())


@pytest.mark.parametrize(
    "option",
    ["--network=efficientnet_b0", "--size=64", "--blur=3", "--hidden=9", "--dim=9",
     "--pretrained=yes", "--network-options=patch_size=2"],
)  # fmt: skip
def test_what_the_encoder_begun_from_decides_is_no_option(
    option: str, trained: TrainReport, people: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ["train", str(people), "--out", str(tmp_path / "run"), "--begin", trained.encoder]
    assert run([*words, option]) == 4
    assert f"{option.split('=')[0]}: --begin {trained.encoder}" in capsys.readouterr()[1]
    assert run([*words[:-2], "--recipe", "own", option]) == 4
    assert f"{option.split('=')[0]}: --recipe own" in capsys.readouterr()[1]
    assert not (tmp_path / "run").exists()


def test_a_recipe_for_another_network_does_not_begin_from_an_encoder(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(people), "--out", str(tmp_path / "run"), "--begin", "bundled"]
    assert run([*words, "--recipe", "efficientnet-siamese"]) == 4
    assert "its network is convnext_atto, the recipe's efficientnet_b0" in capsys.readouterr()[1]
    assert not (tmp_path / "run").exists()


def test_a_blur_trains_ships_and_is_begun_from(people: Path, tmp_path: Path) -> None:
    report = train(request(people, tmp_path / "run", blur=3, epochs=1))
    bundle = read_bundle(Path(report.encoder))
    assert bundle.card.blur == 3
    crops = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    by_torch = unit_rows(bundle_forward(bundle, "cpu")(crops), bundle.card.dim)
    assert np.allclose(open_encoder(report.encoder, "cpu").embed(crops), by_torch, atol=1e-4)
    begun = settled(recipe("comsys", {"begin": report.encoder}))
    assert begun.blur == 3
    assert build(begun).blur == 3
    with pytest.raises(InputError, match="--blur 2: take an odd number"):
        recipe("comsys", {"blur": 2})


def test_pretrained_weights_of_a_file_are_loaded_by_timm(people: Path, tmp_path: Path) -> None:
    torch.manual_seed(123)
    model = timm.create_model("test_convnext", num_classes=5)
    file = tmp_path / "weights.pth"
    torch.save(model.state_dict(), file)
    network = EncoderNetwork("test_convnext", pretrained=str(file))
    wanted = model.state_dict()
    loaded = network.backbone.state_dict()
    for name in loaded:
        assert torch.equal(loaded[name], wanted[name]), name
    made = request(people, tmp_path / "run", pretrained=str(tmp_path / "gone.pth"))
    with pytest.raises(InputError, match=r"gone\.pth: no such file"):
        train(made)


def test_a_network_without_a_name_in_timm_is_refused(people: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no such model; it has convnext"):
        train(request(people, tmp_path / "run", network="convnext_tinny"))


@pytest.mark.parametrize("network", ["test_vit", "test_resnet", "convnext_atto", "efficientnet_b0"])
def test_other_kinds_of_network_become_bundles(network: str, people: Path, tmp_path: Path) -> None:
    size = 160 if network == "test_vit" else 32
    report = train(request(people, tmp_path / "run", network=network, size=size, epochs=1, dim=32))
    assert open_encoder(report.encoder, "cpu").dim == 32


def copy_people(people: Path, place: Path, each: int) -> None:
    for number, person in enumerate(sorted((people / "train").iterdir())):
        (place / person.name).mkdir(parents=True)
        for photo in sorted(person.glob("*.jpg"))[: each if number else 1]:
            shutil.copy(photo, place / person.name)


def test_the_same_photo_in_both_folders_is_named(people: Path, tmp_path: Path) -> None:
    copy_people(people, tmp_path / "val", each=2)
    made = replace(request(people / "train", tmp_path / "run"), val=tmp_path / "val")
    with pytest.raises(InputError, match=r"the same photo is trained on, as .*train"):
        train(made)


def test_people_in_both_folders_are_said_and_single_photos_serve_as_others(
    people: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy_people(people, tmp_path / "train", each=2)
    for person in sorted((people / "train").iterdir()):
        (tmp_path / "val" / person.name / "distortion").mkdir(parents=True)
        last = sorted(person.glob("*.jpg"))[2]
        shutil.copy(last, tmp_path / "val" / person.name)
        dark = person / "distortion" / f"{last.stem}_lowlight.jpg"
        shutil.copy(dark, tmp_path / "val" / person.name / "distortion")
    (tmp_path / "train" / "damaged").mkdir()
    (tmp_path / "train" / "damaged" / "1.jpg").write_bytes(b"no photo")
    report = train(request(tmp_path, tmp_path / "run", epochs=1))
    assert report.seen_in_training
    assert "1 of 6 people have one picture" in caplog.text
    assert "seen in training" in caplog.text
    assert [Path(path).name for path, _ in report.left_out] == ["1.jpg"]
    assert report.metrics["cross_photo_rank1"] is None


def test_validation_without_cross_photo_pairs_cannot_select_by_them(
    people: Path, tmp_path: Path
) -> None:
    copy_people(people, tmp_path / "train", each=3)
    for person in sorted((people / "val").iterdir()):
        (tmp_path / "val" / person.name).mkdir(parents=True)
        shutil.copy(sorted(person.glob("*.jpg"))[0], tmp_path / "val" / person.name)
    made = request(tmp_path, tmp_path / "run", epochs=1, select="cross_photo_rank1")
    with pytest.raises(InputError, match="cannot tell cross_photo_rank1"):
        train(made)


def test_folders_that_cannot_be_trained_on(people: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="0 people"):
        train(request(tmp_path / "empty", tmp_path / "run"))
    person = next((people / "train").iterdir())
    shutil.copytree(person, tmp_path / "one" / person.name)
    with pytest.raises(InputError, match="1 people"):
        train(request(tmp_path / "one", tmp_path / "run"))


def test_without_validation_folder_a_tenth_of_the_people_is_drawn(
    people: Path, tmp_path: Path
) -> None:
    report = train(request(people / "train", tmp_path / "run", epochs=1))
    assert (report.people, report.val_people) == (4, 2)
    assert not report.seen_in_training


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"margin": 2.5}, "margin"),
        ({"size": 4}, "size"),
        ({"sampler": "all"}, "take pairs, pk"),
        ({"sampler": "pk", "batch_size": 9}, "multiple of 4"),
        ({"learning_rate": 0.0}, "learning-rate"),
        ({"optimizer": "nothing"}, "no such optimizer"),
        ({"loss": "distillation"}, "--teacher"),
        ({"select": "luck"}, "--select luck"),
        ({"select": "cross_photo_eer"}, "--select cross_photo_eer: take .*auc"),
        ({"sampler": "pk", "cross_photo": 0.5}, "--cross-photo 0.5: --sampler pk"),
        ({"teacher": "bundled"}, "--teacher bundled: asked by nothing"),
        ({"cross_photo": -0.5}, "--cross-photo -0.5"),
        ({"warmup": 3.0, "epochs": 2}, "--warmup 3.0"),
        ({"seed": -1}, "--seed -1"),
    ],
)
def test_values_that_cannot_be(
    change: dict[str, Any], words: str, people: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        train(request(people, tmp_path / "run", **change))


def test_the_published_table_to_the_letter() -> None:
    comsys = RECIPES["comsys"]
    assert (comsys.network, comsys.size, comsys.hidden, comsys.dim) == (
        "convnext_atto",
        224,
        512,
        128,
    )
    assert (comsys.loss, comsys.margin, comsys.batch_size, comsys.epochs) == (
        "contrastive",
        1.0,
        32,
        10,
    )
    assert (comsys.optimizer, comsys.learning_rate, comsys.weight_decay) == ("adamw", 1e-4, 1e-5)
    assert RECIPES["efficientnet-siamese"].network == "efficientnet_b0"


def test_the_cosine_is_torchs_over_the_true_number_of_epochs() -> None:
    plan = recipe("comsys")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=plan.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=plan.epochs)
    for epoch in range(plan.epochs):
        assert rate_at(plan, epoch, 0.7) == pytest.approx(schedule.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        schedule.step()


def test_the_network_scales_pixels_as_the_published_transform_does() -> None:
    photo = np.asarray(Image.open(next(SAMPLE.rglob("*.jpg"))).convert("RGB"))
    wanted = normalised(64)(image=photo)["image"]
    import cv2

    small = cv2.resize(photo, (64, 64), interpolation=cv2.INTER_LINEAR)
    network = EncoderNetwork("test_convnext")
    given = network.scaled(torch.from_numpy(small)[None])[0]
    assert torch.allclose(given, wanted, atol=1e-5)


def test_half_grey_levels_of_a_blur_outlast_a_small_float() -> None:
    crop = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    network = EncoderNetwork("test_convnext", blur=3)
    whole = network.scaled(torch.from_numpy(crop))
    small = network.to(torch.bfloat16).scaled(torch.from_numpy(crop))
    assert torch.equal(small, whole.to(torch.bfloat16))


def test_a_change_hangs_on_its_seed_alone() -> None:
    crop = np.asarray(Image.open(next(SAMPLE.rglob("*.jpg"))).convert("RGB"))
    change = Augmentation.of("published", 0.5)
    changed = change([crop] * 9, [0, 1, 2, 3, 4, 5, 6, 7, 3])
    assert np.array_equal(changed[3], changed[8])
    assert len({picture.tobytes() for picture in changed}) > 4
    assert np.array_equal(Augmentation.of("none", 0.0)([crop], [1])[0], crop)


def test_thumbnails_are_unit_vectors_even_of_one_colour() -> None:
    crops = np.zeros((2, 40, 40, 3), np.uint8)
    crops[1, :, :20] = 255
    rows = thumbnails(crops)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert rows[1].reshape(16, 16)[0, 0] == pytest.approx(1 / 16)
