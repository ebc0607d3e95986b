"""Quality: what it is told from, and where index and query say it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facedb.cli.main import run
from facedb.encoder import Encoder, open_encoder
from facedb.encoder.bundle import BUNDLED
from facedb.errors import InputError
from facedb.identify import FaceDB, Settings
from facedb.quality import CAUSES, QualityModel, traits
from facedb.training.data import Faces
from facedb.training.loop import train
from facedb.training.quality import CONDITIONS, Looked, fitted, quality_of
from facedb.training.recipes import recipe
from facedb.training.request import TrainRequest
from facedb.types import Face

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "train"
CENTRE = np.eye(128)[0]


def face(landmarks: list[list[float]], score: float = 0.9) -> Face:
    crop = np.zeros((112, 112, 3), np.uint8)
    return Face((0.0, 0.0, 9.0, 9.0), np.array(landmarks, np.float32), score, crop)


def unit(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), math.sin(angle), *[0.0] * 126]], np.float32)


def test_traits_worked_by_hand() -> None:
    # Eyes 32 apart on a level line; the nose 8 to the right of their middle and 20 below.
    level = face([[10, 40], [42, 40], [34, 60], [16, 75], [36, 75]])
    assert traits([level], unit(math.pi / 2), CENTRE)[0] == pytest.approx(
        [math.sqrt(2), 5.0, 0.25, 0.9], abs=1e-6
    )
    # Turned by 90 degrees in the picture, 200 px between the eyes: 64 at most.
    upright = face([[0, 0], [0, 200], [-125, 150], [0, 0], [0, 0]], 0.5)
    assert traits([upright], unit(0), CENTRE)[0] == pytest.approx([0, 6.0, 0.25, 0.5], abs=1e-6)
    assert traits([], np.empty((0, 128), np.float32), CENTRE).shape == (0, 4)
    same_eyes = face([[5, 5], [5, 5], [5, 9], [4, 12], [6, 12]])
    assert np.isfinite(traits([same_eyes], unit(1), CENTRE)).all()


def test_the_chance_is_the_logistic_of_the_traits() -> None:
    usual = np.array([1.2, 5.0, 0.1, 0.9])
    model = QualityModel(CENTRE, np.array([2.0, 1.0, -4.0, 3.0]), -10.0, usual, 0.4, 0.0)
    good = face([[10, 40], [42, 40], [26, 60], [16, 75], [36, 75]])
    turned = face([[10, 40], [42, 40], [42, 60], [16, 75], [36, 75]])
    (fine, poor) = model([good, turned], np.repeat(unit(math.pi / 2), 2, axis=0))
    logit = 2 * math.sqrt(2) + 5 + 3 * 0.9 - 10
    assert fine.chance == pytest.approx(1 / (1 + math.exp(-logit)))
    assert (fine.poor, fine.cause) == (False, "")
    assert poor.chance == pytest.approx(1 / (1 + math.exp(-(logit - 4 * 0.5))))
    assert (poor.poor, poor.cause) == (True, "turned away")


@pytest.fixture
def picky(tmp_path: Path) -> Path:
    """The bundled encoder, with a card that calls poor whatever lies within 1 of an axis."""
    folder = tmp_path / "encoder"
    shutil.copytree(BUNDLED, folder)
    card = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    card["quality"] = {
        "centre": CENTRE.tolist(),
        "weights": [100.0, 0.0, 0.0, 0.0],
        "bias": -140.0,
        "usual": [1.4, 5.1, 0.0, 1.0],
        "poor": 0.5,
    }
    (folder / "encoder.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def test_index_names_the_poor_and_query_says_so(
    picky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaceDB(tmp_path / "g", Settings(encoder=str(picky), detector="none")) as db:
        report = db.index_folder(SAMPLE)
        found = {item.path: item.quality for item in report.poor}
        vectors = [(path, db.identify(path)[0]) for path in sorted(map(str, SAMPLE.rglob("*.jpg")))]
        crops = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in vectors])
        near = db.encoder.embed(np.ascontiguousarray(crops[:, 24:136, 24:136]))[:, 0]
    # |e - axis| < 1.4 where 2 - 2 e_0 < 1.96, so where e_0 > 0.02.
    expected = {path for (path, _), value in zip(vectors, near, strict=True) if value > 0.02}
    assert 5 < len(expected) < 91
    assert set(found) == expected
    for path, answer in vectors:
        assert answer.quality is not None
        assert answer.quality.poor == (path in expected)
    worst = min(found, key=lambda path: found[path].chance)
    assert run(["query", worst, "-g", str(tmp_path / "g")]) == 0
    assert f"({CAUSES[0]}, quality 0." in capsys.readouterr().out
    assert run(["query", worst, "-g", str(tmp_path / "g"), "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)["faces"]
    assert line["quality"]["poor"] is True


def test_the_unrecognisable_are_nobody(
    picky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, model = Settings(encoder=str(picky)), ["--encoder", str(picky)]
    with FaceDB(tmp_path / "before", settings) as before:
        before.index_folder(SAMPLE)
        ids, vectors = next(before.gallery.store.added(0, before.gallery.store.revision()))
        near = dict(zip(ids.tolist(), vectors[:, 0].tolist(), strict=True))
        photos = {item.photo: near[item.template_id] for item in before.gallery.store.templates()}
    # |e - axis| < 1.4 where e_0 > 0.02.
    lost = sorted(path for path, value in photos.items() if value > 0.02)
    card = json.loads((picky / "encoder.json").read_text(encoding="utf-8"))
    card["quality"]["unrecognisable"] = 1.4
    (picky / "encoder.json").write_text(json.dumps(card), encoding="utf-8")
    with FaceDB(tmp_path / "g", settings) as db:
        report = db.index_folder(SAMPLE)
    assert [item.path for item in report.refused] == lost
    assert {item.reason for item in report.refused} == {"the face cannot be made out"}
    assert (report.enrolled, report.poor) == (96 - len(lost), [])
    assert 5 < len(lost) < 91
    # Nor is one of them identified in a gallery that held it before anybody could say so.
    (answer,) = FaceDB(tmp_path / "before", settings).identify(lost[0], threshold=2.0)
    assert (answer.identity, answer.candidates[0].distance) == (None, 0.0)
    assert answer.unrecognisable
    seen = min(path for path in photos if path not in lost)
    (answer,) = FaceDB(tmp_path / "before", settings).identify(seen)
    assert answer.identity == Path(seen).parent.name
    shared = ["-g", str(tmp_path / "before"), "-t", "2"]
    assert run(["query", lost[0], *shared, "--picture", str(tmp_path / "who.png")]) == 0
    printed = capsys.readouterr().out
    assert "not identified, at" in printed
    assert "the face cannot be made out" in printed
    assert "accepted" not in printed
    assert "near" not in printed
    assert run(["compare", lost[0], lost[0], *model]) == 0
    printed = capsys.readouterr().out
    assert "not decided, the face cannot be made out: distance 0.000" in printed
    assert f"  {lost[0]}: hard to make out, quality 0." in printed
    # Nobody new: each photo is searched among the others, and these are failures to acquire.
    assert run(["evaluate", str(SAMPLE), "-g", str(tmp_path / "none"), *model, "--json"]) == 0
    refused = json.loads(capsys.readouterr().out)["refused"]
    assert [item["path"] for item in refused] == lost
    # Made anew, an older gallery is told of them, too.
    with FaceDB(tmp_path / "before", settings) as old:
        with pytest.raises(InputError, match="the face cannot be made out"):
            old.reencode()
        assert old.reencode(drop_missing=True).reencoded == 96 - len(lost)
    # Crops that nobody looked for are taken as they are.
    with FaceDB(tmp_path / "crops", Settings(encoder=str(picky), detector="none")) as db:
        assert db.index_folder(SAMPLE).enrolled == 96
        assert not db.identify(lost[0])[0].unrecognisable


def test_index_prints_the_worst_first(
    picky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = ["-g", str(tmp_path / "g"), "--detector", "none", "--encoder", str(picky)]
    assert run(["index", str(SAMPLE), *gallery]) == 0
    printed = capsys.readouterr().out
    shares = [
        float(line.split("quality ")[1].split(":")[0])
        for line in printed.splitlines()
        if "quality " in line
    ]
    assert "enrolled faces are hard to recognise" in printed
    assert len(shares) == 10
    assert shares == sorted(shares)


def looked(people: str, photos: list[int], angles: list[float], apart: list[float]) -> Looked:
    rows = np.concatenate([unit(angle) for angle in angles])
    return Looked(np.array(list(people)), np.array(photos), rows, np.array(apart)[:, None])


def test_who_is_found_worked_by_hand() -> None:
    # A's two photos are near each other; an other lies between those of B; C has one photo.
    gallery = looked("AABBC", [0, 1, 2, 3, 4], [0.0, 0.1, 1.0, 1.4, 2.0], [1.3, 1.3, 1.2, 1.2, 1.1])
    # Blurred, A's first photo is like B's.
    blurred = looked("A", [0], [0.99], [0.9])
    other = unit(1.2)
    model, shares = fitted({"clean": gallery, "blurred-3": blurred}, gallery, other, CENTRE, 0.8)
    assert shares == {"clean": 0.5, "blurred-3": 0.0}
    # A regression with a free bias is right on average: two of the five that could be found were.
    told = np.array([1.3, 1.3, 1.2, 1.2, 0.9])
    chances = 1 / (1 + np.exp(-(told * model.weights[0] + model.bias)))
    assert model.weights[0] > 0
    assert chances.mean() == pytest.approx(2 / 5, abs=1e-3)
    # Five faces cannot say that nobody is found from there; what is taken for the centre is nobody.
    assert model.unrecognisable == 0.8
    assert model.usual.tolist() == [1.2]


def test_who_is_poor_and_who_is_nobody_worked_by_hand() -> None:
    # 120 faces of A, smeared, lie at B; 80 that are farther from the centre lie at A.
    gallery = looked("AB", [0, 1], [0.0, 1.5], [1.4, 1.4])
    apart = [*np.linspace(0.1, 0.5, 120), *np.linspace(1.0, 1.4, 80)]
    photos = list(range(10, 210))
    smeared = looked("A" * 200, photos, [1.5] * 120 + [0.0] * 80, apart)
    spread = np.array([0.6, 0.6, *np.linspace(0.7, 1.4, 19)])
    clean = looked("A" * 21, list(range(300, 321)), [0.0] * 21, spread.tolist())
    looks = {"clean": clean, "noisy-5": smeared}
    model, shares = fitted(looks, gallery, np.empty((0, 128), np.float32), CENTRE, 0.3)
    assert shares == {"clean": 1.0, "noisy-5": pytest.approx(80 / 200)}
    # 120 that are not found and one that is: 0.8 %; the next would make it 1.6.
    assert model.unrecognisable == spread[0]
    chances = 1 / (1 + np.exp(-(np.array([*spread, 1.0]) * model.weights[0] + model.bias)))
    assert np.quantile(chances[:-1], 0.05) < chances[-1] / 2
    assert model.poor == pytest.approx(np.quantile(chances[:-1], 0.05))
    again = QualityModel.of({"quality": model.card()})
    assert again is not None
    for name in ("centre", "weights", "bias", "usual", "poor", "unrecognisable"):
        assert getattr(again, name) == pytest.approx(getattr(model, name), rel=5e-4), name


def test_training_measures_quality(tmp_path: Path) -> None:
    for number, person in enumerate(sorted(SAMPLE.iterdir())):
        (tmp_path / "data" / ("train" if number % 2 else "val")).mkdir(parents=True, exist_ok=True)
        place = tmp_path / "data" / ("train" if number % 2 else "val") / person.name
        shutil.copytree(person, place)
    made = recipe("own", {"epochs": 1, "learning_rate": 1e-6, "precision": "fp32"})
    out = tmp_path / "run"
    report = train(
        TrainRequest(tmp_path / "data", out, made, detector="none", workers=0, draw=False)
    )
    assert report.no_quality == ""
    card = json.loads((out / "encoder" / "encoder.json").read_text(encoding="utf-8"))
    model = QualityModel.of(card)
    assert model is not None
    assert card["quality"]["fitted_on"] == "the validation people"
    with FaceDB(tmp_path / "g", Settings(encoder=report.encoder, detector="none")) as db:
        encoder = db.encoder
        found = db.index_folder(tmp_path / "data" / "val")
    images = [
        Image.open(path).convert("RGB").crop((24, 24, 136, 136))
        for path in sorted((tmp_path / "data" / "val").rglob("*.jpg"))
    ]
    chances, shares = {}, {}
    for side in (112, 24, 6):
        crops = [image.resize((side, side), Image.Resampling.BOX) for image in images]
        crops = [crop.resize((112, 112), Image.Resampling.BICUBIC) for crop in crops]
        embeddings = encoder.embed(np.stack([np.asarray(crop) for crop in crops]))
        lost = model.cannot_tell(embeddings)
        shares[side] = lost.mean()
        faces = [face([[10, 40], [42, 40], [34, 60], [16, 75], [36, 75]])] * len(crops)
        chances[side] = np.mean([quality.chance for quality in model(faces, embeddings)])
    centre = embeddings.mean(axis=0)
    assert centre @ model.centre / np.linalg.norm(centre) > 0.99
    assert chances[112] > chances[24] > chances[6]
    assert shares[112] == 0.0
    assert shares[6] > 0.9
    assert len(found.poor) <= 0.05 * len(images)


def faces_of(photos: dict[str, int], side: int = 16) -> Faces:
    """So many photos of each person, all of that person's colour."""
    names = tuple(photos)
    labels = np.repeat(np.arange(len(names)), list(photos.values()))
    colours = np.random.default_rng(len(names)).integers(60, 200, (len(names), 3)).astype(np.uint8)
    crops = np.broadcast_to(colours[labels, None, None], (len(labels), side, side, 3)).copy()
    files = tuple(f"{number}.png" for number in range(len(labels)))
    kinds = ("clean",) * len(labels)
    return Faces(crops, labels, np.arange(len(labels)), kinds, files, files, names, ())


def by_colour(seen: list[np.ndarray]) -> Encoder:
    """An encoder that knows people by colour alone; it notes the colours that it is shown."""

    def forward(crops: np.ndarray) -> np.ndarray:
        colours = crops.astype(np.float32).mean(axis=(1, 2))
        seen.append(colours)
        return colours - 128.5

    return Encoder("made-up", "made-up", "f" * 64, 3, 0.5, "cpu", forward, input_size=16)


def test_of_many_photos_every_person_is_probed_in_turn() -> None:
    photos = {"Ada": 250} | {f"person{number:02}": 10 for number in range(14)}
    proof, seen = faces_of(photos), []
    encoder = by_colour(seen)
    quality_of(encoder, 0.5, proof, encoder.embed(proof.crops), faces_of({"Zoe": 1}))
    shown = np.concatenate(seen)
    probed = shown[len(proof.crops) :]
    colours = proof.crops[np.unique(proof.labels, return_index=True)[1], 0, 0]
    # Many a condition leaves a picture of one colour as it is: as many times everybody's.
    times = [(probed == colour).all(axis=1).sum() for colour in colours]
    assert times[1] >= 2 * 10
    assert times == [16 * times[1], *[times[1]] * 14]
    # The photos themselves, their smears, a stranger, and 300 in each condition.
    assert len(shown) == len(proof.crops) + 300 + 1 + 300 * len(CONDITIONS)


def test_an_encoder_that_smearing_does_not_hurt_says_so() -> None:
    proof, seen = faces_of({f"person{number:02}": 3 for number in range(12)}), []
    encoder = by_colour(seen)
    told = quality_of(encoder, 0.5, proof, encoder.embed(proof.crops), faces_of({"Zoe": 1}))
    assert told == "a face that is smeared away is found like any other"


def test_hardly_a_clean_face_is_nobody_however_loose_the_threshold() -> None:
    crops, labels = [], []
    for number, person in enumerate(sorted(SAMPLE.iterdir())):
        for photo in sorted(person.iterdir()):
            crops.append(np.asarray(Image.open(photo).convert("RGB").crop((24, 24, 136, 136))))
            labels.append(number)
    files = tuple(str(number) for number in range(len(crops)))
    names = tuple(f"person{number:02}" for number in range(max(labels) + 1))
    rows = np.arange(len(crops))
    proof = Faces(
        np.stack(crops), np.array(labels), rows, ("clean",) * len(crops), files, files, names, ()
    )
    encoder = open_encoder("bundled", "cpu")
    embeddings = encoder.embed(proof.crops)
    model = quality_of(encoder, 2.0, proof, embeddings, faces_of({"Zoe": 1}, 112))
    assert isinstance(model, QualityModel)
    assert model.cannot_tell(embeddings).mean() <= 1 / 200
