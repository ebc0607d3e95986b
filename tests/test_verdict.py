"""What is said of an encoder beside the one that it began from, figure by figure."""

from __future__ import annotations

import pytest

from facedb.training.validation import Metrics
from facedb.training.verdict import judge

BEFORE: Metrics = {
    "cross_photo_auc": 0.9,
    "cross_photo_eer": 0.1,
    "cross_photo_tar_at_far_1e-2": 0.5,
    "cross_photo_tar_at_far_1e-3": 0.3,
    "cross_photo_rank1": 0.8,
}
RARE, COMMON = "cross_photo_tar_at_far_1e-3", "cross_photo_tar_at_far_1e-2"


@pytest.mark.parametrize(
    ("after", "worse", "better", "words"),
    [
        ({}, (), (), "Neither better nor worse than before, across photos."),
        ({"cross_photo_auc": 0.91}, (), ("cross_photo_auc",),
         "Better than before, across photos, by AUC."),
        ({"cross_photo_eer": 0.11}, ("cross_photo_eer",), (),
         "WORSE than before, across photos, by EER. Keep --encoder mine."),
        ({RARE: 0.2, COMMON: 0.6, "cross_photo_rank1": 0.81}, (RARE,),
         (COMMON, "cross_photo_rank1"),
         "WORSE than before, across photos, by TAR at FAR 0.1 %. "
         "Better than before, across photos, by TAR at FAR 1 %, rank-1."),
        ({"cross_photo_auc": 0.90004, RARE: None}, (), (),
         "Neither better nor worse than before, across photos."),
    ],
)  # fmt: skip
def test_each_figure_counts_its_own_way(
    after: Metrics, worse: tuple[str, ...], better: tuple[str, ...], words: str
) -> None:
    found = judge(BEFORE, BEFORE | after, 20, "mine", seen=False)
    assert (found.worse, found.better, found.words) == (worse, better, words)


def test_digits_that_nobody_sees_count_for_nothing_and_those_that_are_seen_do() -> None:
    shown = BEFORE | {"cross_photo_auc": 0.99994}, BEFORE | {"cross_photo_auc": 0.99996}
    assert judge(*shown, 20, "mine", seen=False).better == ("cross_photo_auc",)
    hidden = BEFORE | {"cross_photo_auc": 0.99986}, BEFORE | {"cross_photo_auc": 0.99994}
    assert judge(*hidden, 20, "mine", seen=False).better == ()


def test_what_photos_cannot_tell_is_not_told() -> None:
    worse = BEFORE | {"cross_photo_auc": 0.8}
    assert judge(BEFORE, worse, 19, "mine", seen=False).words == (
        "Too few people to tell whether it is better than before: 19 by two photos or more; name "
        "20 with --val."
    )
    said = judge(BEFORE, worse, 20, "mine", seen=True).words
    assert said.startswith("WORSE than before, across photos, by AUC. Keep --encoder mine. Of")
    assert "people whom it was trained on" in said
