"""What a run needs before its first step: photos that teach and that tell, nothing written over."""

from __future__ import annotations

import logging

from facedb.encoder.bundle import bundle_folder
from facedb.errors import InputError
from facedb.faces import open_detector
from facedb.training.data import Faces, folders, read_faces, single_photos
from facedb.training.networks import strange_to, usual_detector
from facedb.training.recipes import Recipe
from facedb.training.request import TrainRequest
from facedb.training.validation import LESS_IS_BETTER, thumbnails, validate

_logger = logging.getLogger("facedb")


def spare(request: TrainRequest, recipe: Recipe) -> None:
    """See that nothing is written over, and that an encoder begun from is shown what it knows.

    Raises:
        InputError: the run would write over the encoder that it begins or learns from.
    """
    for option, spec in (("begin", recipe.begin), ("teacher", recipe.teacher)):
        if spec and bundle_folder(spec).resolve() == (request.out / "encoder").resolve():
            raise InputError(
                f"--{option} {spec}: this run would write its encoder over it; name another --out"
            )
    if strange_to(recipe, request.detector):
        _logger.warning(
            "--begin %s knows other pictures than --detector %s cuts: take --detector %s",
            recipe.begin, request.detector, usual_detector(recipe),
        )  # fmt: skip


def read(request: TrainRequest, recipe: Recipe) -> tuple[Faces, Faces]:
    """The faces to train and to validate on; InputError where there are none."""
    entries, proof = folders(request.data, request.val, recipe.seed)
    detector = open_detector(request.detector, recipe.size)
    parts = ("reading training photos", entries), ("reading validation photos", proof)
    train, val = (
        read_faces(part, detector, recipe.size, request.telling(words)) for words, part in parts
    )
    return train, val


def tell_who_teaches(faces: Faces, shared: set[str], sampler: str) -> None:
    """Warn of people who teach little, and of those who are `shared` with the validation.

    Raises:
        InputError: there is no positive pair.
    """
    alone, least = single_photos(faces), 1 if sampler == "pairs" else 2
    if alone:
        what = "they serve as others" if sampler == "pairs" else "nothing is learned of them"
        _logger.warning(
            "%d of %d people have one picture, such as %s: no positive pair, %s",
            len(alone), len(faces.names), alone[0], what,
        )  # fmt: skip
    if len(faces.names) - len(alone) < least:
        who = "nobody has" if least == 1 else "two people must have"
        raise InputError(f"{faces.paths[0]}: {who} two pictures; pairs of one person need two")
    if shared:
        _logger.warning(
            "%d people, such as %s, are trained and validated on: the figures say how people seen "
            "in training are told apart, not strangers", len(shared), min(shared),
        )  # fmt: skip


def can_select(recipe: Recipe, proof: Faces) -> None:
    """InputError where the validation photos cannot tell what the best epoch is picked by."""
    if len(proof.names) < 2:
        raise InputError(
            f"{proof.paths[0]}: {proof.names[0]} is alone among the validation photos, and pairs "
            "of two people need two: name another --val"
        )
    metrics = validate(thumbnails(proof.crops), proof).metrics
    able = [name for name in metrics if name not in LESS_IS_BETTER]
    if recipe.select not in able:
        raise InputError(f"--select {recipe.select}: take {', '.join(able)}")
    if metrics[recipe.select] is None:
        raise InputError(
            f"{proof.paths[0]} and the other validation photos cannot tell {recipe.select}: it "
            "needs people with two pictures, or two photos, or more pairs; add some, name another "
            "--val, or take --select same_photo_rank1"
        )
