"""From the best weights to a run folder: the bundle, what it measures, figures and a report."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facedb.encoder import Encoder, open_encoder
from facedb.encoder.export import write_bundle
from facedb.errors import DependencyMissing, InputError
from facedb.quality import QualityModel
from facedb.training.card import card_of, complete, threshold_of
from facedb.training.data import Faces, people_with_two
from facedb.training.networks import build, strange_to
from facedb.training.quality import quality_of
from facedb.training.recipes import Recipe
from facedb.training.request import TrainRequest
from facedb.training.teacher import embed
from facedb.training.validation import Validation, thumbnails, validate
from facedb.training.verdict import Verdict, judge
from facedb.types import Embeddings

_logger = logging.getLogger("facedb")


@dataclass(frozen=True, slots=True)
class Done:
    """What the finished bundle measures.

    Attributes:
        validation: of the bundle, on ONNX Runtime as a user has it.
        thumbnail: of 16 x 16 grey thumbnails on the same photos.
        begun: of the encoder that `begin` names, on them.
        verdict: which of the two is better.
        threshold, gallery: of the largest gallery measured, and how many people that held.
        caveat: why the threshold is not to be relied on, or "".
        no_quality: why the encoder does not tell the quality of faces, or "".
        parameters: of the network.
    """

    validation: Validation
    thumbnail: Validation
    begun: Validation | None
    verdict: Verdict
    threshold: float
    gallery: int
    caveat: str
    no_quality: str
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
    write_bundle(out / "encoder", network, card_of(request, recipe, faces))
    encoder = open_encoder(str(out / "encoder"), "cpu")
    embeddings = embed(encoder, proof.crops)
    validation = validate(embeddings, proof)
    thumbnail, begun = validate(thumbnails(proof.crops), proof), _begun(recipe, proof)
    threshold = threshold_of(embeddings, proof, seen)
    quality = _quality(request, encoder, threshold["distance"], proof, embeddings, faces)
    complete(out / "encoder", validation, threshold, quality)
    _write_embeddings(out / "embeddings.npz", embeddings, proof)
    done = Done(
        validation=validation,
        thumbnail=thumbnail,
        begun=begun,
        verdict=_verdict(request, recipe, begun, validation, people_with_two(proof), seen=seen),
        threshold=threshold["distance"],
        gallery=threshold["calibrated_on"]["gallery"],
        caveat=threshold["calibrated_on"].get("caveat", ""),
        no_quality=quality if isinstance(quality, str) else "",
        parameters=sum(weight.numel() for weight in network.parameters()),
    )
    _write_metrics(out / "metrics.json", done, proof, seen)
    if request.draw:
        _draw(out, request.with_faces)
    return done


def _begun(recipe: Recipe, proof: Faces) -> Validation | None:
    """What the encoder was worth before: training on few photos can make it worse."""
    if not recipe.begin:
        return None
    return validate(embed(open_encoder(recipe.begin, "cpu"), proof.crops), proof)


def _verdict(
    request: TrainRequest,
    recipe: Recipe,
    begun: Validation | None,
    after: Validation,
    people: int,
    *,
    seen: bool,
) -> Verdict:
    if strange_to(recipe, request.detector):
        return Verdict(
            words=f"Before, it knew other pictures than --detector {request.detector} cuts."
        )
    if begun is None:
        return Verdict()
    return judge(begun.metrics, after.metrics, people, recipe.begin, seen=seen)


def _quality(
    request: TrainRequest,
    encoder: Encoder,
    threshold: float,
    proof: Faces,
    embeddings: Embeddings,
    faces: Faces,
) -> QualityModel | str:
    if not request.quality:
        return "it was not asked for"
    tell = request.telling("measuring quality")
    try:
        return quality_of(encoder, threshold, proof, embeddings, faces, tell)
    except DependencyMissing as error:
        return str(error)


def _draw(out: Path, faces: bool) -> None:
    try:
        from facedb.training.report import draw_all, write_report
    except DependencyMissing as error:
        _logger.warning("no figures and no report: %s", error)
        return
    draw_all(out, faces=faces)
    write_report(out, faces=faces)


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
        "threshold": done.threshold,
    }
    if done.begun is not None:
        metrics |= {
            "begun": done.begun.metrics,
            "begun_by_distortion": done.begun.by_distortion,
            "verdict": done.verdict.words,
        }
    file.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
