"""What strangers say of a gallery: the threshold that turns them away, and how sure it is. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facedb.errors import InputError

ENCODERS_FPIR: Final = 0.01
"""The share of strangers that an encoder's own threshold was set to accept."""


@dataclass(frozen=True, slots=True)
class StrangerCurve:
    """How close strangers come to a gallery: what a threshold promises, and what a distance says.

    Attributes:
        distances: float64[n] in [0, 2], rising.
        shares: float64[n] in [0, 1], rising: the share of strangers that come as close.
        people: how many different strangers were measured.
    """

    distances: NDArray[np.float64]
    shares: NDArray[np.float64]
    people: int

    @classmethod
    def observed(cls, nearest: NDArray[np.float64], people: int) -> StrangerCurve:
        """From each stranger's photo's distance to the nearest identity; infinite without one."""
        ordered = np.sort(nearest)
        distances = np.unique(ordered[np.isfinite(ordered)])
        accepted = np.searchsorted(ordered, distances, side="right")
        return cls(distances, accepted / max(1, len(ordered)), people)

    def share(self, distance: float) -> float:
        """The share of strangers that come as close as this, in [0, 1]; 0 where none did.

        Between two distances the share at the farther one counts: never too small.
        """
        if not len(self.distances) or distance < self.distances[0]:
            return 0.0
        place = int(np.searchsorted(self.distances, distance, side="left"))
        return float(self.shares[min(place, len(self.shares) - 1)])

    def threshold(self, fpir: float) -> float:
        """The largest of the distances at which at most so many strangers are accepted.

        Nothing is interpolated. Just below the least, where even that accepts too many.

        Raises:
            InputError: so few strangers were measured that none accepted would prove nothing: the
                rule of three asks for 3 / fpir people.
        """
        needed = people_needed(fpir)
        if self.people < needed:
            least = math.ceil(1000 * least_fpir(self.people)) / 10
            words = f"{self.people:,} different strangers are too few for an FPIR of "
            words += f"{100 * fpir:g} %, which takes {needed:,}"
            if least < 100:
                words += f"; they can tell {least:g} % or more, and let so many pass: "
                words += f"--fpir {least / 100:g}"
            raise InputError(words)
        place = int(np.searchsorted(self.shares, fpir + 1e-12, side="right"))
        if place:
            return float(self.distances[place - 1])
        return float(np.nextafter(self.distances[0], -np.inf)) if len(self.distances) else 2.0

    def moved(self, by: float) -> StrangerCurve:
        """Where all strangers come so much farther; below zero, nearer."""
        return replace(self, distances=np.clip(self.distances + by, 0.0, 2.0))


def people_needed(fpir: float) -> int:
    """Strangers without whom an FPIR cannot be told from a larger one: 3 / fpir, rounded up."""
    return math.ceil(3 / fpir - 1e-9)


def least_fpir(people: int) -> float:
    """The least FPIR that so many strangers can tell, at most 1."""
    return min(1.0, 3 / people) if people else 1.0


def in_words(share: float, people: int) -> str:
    """What a share of so many strangers means: "1 stranger in 40 comes this close"."""
    if share > 0.5:
        return "most strangers come this close"
    if share <= 0.0:
        return f"none of {people:,} strangers came this close"
    return f"1 stranger in {round(1 / share):,} comes this close"


def expected_fpir(fpir: float, calibrated: int, people: int) -> float:
    """The FPIR to expect when a gallery has grown: 1 - (1 - fpir)^(people / calibrated).

    Each identity is taken to accept a stranger independently of the others; NIST FRTE 1:N finds
    FPIR at a fixed threshold to grow about in proportion to N.
    """
    return float(1.0 - (1.0 - fpir) ** (people / calibrated))
