"""The search: drawn by number, kept, and gone on with after a kill."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from crops import people_folder
from PIL import Image

from facedb.cli.train import train_command
from facedb.encoder.bundle import BUNDLED
from facedb.errors import InputError
from facedb.render_training import tuning_text
from facedb.training.loop import train
from facedb.training.networks import settled
from facedb.training.recipes import Recipe, recipe
from facedb.training.request import EpochRow, TrainRequest
from facedb.training.trials import command_of
from facedb.training.tune import TuneRequest, optuna, tune


class Killed(BaseException):
    """Stands for what ends a process between two lines."""


def training(folder: Path, **changes: Any) -> TrainRequest:
    data = people_folder(folder / "photos", count=8, photos=3)
    made = recipe(
        "comsys",
        {"network": "test_byobnet", "size": 32, "epochs": 1, "precision": "fp32"}
        | {"augment": "none", "select": "cross_photo_auc"}
        | changes,
    )
    return TrainRequest(data, folder / "search", made, detector="none", workers=0)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def stored(file: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The state of every trial in the store, and what the third and the fourth drew."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    trials = optuna.load_study(study_name="facedb", storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return [trial.state.name for trial in trials], [trial.params for trial in trials[2:4]]


def test_a_search_goes_on_to_the_number_of_trials_in_all(tmp_path: Path) -> None:
    run = training(tmp_path)
    ended: list[float] = []

    def second_falls_behind_third_is_killed(row: EpochRow) -> None:
        ended.append(row.loss)
        if len(ended) == 2:
            raise optuna.TrialPruned
        if len(ended) == 3:
            raise Killed

    watched = replace(run, after_epoch=second_falls_behind_third_is_killed)
    first = tune(TuneRequest(watched, trials=2))
    assert (first.trials, first.pruned, first.failed, first.best_trial) == (2, 1, 0, 1)
    before = rows_of(run.out)
    with pytest.raises(Killed):
        tune(TuneRequest(watched, trials=3))
    report = tune(TuneRequest(watched, trials=3))

    rows = rows_of(run.out)
    assert rows[:2] == before
    assert [row["state"] for row in rows] == ["complete", "pruned", "complete"]
    drawn = ("learning_rate", "batch_size", "margin", "dim", "weight_decay")
    assert all(len({row[name] for row in rows}) > 1 for name in ("learning_rate", "weight_decay"))
    states, (killed, again) = stored(run.out / "tune.sqlite")
    assert states == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert killed == again
    # The killed trial had ended its only epoch, which is not trained again.
    assert len(ended) == 3
    assert report.trials == 3
    assert report.best_value == max(float(row["cross_photo_auc"]) for row in (rows[0], rows[2]))
    best = json.loads((run.out / "best.json").read_text())
    assert best["recipe"] == asdict(run.recipe) | report.best
    assert set(report.best) == set(drawn)
    assert shlex.quote(str(run.data)) in best["command"]
    for name in ("history.png", "parallel.png"):
        with Image.open(run.out / name) as image:
            assert image.format == "PNG"
    assert report.command in tuning_text(report)

    with pytest.raises(InputError, match="begun with epochs 1, not 2"):
        tune(TuneRequest(training(tmp_path, epochs=2), trials=4))
    with pytest.raises(InputError, match="begun with teacher_detector None, not whole"):
        tune(TuneRequest(replace(run, teacher_detector="whole"), trials=4))


def test_the_command_trains_the_recipe(tmp_path: Path) -> None:
    made = replace(
        recipe("efficientnet-siamese"),
        learning_rate=3.2e-4,
        loss="contrastive+0.5*cosface",
        clean_teacher=False,
        cross_photo=0.25,
    )
    photos = tmp_path / "my photos"
    run = TrainRequest(photos, tmp_path / "out", Recipe(), val=photos / "val", detector="none")
    words = shlex.split(command_of(run, made))
    assert words[:3] == ["facedb", "train", str(photos)]
    given = train_command.make_context("train", words[2:]).params
    fields = {name: value for name, value in given.items() if name in asdict(made)}
    overrides = {name: value for name, value in fields.items() if value is not None}
    assert recipe(given["recipe_name"], overrides) == made
    assert (given["val"], given["detector"]) == (photos / "val", "none")


def test_trials_stand_beside_the_encoder_that_they_begin_from(tmp_path: Path) -> None:
    run = training(tmp_path)
    first = train(replace(run, out=tmp_path / "first"))
    made = replace(recipe("best"), begin=first.encoder, loss="triplet", sampler="pk", epochs=1)
    made = replace(made, mix=0.0, bend=0.0, augment="none")
    report = tune(TuneRequest(replace(run, recipe=made), trials=1))
    assert report.begun == first.metrics["cross_photo_auc"]
    assert f"before    cross_photo_auc {report.begun:.2%}" in tuning_text(report)
    no_better = ": no trial made the encoder that they began from better"
    worse, better = report.begun - 0.001, report.begun + 0.001
    assert no_better in tuning_text(replace(report, best_value=worse))
    assert no_better not in tuning_text(replace(report, best_value=better))
    # What the encoder decides is refused beside --begin, so the command must not have it.
    given = train_command.make_context("train", shlex.split(report.command)[2:]).params
    fields = {name: value for name, value in given.items() if name in asdict(made)}
    again = recipe(given["recipe_name"], {n: v for n, v in fields.items() if v is not None})
    assert settled(again) == settled(replace(made, **report.best))
    shutil.copytree(BUNDLED, first.encoder, dirs_exist_ok=True)
    with pytest.raises(InputError, match="begun with begin"):
        tune(TuneRequest(replace(run, recipe=made), trials=2))


def test_another_file_in_the_place_of_the_search_is_refused(tmp_path: Path) -> None:
    run = training(tmp_path)
    run.out.mkdir()
    (run.out / "tune.sqlite").write_bytes(b"a letter to mother")
    with pytest.raises(InputError, match=r"tune\.sqlite: is no search"):
        tune(TuneRequest(run, trials=1))
