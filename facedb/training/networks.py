"""From a recipe to a network: a timm model's, a bundle's, with the first weights it asks for."""

from __future__ import annotations

import ast
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import timm

from facedb.encoder.bundle import CARD, Bundle, bundle_folder, read_bundle, sha256_of
from facedb.encoder.network import EncoderNetwork
from facedb.encoder.torch import bundle_weights
from facedb.errors import EncoderError, InputError
from facedb.training.recipes import Recipe, needs_teacher
from facedb.training.request import TrainRequest


def settled(recipe: Recipe) -> Recipe:
    """The recipe as it will be run: with `begin`, the network is the bundle's.

    That encoder also teaches, where the loss asks a teacher and none is named.

    Raises:
        EncoderError: timm has no model of the name, or there is no bundle.
        InputError: the recipe was made for another network than the bundle's.
    """
    if recipe.begin:
        card = begun_bundle(recipe).card
        if recipe.network not in (Recipe().network, card.architecture):
            raise InputError(
                f"--begin {recipe.begin}: its network is {card.architecture}, the recipe's "
                f"{recipe.network}; leave --begin out, or take --recipe own"
            )
        options = ",".join(f"{name}={value}" for name, value in card.options.items())
        return replace(
            recipe,
            network=card.architecture,
            network_options=options,
            hidden=card.hidden,
            dim=card.dim,
            size=card.input_size,
            blur=card.blur,
            pretrained="no",
            teacher=recipe.teacher or (recipe.begin if needs_teacher(recipe) else ""),
        )
    if not timm.is_model(recipe.network):
        near = timm.list_models(f"*{recipe.network.split('_')[0]}*")[:8]
        near = near or ["convnext_atto", "efficientnet_b0"]
        raise EncoderError(
            f"--network {recipe.network}: timm has no such model; it has {', '.join(near)}, and "
            "more by python -c 'import timm; print(timm.list_models())'"
        )
    return recipe


def usual_detector(recipe: Recipe) -> str:
    """What cuts the photos where nobody says, so that a network goes on seeing what it knows.

    Raises:
        EncoderError: there is no bundle to begin from.
    """
    faces = recipe.begin and begun_bundle(recipe).card.alignment != "whole"
    return "bundled" if faces else "whole"


def strange_to(recipe: Recipe, detector: str) -> bool:
    """Whether the encoder begun from is shown whole photos and knows faces, or the other way."""
    return bool(recipe.begin) and (detector == "whole") != (usual_detector(recipe) == "whole")


def build(recipe: Recipe) -> EncoderNetwork:
    """The network with its first weights; random ones follow torch's seed.

    Raises:
        EncoderError: timm cannot make it of this size, or load what was asked for.
    """
    options = network_options(recipe)
    pretrained: bool | str = {"no": False, "yes": True}.get(recipe.pretrained, recipe.pretrained)
    if isinstance(pretrained, str) and not Path(pretrained).is_file():
        raise InputError(f"--pretrained {pretrained}: no such file; take no, yes or a file")
    try:
        network = EncoderNetwork(
            recipe.network,
            hidden=recipe.hidden,
            dim=recipe.dim,
            options=options,
            blur=recipe.blur,
            pretrained=pretrained,
        )
    except (RuntimeError, ValueError, TypeError, OSError, KeyError, AssertionError) as error:
        raise EncoderError(f"--network {recipe.network}: timm cannot make it: {error}") from error
    if recipe.begin:
        network.load_state_dict(bundle_weights(begun_bundle(recipe)))
    return network


def network_options(recipe: Recipe) -> dict[str, Any]:
    """Keyword arguments of timm.create_model, out of "patch_size=7,act_layer=relu".

    Raises:
        InputError: a part has no "=".
    """
    options: dict[str, Any] = {}
    for part in filter(None, recipe.network_options.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"--network-options {part}: write name=value,name=value")
        options[name.strip()] = _value(value.strip())
    if timm.get_pretrained_cfg(recipe.network).fixed_input_size:
        options.setdefault("img_size", recipe.size)
    return options


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def decides(request: TrainRequest, recipe: Recipe) -> dict[str, Any]:
    """What two runs on the same photos must share to come to the same: name -> value.

    Encoders count by what they are, and not by where they lie.

    Raises:
        EncoderError: there is no bundle to begin from.
    """
    return asdict(recipe) | {
        "begin": _known_by(recipe.begin),
        "teacher": _known_by(recipe.teacher),
        "detector": request.detector,
        "teacher_detector": request.teacher_detector,
    }


def _known_by(spec: str) -> str:
    """Fingerprint of a bundle, sha256 of a file, or the name of anything else."""
    if spec and (bundle_folder(spec) / CARD).is_file():
        return read_bundle(bundle_folder(spec)).fingerprint
    return sha256_of(Path(spec)) if Path(spec).is_file() else spec


def begun_bundle(recipe: Recipe) -> Bundle:
    """The encoder that `begin` names.

    Raises:
        EncoderError: there is none.
    """
    folder = bundle_folder(recipe.begin)
    if not (folder / CARD).is_file():
        inside = folder / "encoder"
        meant = f"did you mean {inside}?" if (inside / CARD).is_file() else "such as RUN/encoder"
        raise EncoderError(
            f"--begin {recipe.begin}: no encoder bundle; take bundled, or a folder, {meant}"
        )
    return read_bundle(folder)
