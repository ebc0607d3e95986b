"""The encoder bundle: a folder of `encoder.json`, `encoder.safetensors` and `encoder.onnx`.

The card says everything that must travel with the weights. The weights are stored once: the ONNX
file holds the graph alone, and points by offset into the safetensors file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facedb.errors import EncoderError

SCHEMA = "facedb.encoder/1"
CARD, WEIGHTS, GRAPH = "encoder.json", "encoder.safetensors", "encoder.onnx"
BUNDLED = Path(__file__).resolve().parent.parent / "models" / "encoder"


@dataclass(frozen=True, slots=True)
class Card:
    """What an encoder says of itself.

    Attributes:
        name: for people.
        architecture: a timm model name.
        options: further keyword arguments of `timm.create_model`.
        hidden: width of the head's hidden layer.
        dim: length of an embedding.
        input_size: side of the crops it takes, in pixels.
        mean, std: per RGB channel, of values scaled to [0, 1].
        blur: side in pixels, odd, of the binomial filter that crops are blurred by; 1 is without.
        alignment: the template that crops are aligned to, or "whole" for photos as they are.
        threshold: the default operating point's distance in [0, 2], or None.
        terms: what the weights may be used for.
        canonical: the unit embedding of `encoder.ramp(input_size)`.
        whole: the card as it was read.
    """

    name: str
    architecture: str
    options: dict[str, Any]
    hidden: int
    dim: int
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    blur: int
    alignment: str
    threshold: float | None
    terms: str
    canonical: tuple[float, ...]
    whole: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files are what its card says.

    Attributes:
        folder: where it lies.
        card: its card.
        fingerprint: hex digest of the weights and of everything that decides what a crop becomes.
    """

    folder: Path
    card: Card
    fingerprint: str


def bundle_folder(spec: str) -> Path:
    """Where the bundle lies that "bundled" or a folder's path names."""
    return BUNDLED if spec == "bundled" else Path(spec)


def write_card(file: Path, card: Mapping[str, Any]) -> None:
    """Write a card, whole or not at all."""
    part = file.with_suffix(".part")
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(file)


def read_bundle(folder: Path) -> Bundle:
    """Open a bundle and verify the digests of its files.

    Raises:
        EncoderError: a file is missing or is not the one that the card names.
    """
    raw = _read_card(folder)
    try:
        card = _parse(raw)
        digests = {WEIGHTS: raw["weights_sha256"], GRAPH: raw["graph_sha256"]}
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(f"{folder / CARD}: not a whole encoder card: {error!r}") from error
    for name, expected in digests.items():
        if sha256_of(folder / name) != expected:
            raise EncoderError(
                f"{folder / name}: damaged, or not the file of this card; fetch the bundle again"
            )
    return Bundle(folder, card, _fingerprint(card, raw["weights_sha256"]))


def _read_card(folder: Path) -> dict[str, Any]:
    file = folder / CARD
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EncoderError(
            f"{folder}: no encoder bundle here ({CARD} is missing); --encoder takes a bundle "
            "folder, timm:MODEL or hf-hub:ID"
        ) from error
    except (OSError, ValueError) as error:
        raise EncoderError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise EncoderError(f"{file}: not a card of the form {SCHEMA}")
    return raw


def _parse(raw: dict[str, Any]) -> Card:
    threshold = raw.get("threshold")
    return Card(
        name=str(raw["name"]),
        architecture=str(raw["architecture"]),
        options=dict(raw.get("architecture_options", {})),
        hidden=int(raw["hidden"]),
        dim=int(raw["dim"]),
        input_size=int(raw["input_size"]),
        mean=_triple(raw["mean"]),
        std=_triple(raw["std"]),
        blur=_odd(raw.get("blur", 1)),
        alignment=str(raw["alignment"]),
        threshold=None if threshold is None else float(threshold["distance"]),
        terms=str(raw.get("training", {}).get("terms", "")),
        canonical=tuple(float(number) for number in raw["canonical"]["embedding"]),
        whole=raw,
    )


def _triple(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)


def _odd(side: Any) -> int:
    if not isinstance(side, int) or side < 1 or side % 2 == 0:
        raise ValueError(f"blur: {side} is not an odd number of pixels")
    return side


def _fingerprint(card: Card, weights: str) -> str:
    decides: list[Any] = [weights, card.input_size, card.mean, card.std, card.alignment, card.dim]
    if card.blur > 1:  # the galleries of encoders without it keep their fingerprint
        decides.append({"blur": card.blur})
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


def sha256_of(file: Path) -> str:
    """Hex digest of a file; EncoderError where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"{file}: {error.strerror}; fetch the bundle again") from error
