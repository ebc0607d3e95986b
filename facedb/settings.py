"""How a gallery is made or opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from facedb.aggregation import AGGREGATIONS, DEFAULT_AGGREGATION, Aggregation
from facedb.arguments import check_fpir, check_threshold, check_word
from facedb.device import Device
from facedb.index import IndexKind


@dataclass(frozen=True, slots=True)
class Settings:
    """How a gallery is made or opened; None takes what the gallery was made with.

    Attributes:
        encoder: "bundled", a bundle folder, "timm:MODEL" or "hf-hub:ID".
        detector: "bundled", a model file, "none" where photos are aligned crops already, or
            "whole" for an encoder that was trained on whole photos (which then is the default).
        device: "auto", "cpu" or "cuda".
        index: "flat" is exact; "ivf" answers single probes faster from a million templates on, and
            may miss some.
        threshold: the largest distance that accepts; None takes the gallery's calibration, else
            the encoder's own.
        fpir: instead of a threshold, the share of strangers that may be accepted, in (0, 1).
        aggregation: how the distances to a person's templates become one.

    Raises:
        InputError: one of them is none of its words, or lies outside its range.
    """

    encoder: str | None = None
    detector: str | None = None
    device: Device = "auto"
    index: IndexKind = "flat"
    threshold: float | None = None
    fpir: float | None = None
    aggregation: Aggregation = DEFAULT_AGGREGATION

    def __post_init__(self) -> None:
        for name, value, words in (
            ("device", self.device, get_args(Device)),
            ("index", self.index, get_args(IndexKind)),
            ("aggregation", self.aggregation, AGGREGATIONS),
        ):
            check_word(name, value, words)
        check_threshold(self.threshold)
        if self.fpir is not None:
            check_fpir(self.fpir)
