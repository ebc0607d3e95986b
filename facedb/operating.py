"""By which threshold a gallery decides, where it comes from, and what it promises."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facedb.aggregation import DEFAULT_AGGREGATION, Aggregation
from facedb.encoder import Encoder
from facedb.errors import InputError
from facedb.store import Measurements, OperatingPoint, Store
from facedb.strangers import StrangerCurve, expected_fpir
from facedb.typed import typed

_logger = logging.getLogger("facedb")

GROWN = 2  # times as many people as were calibrated on, from where the FPIR is said to drift


@dataclass(frozen=True, slots=True)
class Operating:
    """A threshold and what is known of it.

    Attributes:
        threshold: the largest distance that accepts, in [0, 2]; None when nobody calibrated one.
        curve: how near strangers come to this gallery; None where nobody measured.
        calibrated: the gallery's own calibration; None where the encoder's is used.
        gallery: which one it is of; None where it is of none.
    """

    threshold: float | None
    curve: StrangerCurve | None = None
    calibrated: OperatingPoint | None = None
    gallery: Path | None = None

    def at(self, fpir: float) -> float:
        """The threshold at which at most this share of strangers is accepted.

        Raises:
            InputError: nobody measured how near strangers come, or they were too few.
        """
        named = partial(typed, "calibrate", gallery=self.gallery)
        ways = f"{named('STRANGERS')}, or {named(options=('--leave-out',))}"
        if self.curve is None:
            raise InputError(f"nobody has measured how near strangers come to this gallery: {ways}")
        try:
            return self.curve.threshold(fpir)
        except InputError as error:
            if self.calibrated is not None or self.gallery is None:
                raise
            raise InputError(f"{error}. Those were the encoder's; take your own: {ways}") from None


def operating(store: Store | None, encoder: Encoder, aggregation: Aggregation) -> Operating:
    """What decides: the gallery's calibration, else the encoder's for a gallery of this size."""
    people = 1
    if store is not None:
        people = store.count_people()
        point = Measurements(store).operating_point(aggregation)
        if point is not None:
            _warn_when_grown(point, people, store.folder)
            curve = StrangerCurve(point.distances, point.shares, point.strangers)
            return Operating(point.threshold, curve, point, store.folder)
    found = shipped(encoder, people, aggregation)
    return found if store is None else replace(found, gallery=store.folder)


def shipped(
    encoder: Encoder, people: int, aggregation: Aggregation = DEFAULT_AGGREGATION
) -> Operating:
    """The encoder's own operating point for a gallery of so many people.

    Its card's `threshold.by_gallery_size` is what `at_size` takes. They were measured by one
    aggregation; by another the card's `distance` decides, and nothing is known of strangers.
    """
    threshold = encoder.card.get("threshold") or {}
    sizes = threshold.get("by_gallery_size")
    if not sizes or threshold.get("aggregation", aggregation) != aggregation:
        return Operating(encoder.threshold)
    return Operating(*at_size(sizes, people))


def at_size(sizes: Sequence[Mapping[str, Any]], people: int) -> tuple[float, StrangerCurve]:
    """The threshold and the curve for a gallery of so many people.

    The least size that is no smaller counts, whose threshold is the stricter one. Beyond the last,
    both move on by what ten times as many people make strangers come nearer: a straight line in
    log(people) through the distances of all sizes.

    Args:
        sizes: one or more {"people", "strangers", "distance", "curve": [[share, distance], ...]}.
        people: 1 or more.
    """
    sizes = sorted(sizes, key=lambda size: int(size["people"]))
    size = next((size for size in sizes if size["people"] >= people), sizes[-1])
    shares, distances = np.array(size["curve"], dtype=np.float64).T
    curve = StrangerCurve(distances, shares, int(size["strangers"]))
    distance = float(size["distance"])
    if people > size["people"]:
        nearer = _a_decade(sizes) * math.log10(people / size["people"])
        distance, curve = distance + nearer, curve.moved(nearer)
    return max(0.0, distance), curve


def _a_decade(sizes: Sequence[Mapping[str, Any]]) -> float:
    """What the distance gains with ten times as many people, never more than 0."""
    if len(sizes) < 2:
        return 0.0
    people = np.log10([float(size["people"]) for size in sizes])
    distances = [float(size["distance"]) for size in sizes]
    return min(0.0, float(np.polyfit(people, distances, 1)[0]))


def _warn_when_grown(point: OperatingPoint, people: int, folder: Path) -> None:
    if people > GROWN * point.people:
        _logger.warning(
            "the threshold was calibrated on %s people and there are %s now: expect up to %.1f %% "
            "of strangers to be accepted instead of %.1f %%; calibrate again: %s",
            f"{point.people:,}",
            f"{people:,}",
            100 * expected_fpir(point.fpir, point.people, people),
            100 * point.fpir,
            typed("calibrate", "STRANGERS", gallery=folder),
        )
