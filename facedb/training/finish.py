"""From the best weights to a run folder: the bundle, what it measures, figures and a report."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facedb.encoder import open_encoder
from facedb.encoder.bundle import bundle_folder, read_bundle
from facedb.encoder.export import write_bundle
from facedb.errors import DependencyMissing, InputError
from facedb.faces import WITHOUT_FILE
from facedb.strangers import people_needed
from facedb.training.data import CLEAN, Faces, people_with_two
from facedb.training.networks import begun_bundle, build, network_options, strange_to
from facedb.training.recipes import Recipe
from facedb.training.request import TrainRequest
from facedb.training.teacher import embed
from facedb.training.validation import Validation, thumbnails, validate
from facedb.training.verdict import Verdict, judge
from facedb.types import Embeddings

_logger = logging.getLogger("facedb")

_FPIR = 0.01  # at which `validate` sets the threshold
_AND_TERMS = "; and "


@dataclass(frozen=True, slots=True)
class Done:
    """What the finished bundle measures.

    Attributes:
        validation: of the bundle, on ONNX Runtime as a user has it.
        thumbnail: of 16 x 16 grey thumbnails on the same photos.
        begun: of the encoder that `begin` names, on them.
        verdict: which of the two is better.
        caveat: why the threshold is not to be relied on, or "".
        parameters: of the network.
    """

    validation: Validation
    thumbnail: Validation
    begun: Validation | None
    verdict: Verdict
    caveat: str
    parameters: int


def finish(
    request: TrainRequest, recipe: Recipe, faces: Faces, proof: Faces, *, seen: bool
) -> Done:
    """Write the bundle of the best epoch, measure it, and draw the run.

    Raises:
        InputError: no epoch was good enough to be kept.
    """
    out = request.out
    network = build(recipe)
    weights = out / "best.pt"
    if not weights.exists():
        raise InputError(f"{weights}: gone; delete {out} and train anew")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    write_bundle(out / "encoder", network, _card(request, recipe, faces))
    embeddings = embed(open_encoder(str(out / "encoder"), "cpu"), proof.crops)
    validation = validate(embeddings, proof)
    thumbnail, begun = validate(thumbnails(proof.crops), proof), _begun(recipe, proof)
    calibrated_on = _calibrated_on(proof, seen)
    _complete(out / "encoder", validation, calibrated_on)
    _write_embeddings(out / "embeddings.npz", embeddings, proof)
    parameters = sum(weight.numel() for weight in network.parameters())
    caveat, verdict = calibrated_on.get("caveat", ""), Verdict()
    if strange_to(recipe, request.detector):
        verdict = Verdict(
            words=f"Before, it knew other pictures than --detector {request.detector} cuts."
        )
    elif begun is not None:
        people = people_with_two(proof)
        verdict = judge(begun.metrics, validation.metrics, people, recipe.begin, seen=seen)
    done = Done(validation, thumbnail, begun, verdict, caveat, parameters)
    _write_metrics(out / "metrics.json", done, proof, seen)
    if request.draw:
        _draw(out, request.with_faces)
    return done


def _begun(recipe: Recipe, proof: Faces) -> Validation | None:
    """What the encoder was worth before: training on few photos can make it worse."""
    if not recipe.begin:
        return None
    return validate(embed(open_encoder(recipe.begin, "cpu"), proof.crops), proof)


def _draw(out: Path, faces: bool) -> None:
    try:
        from facedb.training.report import draw_all, write_report
    except DependencyMissing as error:
        _logger.warning("no figures and no report: %s", error)
        return
    draw_all(out, faces=faces)
    write_report(out, faces=faces)


def _card(request: TrainRequest, recipe: Recipe, faces: Faces) -> dict[str, Any]:
    whole = request.detector == "whole"
    return {
        "name": f"{recipe.network}-{request.out.name}",
        "architecture": recipe.network,
        "architecture_options": network_options(recipe),
        "hidden": recipe.hidden,
        "dim": recipe.dim,
        "input_size": recipe.size,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "blur": recipe.blur,
        "alignment": "whole" if whole else "arcface-112",
        "normalisation": "l2",
        "detector": request.detector if request.detector in WITHOUT_FILE else "yunet",
        "training": {
            "data": f"{request.data.name}: {len(faces.names)} people, {len(faces)} photos",
            "terms": _terms(recipe),
            "recipe": asdict(recipe) | {"begin": Path(recipe.begin).name}
            | {"teacher": Path(recipe.teacher).name},
            "photos_sha256": sorted(faces.digests),
        } | _begun_from(recipe),
    }  # fmt: skip


def _terms(recipe: Recipe) -> str:
    """The terms of what was begun from or learned from go with the weights, each said once."""
    own = "as the photographs it was trained on allow"
    if recipe.teacher.endswith(".onnx") or recipe.teacher.startswith(("timm:", "hf-hub:")):
        own += f", and as {Path(recipe.teacher).name}, its teacher, allows"
    said = [own]
    for spec in sorted({spec for spec in (recipe.begin, recipe.teacher) if spec}):
        folder = bundle_folder(spec)
        if (folder / "encoder.json").exists():
            card = read_bundle(folder).card
            inherited = card.terms.removeprefix(own + _AND_TERMS).removeprefix(f"{own}; ")
            if inherited != card.terms:
                said += inherited.split(_AND_TERMS)
            elif inherited != own:
                said.append(f"{inherited or 'terms that its card does not say'} ({card.name})")
    return _AND_TERMS.join(dict.fromkeys(said))


def _begun_from(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Which encoder it was before, where it was one."""
    if not recipe.begin:
        return {}
    card = begun_bundle(recipe).card
    return {"begun_from": {"name": card.name, "weights": card.whole["weights_sha256"]}}


def _complete(folder: Path, validation: Validation, calibrated_on: dict[str, Any]) -> None:
    """Put what was measured into the card, which only then is whole."""
    file = folder / "encoder.json"
    whole = json.loads(file.read_text(encoding="utf-8"))
    whole["threshold"] = {
        "distance": validation.threshold,
        "fpir": _FPIR,
        "calibrated_on": calibrated_on,
    }
    whole["measured"] = {
        "validation": validation.metrics,
        "by_distortion": validation.by_distortion,
    }
    part = file.with_suffix(".part")
    part.write_text(json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    part.replace(file)


def _calibrated_on(proof: Faces, seen: bool) -> dict[str, Any]:
    """How many people and photos the threshold rests on, and whether they prove its FPIR."""
    clean = np.array(proof.kinds) == CLEAN
    people, needed = len(np.unique(proof.labels[clean])), people_needed(_FPIR)
    found: dict[str, Any] = {
        "people": "the validation people" + (", seen in training" if seen else ""),
        "gallery": people,
        "strangers": people,
        "photos": int(clean.sum()),
    }
    if people < needed:
        found["caveat"] = (
            f"an FPIR of {100 * _FPIR:g} % needs {needed} different strangers: it may be larger; "
            "facedb calibrate STRANGERS"
        )
    return found


def _write_embeddings(file: Path, embeddings: Embeddings, proof: Faces) -> None:
    np.savez(
        file,
        embeddings=embeddings,
        labels=proof.labels,
        photos=proof.photos,
        kinds=np.array(proof.kinds),
        paths=np.array(proof.paths),
        names=np.array(proof.names),
    )


def _write_metrics(file: Path, done: Done, proof: Faces, seen: bool) -> None:
    metrics: dict[str, Any] = {
        "n": len(proof),
        "people": len(proof.names),
        "seen_in_training": seen,
        "encoder": done.validation.metrics,
        "thumbnail": done.thumbnail.metrics,
        "by_distortion": done.validation.by_distortion,
        "thumbnail_by_distortion": done.thumbnail.by_distortion,
        "threshold": done.validation.threshold,
    }
    if done.begun is not None:
        metrics |= {
            "begun": done.begun.metrics,
            "begun_by_distortion": done.begun.by_distortion,
            "verdict": done.verdict.words,
        }
    file.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
