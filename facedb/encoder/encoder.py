"""The encoder's door: crops in, unit vectors out, checked here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facedb.errors import BadEmbedding, EncoderError
from facedb.types import Embeddings, Pixels

Forward: TypeAlias = Callable[[Pixels], NDArray[np.float32]]
"""uint8[n, S, S, 3] crops -> float32[n, d], of any length."""

BATCH = 32


@dataclass(frozen=True, slots=True)
class Encoder:
    """A crop -> unit vector function that knows what it is. Safe to share between threads.

    Attributes:
        spec: what opens it again ("bundled", a folder, "timm:..." or "hf-hub:...").
        name: for people.
        fingerprint: hex digest that tells it from every other encoder.
        dim: length of an embedding.
        threshold: its default operating point's distance in [0, 2], or None.
        device: "cpu" or "cuda".
        terms: what its weights may be used for; "" where nobody said.
        input_size: side in pixels of the crops it takes.
        alignment: what its crops are: "arcface-112", or "whole" photos.
        card: its bundle's whole card; empty for one that has none.
    """

    spec: str
    name: str
    fingerprint: str
    dim: int
    threshold: float | None
    device: str
    forward: Forward = field(repr=False)
    terms: str = ""
    input_size: int = 112
    alignment: str = "arcface-112"
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def embed(self, crops: Pixels) -> Embeddings:
        """Embeddings of aligned crops.

        Args:
            crops: uint8[n, S, S, 3] RGB.

        Returns:
            float32[n, dim], every row finite and of length 1.

        Raises:
            BadEmbedding: the encoder gave NaN, a zero vector, or another dimension.
        """
        if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
            raise BadEmbedding(f"crops must be uint8[n, S, S, 3], not {crops.dtype}{crops.shape}")
        parts = [self.forward(crops[n : n + BATCH]) for n in range(0, len(crops), BATCH)]
        raw = np.concatenate(parts) if parts else np.empty((0, self.dim), dtype=np.float32)
        return unit_rows(raw, self.dim)


def unit_rows(raw: NDArray[np.float32], dim: int) -> Embeddings:
    """Rows divided by their length.

    Args:
        raw: float32[n, dim].

    Raises:
        BadEmbedding: a row is not finite or is zero, or the dimension is another.
    """
    if raw.ndim != 2 or raw.shape[1] != dim:
        raise BadEmbedding(f"embeddings of shape {raw.shape}, where {dim} dimensions belong")
    norms = np.sqrt(np.einsum("nd,nd->n", raw, raw, dtype=np.float64))
    if not np.all(np.isfinite(norms)):
        raise BadEmbedding("the encoder returned NaN or infinity; its weights are damaged")
    if not np.all(norms > 1e-12):
        raise BadEmbedding("the encoder returned a zero vector; its weights are damaged")
    rows: Embeddings = (raw / norms[:, None]).astype(np.float32)
    return rows


def ramp(side: int) -> Pixels:
    """uint8[side, side, 3]: the fixed crop (3 y + 5 x + 80 c) mod 256 of the self-test."""
    y, x, c = np.ogrid[:side, :side, :3]
    values: Pixels = ((3 * y + 5 * x + 80 * c) % 256).astype(np.uint8)
    return values


def self_test(encoder: Encoder, side: int, canonical: tuple[float, ...]) -> None:
    """Compare the embedding of `ramp` with the card's.

    One comparison pins weights, preprocessing and normalisation.

    Raises:
        EncoderError: their cosine is below 0.999.
    """
    found = encoder.embed(ramp(side)[None])[0].astype(np.float64)
    expected = np.array(canonical)
    cosine = float(found @ expected / np.linalg.norm(expected))
    if not cosine >= 0.999:
        raise EncoderError(
            f"encoder {encoder.name}: its self-test gave cosine {cosine:.4f} to the vector of its "
            "card; the bundle or the runtime is broken: install facedb again"
        )
