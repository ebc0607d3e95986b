"""Which photos meet: counted over many draws, against what was promised."""

from __future__ import annotations

import numpy as np
import pytest

from facedb.training.samplers import (
    crossing_share,
    draw_pairs,
    pair_batches,
    people_batches,
)

# Person 0: photo 0 in three versions and photo 1; person 1: photo 2 in two versions; person 2:
# one picture.
LABELS = np.array([0, 0, 0, 0, 1, 1, 2])
PHOTOS = np.array([0, 0, 0, 1, 2, 2, 3])
MANY = 4000


def drawn(cross_photo: float = -1.0) -> np.ndarray:
    rng = np.random.default_rng(7)
    return np.concatenate([draw_pairs(LABELS, PHOTOS, rng, cross_photo) for _ in range(MANY)])


def test_each_picture_leads_once_and_never_meets_itself() -> None:
    pairs = draw_pairs(LABELS, PHOTOS, np.random.default_rng(1))
    assert sorted(pairs[:, 0].tolist()) == list(range(7))
    assert (drawn()[:, 0] != drawn()[:, 1]).all()


def test_half_are_positive_where_a_person_has_two_pictures() -> None:
    pairs = drawn()
    same = LABELS[pairs[:, 0]] == LABELS[pairs[:, 1]]
    assert same[pairs[:, 0] < 6].mean() == pytest.approx(0.5, abs=0.02)
    assert not same[pairs[:, 0] == 6].any()


def test_by_chance_any_other_picture_of_the_person_is_as_likely() -> None:
    pairs = drawn()
    partners = pairs[(pairs[:, 0] == 0) & (LABELS[pairs[:, 1]] == 0)][:, 1]
    counts = np.bincount(partners, minlength=7)[:4] / len(partners)
    assert counts == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.05)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_that_crosses_photos_is_what_was_asked_for(share: float) -> None:
    pairs = drawn(share)
    chosen = pairs[(pairs[:, 0] < 3) & (LABELS[pairs[:, 1]] == 0)]
    crossing = PHOTOS[chosen[:, 0]] != PHOTOS[chosen[:, 1]]
    assert crossing.mean() == pytest.approx(share, abs=0.03)
    # Picture 3 is its photo's only version, person 1 has one photo: there is no choice.
    alone = pairs[(pairs[:, 0] == 3) & (LABELS[pairs[:, 1]] == 0)]
    assert (PHOTOS[alone[:, 1]] == 0).all()
    only = pairs[np.isin(pairs[:, 0], [4, 5]) & (LABELS[pairs[:, 1]] == 1)]
    assert len(only)
    assert (PHOTOS[only[:, 1]] == 2).all()


def test_negatives_are_people_with_the_same_chance() -> None:
    pairs = drawn()
    others = LABELS[pairs[(pairs[:, 0] == 6)][:, 1]]
    assert np.bincount(others, minlength=3) / len(others) == pytest.approx([0.5, 0.5, 0], abs=0.02)


def test_pair_batches_put_partners_half_a_batch_apart() -> None:
    pairs = np.array([[1, 2], [3, 4], [5, 6]])
    assert [rows.tolist() for rows in pair_batches(pairs, 2)] == [[1, 3, 2, 4], [5, 6]]


def test_people_batches_hold_people_times_pictures_other_photos_first() -> None:
    labels = np.repeat(np.arange(6), 4)
    photos = np.repeat(np.arange(12), 2)
    batches = people_batches(labels, photos, np.random.default_rng(3), people=3, each=2)
    assert len(batches) == 8
    for rows in batches:
        assert len(set(rows.tolist())) == 6
        assert sorted(np.bincount(labels[rows], minlength=6).tolist()) == [0, 0, 0, 2, 2, 2]
        assert len(set(photos[rows].tolist())) == 6


def test_nobody_with_two_pictures_gives_no_people_batches() -> None:
    alone = np.arange(5)
    assert people_batches(alone, alone, np.random.default_rng(0), 2, 2) == []


def test_crossing_share_counts_positives_only() -> None:
    # Pairs (0, 1): one photo; (0, 3): two photos; (0, 6): two people.
    rows = np.array([0, 0, 0, 1, 3, 6])
    assert crossing_share([rows], LABELS, PHOTOS, paired=True) == 0.5
    assert crossing_share([np.array([0, 1, 3])], LABELS, PHOTOS, paired=False) == 2 / 3
