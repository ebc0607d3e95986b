"""Train the bundled detector. `evaluate_detector.py` measures it.

    prepare   read CelebA's photographs, ask YuNet where their faces are, gather CIFAR-10 pictures
    train     learn YuNet's answers on views cut from them; goes on where it was stopped
    export    write the detector's ONNX file, its score moved to where few faces are false
    card      write its card, with what evaluate_detector.py measured

40 people of CelebA, drawn by a seed, and the people that resemble one of LFW are never seen.

    python scripts/train_detector.py prepare --work WORK
    python scripts/train_detector.py train --work WORK --minutes 120
    python scripts/train_detector.py export --work WORK --out facedb/models/detector
    python scripts/evaluate_detector.py facedb/models/detector/detector.onnx
    python scripts/train_detector.py card --work WORK --out facedb/models/detector
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click
import torch
from command import Scripts
from faceless import cifar, mosaics, pieces
from make_celeba import overlap
from measuring import DETECTOR, RESULTS, SHARED
from torch.utils.data import default_collate

from facedb.encoder.bundle import write_card
from facedb.faces import BUNDLED_POLICY, YuNet
from facedb.training.detector.export import LIMIT, to_onnx
from facedb.training.detector.loop import CHECKPOINT, Plan, Run, Views, averaged
from facedb.training.detector.loop import train as train_on
from facedb.training.detector.losses import LANDMARK_WEIGHT
from facedb.training.detector.material import gather, hold_out, keep, recall
from facedb.training.detector.network import DetectorNetwork
from facedb.training.detector.revive import revived
from facedb.training.detector.teacher import Teacher
from facedb.training.detector.views import SIDE
from facedb.types import Photo

HELD_OUT, HELD_OUT_SEED = 40, 4
CIFAR = Path("data") / "cifar10" / "cifar10_jpg.tar.xz"
LEARNED, UNSEEN = "012346789", "5"
"""Last digits of the CIFAR-10 pictures that are trained on, and that the threshold is found on."""

USUAL = BUNDLED_POLICY.threshold
LEAST, MOST = 0.2, 0.95
PHOTOS_EACH, MOSAICS = 12, range(1, 7)
"""Of each person trained on, and the seeds of the mosaics, on which the threshold is found."""

REVIVING = 256
"""Views on which a model file's normalisations are measured again."""

MODEL, CARD = "detector.onnx", "detector.json"

WORK = click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Folder of the run, big files."
)
BRANCH = click.option(
    "--branch",
    "branches",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder of a run begun from this one under way; what is shipped is their mean.",
)
OUT = click.option("--out", type=click.Path(path_type=Path), required=True, help="The bundle.")
SHARED_OPTION = click.option(
    "--shared", type=click.Path(path_type=Path), default=SHARED, help="Where the data lies."
)
TEACHER = click.option(
    "--teacher",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=DETECTOR,
    help="YuNet's model file.",
)


def people_of(celeba: Path) -> tuple[list[str], list[str]]:
    """Who is trained on, who is held out; the first without people that resemble one of LFW."""
    people = sorted(folder.name for folder in (celeba / "photos").iterdir())
    held = hold_out(people, HELD_OUT, HELD_OUT_SEED)
    alike = overlap(celeba / "lfw_overlap.csv")
    return [name for name in people if name not in alike and name not in held], held


def photos_of(celeba: Path, people: list[str]) -> list[Path]:
    """The photographs of these people, in their order."""
    return [file for name in people for file in sorted((celeba / "photos" / name).glob("*.webp"))]


@click.group(cls=Scripts, help=__doc__)
def main() -> None:
    """The four steps."""


@main.command()
@WORK
@SHARED_OPTION
@TEACHER
def prepare(work: Path, shared: Path, teacher: Path) -> None:
    """Gather what views are cut from."""
    celeba = shared / "data" / "celeba"
    people, _ = people_of(celeba)
    files = photos_of(celeba, people)
    plain = cifar(shared / CIFAR, "train", LEARNED)
    with click.progressbar(files, label="reading") as bar:
        material = gather(bar, plain, teacher)
    keep(material, work)
    click.echo(f"{len(people)} people, {len(files)} photos, {len(material.faces)} faces")


@main.command()
@WORK
@TEACHER
@click.option("--minutes", type=float, help="Of training, over all runs.")
@click.option("--steps", type=int, help="Batches, over all runs.")
@click.option("--batch", default=16, show_default=True)
@click.option("--rate", default=2e-2, show_default=True)
@click.option("--side", default=SIDE, show_default=True, help="Of a view, a multiple of 32.")
@click.option(
    "--landmark-weight", default=LANDMARK_WEIGHT, show_default=True, help="Of their error."
)
@click.option(
    "--change",
    type=click.FloatRange(0, 2),
    default=1.0,
    show_default=True,
    help="How often views are lit, grey or distorted; 0.5 is half as often as usual.",
)
@click.option(
    "--frozen-norms",
    is_flag=True,
    help="Keep the normalisations' means and variances: for a last run, begun from others.",
)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--workers", default=1, show_default=True, help="Processes that make views, 0.7 GB each."
)
@click.option("--threads", default=2, show_default=True)
@click.option(
    "--begin",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder of a run to begin from, several for their mean, or a model file, its card beside.",
)
@click.option("--enliven", is_flag=True, help="Let a model file's dead channels begin anew.")
def train(
    work: Path,
    teacher: Path,
    begin: tuple[Path, ...],
    enliven: bool,
    threads: int,
    **options: Any,
) -> None:
    """Train, or go on training, until the steps or the minutes are over."""
    if options["minutes"] is None and options["steps"] is None:
        raise click.UsageError("how long? give --minutes or --steps")
    Teacher(teacher)  # so that a wrong file is told of here and not by a worker
    torch.set_num_threads(threads)
    files = [each for each in begin if not each.is_dir()]
    if files and len(begin) > 1:
        raise click.UsageError(f"{files[0]}: a model file is begun from alone, folders together")
    if enliven and not files:
        raise click.UsageError("--enliven is for a model file: name it with --begin")
    goes_on = (work / CHECKPOINT).exists()
    if options["frozen_norms"] and not begin and not goes_on:
        raise click.UsageError("--frozen-norms is for a last run: say with --begin after which")
    plan = Plan(**options)
    views = Views(recall(work), teacher, plan.seed, plan.side, plan.change)
    run = Run(plan) if not begin or goes_on else begun_from(begin, plan, views, enliven)
    if run.recall(work):
        click.echo(f"going on after step {run.step}")

    def tell(line: dict[str, float]) -> None:
        with (work / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        click.echo(json.dumps(line))

    train_on(run, views, work, tell)


def begun_from(begin: tuple[Path, ...], plan: Plan, views: Views, enliven: bool) -> Run:
    """A new run: the mean of others and the first's hints, or a model file revived and its fitted.

    Hints at random would push the weights about until they have settled.
    """
    first, *others = begin
    if first.is_dir():
        run = Run(plan, averaged(first, others)[0])
        run.begin_hints(first)
        return run
    beside = first.with_name(CARD)
    if not beside.is_file():
        raise click.ClickException(f"{first}: {beside} is not there, which says what network it is")
    options = json.loads(beside.read_text())["architecture_options"]
    batch = default_collate([views[number] for number in range(REVIVING)])
    run = Run(plan, revived(first, batch[0].float(), options, enliven))
    run.fit_hints(batch)
    return run


@main.command()
@WORK
@BRANCH
@OUT
@SHARED_OPTION
@TEACHER
@click.option(
    "--false-faces",
    default=4.5,
    show_default=True,
    help="At most so many on 100 photos without faces, on which the teacher finds none.",
)
def export(
    work: Path,
    branches: tuple[Path, ...],
    out: Path,
    shared: Path,
    teacher: Path,
    false_faces: float,
) -> None:
    """Write the averaged weights as a model file, the score moved to where it is useful.

    The usual threshold then finds as many faces as the false ones allow: as counted on CIFAR-10
    pictures that were not trained on, and on pieces of photographs that were.
    """
    weights, facts = averaged(work, branches)
    network = DetectorNetwork(**facts["network"])
    network.load_state_dict(weights)
    kinds = faceless_photos(shared, YuNet(teacher), teacher)
    threshold = least_threshold(network, kinds, false_faces)
    model = moved(network, threshold)
    if len(model) > LIMIT:
        raise click.ClickException(f"{len(model)} bytes are more than {LIMIT}")
    out.mkdir(parents=True, exist_ok=True)
    (out / MODEL).write_bytes(model)
    click.echo(
        f"{out / MODEL}: {len(model)} bytes after {facts['step']} steps; "
        f"what was {threshold:.3f} is {USUAL} now"
    )


def faceless_photos(shared: Path, yunet: YuNet, teacher: Path) -> list[list[Photo]]:
    """Mosaics of CIFAR-10 pictures, and pieces of photographs, on which YuNet finds nothing."""
    pictures = cifar(shared / CIFAR, "train", UNSEEN)
    celeba = shared / "data" / "celeba"
    people, _ = people_of(celeba)
    files = [file for name in people for file in photos_of(celeba, [name])[:PHOTOS_EACH]]
    tiled = [photo for seed in MOSAICS for photo in mosaics(pictures, seed)]
    kinds = tiled, pieces(files, teacher, 1)
    return [[photo for photo in photos if not yunet.detect(photo)] for photos in kinds]


def least_threshold(network: DetectorNetwork, kinds: list[list[Photo]], most: float) -> float:
    """The least that finds no more than `most` faces on 100 photos of any kind; to 0.005."""

    def too_many(threshold: float) -> bool:
        with TemporaryDirectory() as folder:
            file = Path(folder) / MODEL
            file.write_bytes(moved(network, threshold))
            detector = YuNet(file, BUNDLED_POLICY)
        return any(
            100 * sum(len(detector.detect(photo)) for photo in photos) > most * len(photos)
            for photos in kinds
        )

    low, high = LEAST, MOST
    if too_many(high):
        raise click.ClickException(f"more than {most} false faces on 100 photos even at {high}")
    while high - low > 0.005:
        middle = (low + high) / 2
        low, high = (middle, high) if too_many(middle) else (low, middle)
    return high


def moved(network: DetectorNetwork, threshold: float) -> bytes:
    """The model file whose score at this threshold is the usual one."""
    return to_onnx(network, logit(USUAL) - logit(threshold))


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def run_of(work: Path) -> dict[str, Any]:
    """How long a run was, by its checkpoint."""
    _, facts = averaged(work)
    minutes = round(facts["seconds"] / 60, 1)
    return {
        "views": facts["step"] * facts["batch"],
        "side": facts["side"],
        "minutes": minutes,
        "rate": facts["rate"],
        "landmark_weight": facts["landmark_weight"],
        "change": facts["change"],
        "frozen_norms": facts["frozen_norms"],
    }


@main.command()
@WORK
@BRANCH
@OUT
@SHARED_OPTION
@click.option(
    "--begun",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of a run before it, the first first.",
)
@click.option(
    "--after",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Card of the model file that the first of them began from.",
)
@click.option("--measured", type=click.Path(path_type=Path), default=RESULTS / "detector.json")
def card(
    work: Path,
    branches: tuple[Path, ...],
    out: Path,
    shared: Path,
    begun: tuple[Path, ...],
    after: Path | None,
    measured: Path,
) -> None:
    """Write the card of an exported model."""
    before = json.loads(after.read_text())["training"] if after is not None else {}
    _, facts = averaged(work)
    people, held = people_of(shared / "data" / "celeba")
    model = (out / MODEL).read_bytes()
    result = json.loads(measured.read_text())
    digest = hashlib.sha256(model).hexdigest()
    if result["model"]["sha256"] != digest:
        raise click.ClickException(f"{measured}: of another model; run evaluate_detector.py")
    network = DetectorNetwork(**facts["network"])
    whole = {
        "schema": "facedb.detector/1",
        "name": "facedb-detector",
        "architecture": "depthwise-separable, strides 8, 16 and 32, YuNet's head layout",
        "architecture_options": network.options,
        "parameters": sum(one.numel() for one in network.parameters()),
        "input": "BGR 0..255, float32[1, 3, H, W], H and W multiples of 32",
        "threshold": USUAL,
        "model_sha256": digest,
        "training": {
            "data": f"CelebA, {len(people)} people in the wild; CIFAR-10 as pictures without "
            "faces. The first four runs saw three more people, who resemble one of LFW",
            "terms": "non-commercial research (CelebA)",
            "teacher": "YuNet 2026may, OpenCV zoo, MIT",
            "recipe": "YuNet's answer at every cell of clean views, and the maps it answers from, "
            "learned on distorted ones: single faces of 9 pixels to more than the view, half of "
            "them in the middle and large in the last runs, people behind the largest of a "
            "photograph, mosaics of up to 16 photographs, faces cut by the border, behind other "
            "people or out of focus, turns up to 30 degrees, flips, light, grey, the seven "
            "distortions, pictures without faces; one cycle of Muon, average of the weights, and "
            "of the last run's and its branches' (scripts/train_detector.py)",
            "runs": before.get("runs", [])
            + before.get("branches", [])
            + [run_of(folder) for folder in (*begun, work)],
            "branches": [run_of(folder) for folder in branches],
            "seed": facts["seed"],
            "held_out": {"set": "photos", "seed": HELD_OUT_SEED, "identities": held},
        },
        "measured": result["summary"],
    }
    write_card(out / CARD, whole)


if __name__ == "__main__":
    main()
