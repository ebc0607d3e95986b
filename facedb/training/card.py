"""What a run writes into the card of its encoder: what it is made of, then what it measures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from facedb.aggregation import DEFAULT_AGGREGATION
from facedb.encoder.bundle import CARD, bundle_folder, read_bundle, write_card
from facedb.faces import WITHOUT_FILE
from facedb.quality import QualityModel
from facedb.strangers import ENCODERS_FPIR, people_needed
from facedb.training.data import CLEAN, Faces
from facedb.training.networks import begun_bundle, network_options
from facedb.training.operating import by_gallery_size
from facedb.training.recipes import Recipe
from facedb.training.request import TrainRequest
from facedb.training.validation import Validation
from facedb.types import Embeddings

_AND_TERMS: Final = "; and "


def card_of(request: TrainRequest, recipe: Recipe, faces: Faces) -> dict[str, Any]:
    """The card before anything is measured."""
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
        if (folder / CARD).exists():
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


def complete(
    folder: Path,
    validation: Validation,
    threshold: dict[str, Any],
    quality: QualityModel | str,
) -> None:
    """Put what was measured into the card, which only then is whole."""
    file = folder / CARD
    whole = json.loads(file.read_text(encoding="utf-8"))
    whole["threshold"] = threshold
    whole["measured"] = {
        "validation": validation.metrics,
        "by_distortion": validation.by_distortion,
    }
    if isinstance(quality, QualityModel):
        whole["quality"] = quality.card() | {"fitted_on": threshold["calibrated_on"]["people"]}
    write_card(file, whole)


def threshold_of(embeddings: Embeddings, proof: Faces, seen: bool) -> dict[str, Any]:
    """The operating points, what they rest on, and whether that proves their FPIR.

    The distance is that of the largest gallery measured; 0, which accepts nobody, without any.
    """
    sizes = by_gallery_size(embeddings, proof)
    last = sizes[-1] if sizes else {"people": 0, "strangers": 0, "distance": 0.0}
    rests_on: dict[str, Any] = {
        "people": "the validation people" + (", seen in training" if seen else ""),
        "gallery": last["people"],
        "strangers": last["strangers"],
        "photos": int((np.array(proof.kinds) == CLEAN).sum()),
    }
    needed = people_needed(ENCODERS_FPIR)
    if min([size["strangers"] for size in sizes], default=0) < needed:
        rests_on["caveat"] = (
            f"an FPIR of {100 * ENCODERS_FPIR:g} % needs {needed} different strangers: it may be "
            "larger; facedb calibrate STRANGERS"
        )
    return {
        "distance": last["distance"],
        "fpir": ENCODERS_FPIR,
        "calibrated_on": rests_on,
        "by_gallery_size": sizes,
        "aggregation": DEFAULT_AGGREGATION,
    }
