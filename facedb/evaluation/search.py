"""Every probe against every template, from stored embeddings: what identification gives. Pure.

The search is exact and keeps all ranks, so that thousands of probes against thousands of people
take seconds. A template may be hidden from a probe: the very photo that the probe was made of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facedb.aggregation import DEFAULT_AGGREGATION, Aggregation, to_people
from facedb.types import Embeddings

_CELLS = 16_000_000  # distances held at once: 128 MB of float64


@dataclass(frozen=True, slots=True)
class Templates:
    """A gallery's templates.

    Attributes:
        vectors: float32[t, d].
        owners: int64[t], whose each is, in [0, people).
        origins: int64[t], which photo each was made of.
        people: N, the identities enrolled.
    """

    vectors: Embeddings
    owners: NDArray[np.int64]
    origins: NDArray[np.int64]
    people: int


@dataclass(frozen=True, slots=True)
class Probes:
    """What is searched for.

    Attributes:
        vectors: float32[n, d]; of a probe without a face, anything.
        shown: bool[n], whether it shows a face; without one it is near to nobody.
        owners: int64[n], the identity in [0, people) that it is of; -1 for a stranger.
        origins: int64[n], which photo it was made of; -1 for one that hides no template.
    """

    vectors: Embeddings
    shown: NDArray[np.bool_]
    owners: NDArray[np.int64]
    origins: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the search of n probes gave.

    Attributes:
        ranks: int64[n], the rank of the own identity, 1 for the nearest; 0 where it has no
            template, or the probe no face or no identity. Identities that are as near as the own
            one come before it: who cannot tell them apart has not recognised anybody.
        own: float64[n], the distance to the own identity; infinite without one.
        other: float64[n], the distance to the nearest identity that is not the own: what the probe
            would be taken for if its person were not enrolled.
        first: int64[n], the nearest identity; -1 without a face.
        rival: int64[n], the nearest identity that is not the own; -1 without one.
    """

    ranks: NDArray[np.int64]
    own: NDArray[np.float64]
    other: NDArray[np.float64]
    first: NDArray[np.int64]
    rival: NDArray[np.int64]

    @property
    def nearest(self) -> NDArray[np.float64]:
        """float64[n]: the distance to the nearest identity; infinite without a face."""
        return np.minimum(self.own, self.other)


def search(
    probes: Probes, templates: Templates, aggregation: Aggregation = DEFAULT_AGGREGATION
) -> Outcome:
    """Search probes among templates.

    Args:
        probes: a template of a probe's own photo (equal origin) is not there for it to be found.
        templates: of one or more people.
        aggregation: how the distances to a person's templates become one.
    """
    count = len(probes.owners)
    outcome = Outcome(
        np.zeros(count, dtype=np.int64),
        np.full(count, np.inf),
        np.full(count, np.inf),
        np.full(count, -1, dtype=np.int64),
        np.full(count, -1, dtype=np.int64),
    )
    order = np.argsort(templates.owners, kind="stable")
    sorted_templates = Templates(
        templates.vectors[order],
        templates.owners[order],
        templates.origins[order],
        templates.people,
    )
    rows = np.flatnonzero(probes.shown) if len(order) else np.empty(0, dtype=np.int64)
    step = max(1, _CELLS // max(1, len(order)))
    for start in range(0, len(rows), step):
        _fill(outcome, rows[start : start + step], probes, sorted_templates, aggregation)
    return outcome


def _fill(
    outcome: Outcome,
    rows: NDArray[np.int64],
    probes: Probes,
    templates: Templates,
    aggregation: Aggregation,
) -> None:
    """The outcome of some probes; the templates are sorted by owner."""
    hidden = probes.origins[rows][:, None] == templates.origins[None, :]
    best = to_people(
        probes.vectors[rows],
        templates.vectors,
        templates.owners,
        templates.people,
        aggregation,
        hidden,
    )
    owners = probes.owners[rows]
    mated = owners >= 0
    own = np.where(mated, best[np.arange(len(rows)), owners], np.inf)
    found = np.isfinite(own)
    outcome.ranks[rows] = np.where(found, np.sum(best <= own[:, None], axis=1), 0)
    outcome.own[rows] = own
    outcome.first[rows] = _place_of_least(best)
    best[mated, owners[mated]] = np.inf
    outcome.rival[rows] = _place_of_least(best)
    outcome.other[rows] = best.min(axis=1)


def _place_of_least(best: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.where(np.isfinite(best.min(axis=1)), best.argmin(axis=1), -1)
