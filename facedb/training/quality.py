"""What tells the quality of a face, fitted on people whom an encoder was not trained on.

Their photos are shown clean, reduced to a quarter and under the seven distortions in three
severities. A face is found when the nearest of a gallery is its person: one clean photo of each of
these people, drawn anew ten times, and one of each of the people trained on, as others. A logistic
regression of that on `facedb.quality.traits` gives the chance. The centre is the mean embedding of
their crops, shrunk to six pixels and back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facedb.encoder import Encoder
from facedb.errors import DependencyMissing
from facedb.quality import CAUSES, QualityModel
from facedb.training.data import CLEAN, Faces
from facedb.training.distortions import KINDS, distort
from facedb.training.teacher import embed
from facedb.types import Embeddings, Pixels, Progress

CONDITIONS: Final = (CLEAN, "small", *(f"{kind}-{n}" for kind in KINDS for n in (1, 3, 5)))
"""How the photos are shown: as they are, reduced to a quarter, distorted in a severity."""

_DRAWS: Final = 10
_POOR_SHARE: Final = 0.05
_FOUND_SHARE: Final = 0.01
_CLEAN_LOST: Final = 0.005
_PEOPLE: Final = 10
_PROBES: Final = 300
_OTHERS: Final = 5000


@dataclass(frozen=True, slots=True)
class Looked:
    """Faces that were found in one condition.

    Attributes:
        people: str[n], who they show.
        photos: int64[n]; versions of one photo have the same number.
        embeddings: float32[n, d] unit rows.
        traits: float64[n, t], what their quality is told from, the distance to the centre first.
    """

    people: NDArray[np.str_]
    photos: NDArray[np.int64]
    embeddings: Embeddings
    traits: NDArray[np.float64]


def quality_of(
    encoder: Encoder,
    threshold: float,
    proof: Faces,
    embeddings: Embeddings,
    trained: Faces,
    progress: Progress | None = None,
) -> QualityModel | str:
    """The quality model of an encoder that was trained, or why there is none.

    Crops say nothing of size, pose and the detector's score, so that the distance to the centre is
    the only trait with a weight.

    Args:
        encoder: as a user has it.
        threshold: distance in [0, 2] within which it accepts a face.
        proof: whom it was validated on.
        embeddings: float32[n, d] unit rows, theirs.
        trained: whom it was trained on.
        progress: called with the conditions that were looked at, and their number.

    Raises:
        DependencyMissing: scikit-learn or Albumentations is not installed.
    """
    clean = np.flatnonzero(np.array(proof.kinds) == CLEAN)
    photos = np.bincount(proof.labels[clean], minlength=len(proof.names))
    able = int((photos > 1).sum())
    if able < _PEOPLE:
        return f"{able} of the people validated on have two clean photos, and {_PEOPLE} must"
    rows = _drawn(clean[photos[proof.labels[clean]] > 1], proof.labels)
    centre = centre_of(proof.crops[rows], encoder)
    gallery = _looked(proof, clean, embeddings[clean], centre)
    looks: dict[str, Looked] = {}
    for condition in CONDITIONS:
        crops = _shown(proof.crops, rows, condition, encoder.input_size)
        looks[condition] = _looked(proof, rows, embed(encoder, crops), centre)
        if progress is not None:
            progress(len(looks), len(CONDITIONS))
    nearest = float(np.quantile(gallery.traits[:, 0], _CLEAN_LOST, method="lower"))
    limit = min(threshold, math.floor(1000 * nearest) / 1000)  # a card rounds
    model, _ = fitted(looks, gallery, _others(trained, proof, encoder), centre, limit)
    usual, smeared = model.chances(np.stack([model.usual, np.zeros_like(model.usual)]))
    if smeared > usual / 2:
        return "a face that is smeared away is found like any other"
    return model


def changed(pixels: Pixels, condition: str, seed: int) -> Pixels:
    """A photo, uint8[H, W, 3] RGB, under one of CONDITIONS."""
    if condition == CLEAN:
        return pixels
    if condition == "small":
        height, width = pixels.shape[:2]
        size = max(1, width // 4), max(1, height // 4)
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    kind, _, severity = condition.partition("-")
    return distort(pixels, kind, int(severity), seed)


def centre_of(crops: Sequence[Pixels] | Pixels, encoder: Encoder) -> NDArray[np.float64]:
    """Unit float64[d]: the mean of faces of six pixels."""
    shrunk = [cv2.resize(crop, (6, 6), interpolation=cv2.INTER_AREA) for crop in crops]
    side = (encoder.input_size, encoder.input_size)
    again = [cv2.resize(crop, side, interpolation=cv2.INTER_CUBIC) for crop in shrunk]
    mean = embed(encoder, np.stack(again).astype(np.uint8)).astype(np.float64).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def fitted(
    looks: Mapping[str, Looked],
    gallery: Looked,
    others: Embeddings,
    centre: NDArray[np.float64],
    limit: float,
) -> tuple[QualityModel, dict[str, float]]:
    """The model, and the share of the faces of each condition that were found.

    Poor are the lowest 5 % of the clean faces, where their chance is less than half of the usual
    one. Unrecognisable are the faces so near to the centre that at most 1 % of them were found, and
    those within a limit: of few people many faces are found, however smeared.

    Args:
        looks: condition -> the faces seen in it, CLEAN among them.
        gallery: clean faces of the same people.
        others: float32[m, d] unit rows of other people.
        centre: unit float64[d].
        limit: distance in [0, 2] to the centre within which nobody is told from it.
    """
    found = {condition: _found(part, gallery, others) for condition, part in looks.items()}
    traits = np.concatenate([part.traits for part in looks.values()])
    shares = np.concatenate(list(found.values()))
    known = np.isfinite(shares)
    weights, bias = _regression(traits[known], shares[known])
    clean = looks[CLEAN].traits
    model = QualityModel(centre, weights, bias, np.median(clean, axis=0), 0.0, 0.0)
    poor = float(np.quantile(model.chances(clean), _POOR_SHARE))
    poor = min(poor, float(model.chances(model.usual)) / 2)
    lost = max(limit, _unrecognisable(traits[known, 0], shares[known]))
    means = {condition: float(np.nanmean(part)) for condition, part in found.items()}
    return replace(model, poor=poor, unrecognisable=lost), means


def _drawn(rows: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """_PROBES of the rows at most, rising: a photo of each person, then another, and so on."""
    random = np.random.default_rng(1)
    shuffled = random.permutation(rows)
    by_person = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, start, count = np.unique(labels[by_person], return_index=True, return_counts=True)
    turn = np.arange(len(by_person)) - np.repeat(start, count)
    order = np.lexsort((random.permutation(len(turn)), turn))
    return np.sort(by_person[order[:_PROBES]])


def _shown(crops: Pixels, rows: NDArray[np.int64], condition: str, side: int) -> Pixels:
    """uint8[m, side, side, 3]: some crops under a condition."""
    found = [changed(crops[row], condition, row) for row in rows.tolist()]
    whole = [crop if len(crop) == side else cv2.resize(crop, (side, side)) for crop in found]
    return np.stack(whole).astype(np.uint8)


def _looked(
    faces: Faces, rows: NDArray[np.int64], embeddings: Embeddings, centre: NDArray[np.float64]
) -> Looked:
    traits = np.zeros((len(rows), len(CAUSES)))
    traits[:, 0] = np.linalg.norm(embeddings - centre, axis=1)
    return Looked(np.array(faces.names)[faces.labels[rows]], faces.photos[rows], embeddings, traits)


def _others(trained: Faces, proof: Faces, encoder: Encoder) -> Embeddings:
    """One clean photo of each person trained on whom the photos validated on do not show."""
    strange = ~np.isin(np.array(trained.names), proof.names)
    rows = np.flatnonzero((np.array(trained.kinds) == CLEAN) & strange[trained.labels])
    _, first = np.unique(trained.labels[rows], return_index=True)
    return embed(encoder, trained.crops[rows[first][:_OTHERS]])


def _found(probes: Looked, gallery: Looked, others: Embeddings) -> NDArray[np.float64]:
    """Share of the draws in which each probe's nearest is its person; NaN where always drawn."""
    rng = np.random.default_rng(1)
    to_others = (probes.embeddings @ others.T).max(axis=1, initial=-1.0)
    times, right = np.zeros((2, len(probes.people)))
    for _ in range(_DRAWS):
        order = rng.permutation(len(gallery.people))
        people, first = np.unique(gallery.people[order], return_index=True)
        chosen = order[first]
        scores = probes.embeddings @ gallery.embeddings[chosen].T
        another = ~np.isin(probes.photos, gallery.photos[chosen])
        own = people[scores.argmax(axis=1)] == probes.people
        times += another
        right += another & own & (scores.max(axis=1) > to_others)
    shares: NDArray[np.float64] = np.full(len(times), np.nan)
    return np.divide(right, times, out=shares, where=times > 0)


def _regression(
    traits: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Weights and bias; each face counts for found and for not by its share."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise DependencyMissing(
            "scikit-learn is not installed; from a clone: pip install '.[cpu,train]'"
        ) from error
    mean, scale = traits.mean(axis=0), traits.std(axis=0) + 1e-9
    inputs = np.concatenate([(traits - mean) / scale] * 2)
    outcome = np.repeat([1, 0], len(shares))
    model = LogisticRegression(C=10.0).fit(inputs, outcome, np.concatenate([shares, 1 - shares]))
    weights = model.coef_[0] / scale
    return weights, float(model.intercept_[0] - weights @ mean)


def _unrecognisable(distances: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    """The distance to the centre within which hardly any face was found; 0 of too few faces."""
    order = np.argsort(distances)
    found = np.cumsum(shares[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero(found <= _FOUND_SHARE)
    enough = len(within) and within[-1] + 1 >= 1 / _FOUND_SHARE
    return float(distances[order][within[-1]]) if enough else 0.0
