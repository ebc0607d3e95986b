"""One search of probes among enrolled people, with who is mated and who is a stranger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from facedb.aggregation import Aggregation
from facedb.evaluation.intervals import Interval, bootstrap, share_interval, wilson
from facedb.evaluation.metrics import dir_at_fpir, threshold_at
from facedb.evaluation.samples import Samples
from facedb.evaluation.search import Outcome, Probes, Templates, search
from facedb.gallery import Gallery
from facedb.photos.reasons import owner_in
from facedb.store import Store
from facedb.strangers import people_needed
from facedb.types import Box, Embeddings

DIR_AT = (0.003, 0.01, 0.1)
"""The FPIRs at which DIR is reported, where the strangers are enough to tell."""

RESAMPLES = 500  # of figures that need a threshold of their own in each draw


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A gallery to search in.

    Attributes:
        names: str[N], the identities, with those whose every photo failed to enroll.
        leads_to: a name or an alias -> its place in `names`.
        vectors: float32[t, d].
        owners: int64[t], the place in `names` of each template's identity.
        digests: str[t], sha256 of the photo each came from.
        attempts: int64[a] places in `names` and str[a] digests: every photo that was to be
            enrolled, those without a face too.
        photo_of: the row of a template -> its photo's path and the face's box there.
    """

    names: NDArray[np.str_]
    leads_to: dict[str, int]
    vectors: Embeddings
    owners: NDArray[np.int64]
    digests: NDArray[np.str_]
    attempts: tuple[NDArray[np.int64], NDArray[np.str_]]
    photo_of: Callable[[int], tuple[str, Box | None]] = field(repr=False)

    @property
    def without_template(self) -> int:
        """How many identities have no template: failures to enroll."""
        return len(self.names) - len(np.unique(self.owners))


def enrolled_in(gallery: Gallery) -> Enrolled:
    """The people of a gallery."""
    return gallery.at_one_revision(lambda: _enrolled(gallery.store))


def tried_in(gallery: Gallery) -> Enrolled:
    """The people of a gallery, and whoever was to be enrolled in it and has no template.

    Every file that the store remembers as left out was an attempt that failed (a failure to
    enroll, ISO/IEC 19795-1), save those whose photo is enrolled from elsewhere.
    """
    return gallery.at_one_revision(lambda: _tried(gallery.store))


def _enrolled(store: Store) -> Enrolled:
    ids, identities, photos, vectors = store.enrolled()
    people = store.people()
    places = {person.identity_id: place for place, person in enumerate(people)}
    owners = np.array([places.get(number, -1) for number in identities.tolist()], dtype=np.int64)
    if (owners < 0).any():  # somebody was removed meanwhile
        kept = owners >= 0
        ids, owners, photos, vectors = ids[kept], owners[kept], photos[kept], vectors[kept]

    def photo_of(row: int) -> tuple[str, Box | None]:
        found = store.describe([int(ids[row])])[int(ids[row])]
        return found.photo, found.box

    return Enrolled(
        np.array([person.name for person in people], dtype=np.str_),
        {
            name: place
            for place, person in enumerate(people)
            for name in (person.name, *person.aliases)
        },
        vectors,
        owners,
        photos,
        (owners, photos),
        photo_of,
    )


def _tried(store: Store) -> Enrolled:
    known = _enrolled(store)
    digests = set(known.digests.tolist())
    failed = [
        (row.identity, row.sha256 or row.path)
        for row in store.files_left_out()
        if owner_in(row.reason) is None and row.sha256 not in digests
    ]
    new = sorted({name for name, _ in failed} - known.leads_to.keys())
    names = np.array([*known.names.tolist(), *new], dtype=np.str_)
    leads_to = known.leads_to | {name: len(known.names) + n for n, name in enumerate(new)}
    tried, photos = known.attempts
    attempts = (
        np.array([*tried.tolist(), *(leads_to[name] for name, _ in failed)], dtype=np.int64),
        np.array([*photos.tolist(), *(photo for _, photo in failed)], dtype=np.str_),
    )
    return replace(known, names=names, leads_to=leads_to, attempts=attempts)


def enrolled_from(samples: Samples) -> Enrolled:
    """A gallery of photos; those without a face are failures to enroll."""
    names, owners = np.unique(samples.names, return_inverse=True)
    rows = np.flatnonzero(samples.shown)
    return Enrolled(
        names,
        {name: place for place, name in enumerate(names.tolist())},
        samples.vectors[rows],
        owners[rows].astype(np.int64),
        samples.origins[rows],
        (owners.astype(np.int64), samples.origins),
        lambda row: (samples.paths[rows[row]], samples.boxes[rows[row]]),
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """A search that was made.

    Attributes:
        enrolled: who was searched for.
        probes: n of them.
        owners: int64[n], the place of each one's person among the enrolled; -1 for a stranger.
        mated: bool[n], whether the person is enrolled, by another photo where photos are left out.
        outcome: what the search gave.
        held_out: whether the strangers are the probes' own people, taken out of the gallery in
            turn; otherwise they are the non-mated probes.
    """

    enrolled: Enrolled
    probes: Samples
    owners: NDArray[np.int64]
    mated: NDArray[np.bool_]
    outcome: Outcome
    held_out: bool

    @property
    def people(self) -> NDArray[np.int64]:
        """int64[n]: a number for each person among the probes."""
        return np.asarray(np.unique(self.probes.names, return_inverse=True)[1], dtype=np.int64)

    @property
    def strange(self) -> NDArray[np.bool_]:
        """bool[n]: the probes that stand for strangers."""
        return np.ones_like(self.mated) if self.held_out else ~self.mated

    @property
    def stranger_distances(self) -> NDArray[np.float64]:
        """float64[m]: from each stranger to the nearest identity; infinite without a face."""
        return self.outcome.other[self.strange]

    @property
    def named(self) -> NDArray[np.int64]:
        """int64[n]: the identity each probe is taken for, another than its own on ties; or -1."""
        return np.where(self.outcome.ranks == 1, self.owners, self.outcome.rival)

    @property
    def measurable(self) -> list[float]:
        """The FPIRs of `DIR_AT` that so many different strangers can tell, as in `calibrate`."""
        strangers = len(np.unique(self.people[self.strange]))
        return [at for at in DIR_AT if self.mated.any() and strangers >= people_needed(at)]

    def threshold_at(self, fpir: float) -> float:
        """The largest distance at which at most `fpir` of these strangers are accepted."""
        return threshold_at(self.stranger_distances, fpir)

    def dir_at(self, fpir: float) -> float:
        """DIR at the threshold where at most `fpir` of these strangers are accepted."""
        ranks, own = self.outcome.ranks[self.mated], self.outcome.own[self.mated]
        return dir_at_fpir(ranks, own, self.stranger_distances, fpir)

    def dir_interval(self, fpir: float, seed: int = 0) -> Interval:
        """The interval of `dir_at`: mated people and strangers are both drawn anew.

        Never narrower than Wilson's of so many mated people.
        """
        mated, strange = np.flatnonzero(self.mated), np.flatnonzero(self.strange)
        people = np.concatenate([self.people[mated], self.people[strange]])
        ranks, own = self.outcome.ranks[mated], self.outcome.own[mated]
        distances = self.outcome.other[strange]

        def figure(rows: NDArray[np.int64]) -> float:
            known, unknown = rows[rows < len(mated)], rows[rows >= len(mated)] - len(mated)
            return dir_at_fpir(ranks[known], own[known], distances[unknown], fpir)

        least = wilson(self.dir_at(fpir), len(np.unique(self.people[mated])))
        return bootstrap(figure, people, RESAMPLES, seed).hull(least)

    def interval(self, hits: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Interval:
        """The interval of the share of hits, bool[n], among these rows, bool[n]."""
        return share_interval(hits[rows], self.people[rows])


def run_trial(
    enrolled: Enrolled,
    probes: Samples,
    aggregation: Aggregation,
    *,
    held_out: bool = False,
    hide: bool = True,
) -> Trial:
    """Search probes among the enrolled.

    Args:
        enrolled: the gallery.
        probes: whoever bears the name of an enrolled identity is mated, all others are not.
        aggregation: how the distances to a person's templates become one.
        held_out: take every probe for a stranger too, its person held out. Otherwise this is
            done only when all probes are mated.
        hide: a template of the probe's own photo is not there to be found, and a person of whom
            no other photo was to be enrolled is not mated.
    """
    owners = np.array([enrolled.leads_to.get(name, -1) for name in probes.names.tolist()], np.int64)
    tried, photos = enrolled.attempts
    together = np.concatenate([enrolled.digests, photos, probes.origins])
    codes = np.unique(together, return_inverse=True)[1]
    known, photos_codes, asked = np.split(codes, np.cumsum([len(enrolled.digests), len(photos)]))
    outcome = search(
        Probes(probes.vectors, probes.shown, owners, asked if hide else np.full_like(asked, -1)),
        Templates(enrolled.vectors, enrolled.owners, known, len(enrolled.names)),
        aggregation,
    )
    mated = owners >= 0
    if hide:
        pairs = np.unique(tried * len(codes) + photos_codes)
        number = np.bincount(pairs // max(1, len(codes)), minlength=len(enrolled.names))
        own = np.isin(owners * len(codes) + asked, pairs)
        mated &= number[owners] > own
    return Trial(enrolled, probes, owners, mated, outcome, held_out or bool(mated.all()))
