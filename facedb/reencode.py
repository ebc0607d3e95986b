"""`gallery reencode`: every template anew by another encoder or detector.

The new vectors are laid beside the old ones while those go on answering; one transaction then
puts them in place. A run that was interrupted goes on where it was.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from facedb.encoder import Encoder
from facedb.enroller import COMMIT_SECONDS, new_template
from facedb.errors import InputError
from facedb.faces import Detector
from facedb.photos import Refusal, reasons
from facedb.pipeline import Encoded, encode_photos
from facedb.store import NewTemplate, Pin, Store, StoredTemplate
from facedb.typed import typed
from facedb.types import Progress

CHANGED = "the file has changed since it was enrolled"
UNKNOWN = "the file it was enrolled from is not known"


@dataclass(frozen=True, slots=True)
class ReencodeReport:
    """What re-encoding did: templates made anew, and those dropped with the reason for each."""

    reencoded: int
    dropped: tuple[Refusal, ...]
    seconds: float


def reencode(
    store: Store,
    encoder: Encoder,
    detector: Detector,
    pin: Pin,
    *,
    drop_missing: bool = False,
    progress: Progress | None = None,
) -> ReencodeReport:
    """Make every template anew from its photo, then change over in one transaction.

    Args:
        pin: what the gallery is pinned to afterwards.
        drop_missing: drop templates whose photo cannot be encoded again; without it nothing
            changes when there is one.

    Raises:
        InputError: photos are missing or show no face any more, and `drop_missing` is not set;
            or not one template would be left.
    """
    began = time.monotonic()
    failed: dict[int, Refusal] = {}
    while True:
        waiting = store.templates_to_reencode(pin.made_by)
        todo = _found_again(
            store, [template for template in waiting if template.template_id not in failed]
        )
        failed |= _encode_all(store, encoder, detector, pin, todo, progress)
        if failed and (not drop_missing or len(failed) == store.count()):
            raise InputError(_refused(failed, store))
        with store.writing() as writer:
            done = writer.change_encoder(pin, list(failed))
        if done:
            dropped = tuple(failed[number] for number in sorted(failed))
            return ReencodeReport(store.count(), dropped, time.monotonic() - began)


def _found_again(store: Store, templates: list[StoredTemplate]) -> list[StoredTemplate]:
    """The same templates, by another file of the same photo where the one named is gone."""
    gone = [template.sha256 for template in templates if not os.path.exists(template.photo)]
    others = store.paths_of(gone)
    found = []
    for template in templates:
        there = [path for path in others.get(template.sha256, ()) if os.path.exists(path)]
        found.append(replace(template, photo=min(there)) if there else template)
    return found


def _encode_all(
    store: Store,
    encoder: Encoder,
    detector: Detector,
    pin: Pin,
    todo: list[StoredTemplate],
    progress: Progress | None,
) -> dict[int, Refusal]:
    failed: dict[int, Refusal] = {}
    ready: dict[int, NewTemplate] = {}
    committed = time.monotonic()
    encoded = encode_photos((template.photo for template in todo), detector, encoder)
    for done, (template, result) in enumerate(zip(todo, encoded, strict=True), start=1):
        reason = _reason(template, result)
        if reason is None:
            ready[template.template_id] = new_template(template.identity, result)
        else:
            failed[template.template_id] = Refusal(template.photo or template.identity, reason)
        if done == len(todo) or time.monotonic() - committed >= COMMIT_SECONDS:
            with store.writing() as writer:
                writer.put_reencoded(pin.made_by, ready)
            ready, committed = {}, time.monotonic()
        if progress is not None:
            progress(done, len(todo))
    return failed


def _reason(template: StoredTemplate, result: Encoded) -> str | None:
    if not template.photo:
        return UNKNOWN
    if result.reason is not None:
        return result.reason
    return CHANGED if result.sha256 != template.sha256 else result.unusable


def _refused(failed: dict[int, Refusal], store: Store) -> str:
    shown = [f"\n  {refusal.path}: {refusal.reason}" for refusal in list(failed.values())[:10]]
    more = f"\n  and {len(failed) - 10} more" if len(failed) > 10 else ""
    if len(failed) == store.count():
        which = f"not one of {len(failed)} templates can"
        gone = all(refusal.reason == reasons.MISSING for refusal in failed.values())
        way = "is a drive not mounted? Bring the files back" if gone else "nobody would be left"
    else:
        which = f"{len(failed)} of {store.count()} templates cannot"
        drop = typed("gallery reencode", gallery=store.folder, options=("--drop-missing",))
        way = f"bring the files back, or drop these templates, with the same options: {drop}"
    return (
        f"{store.folder}: {which} be made anew, and nothing was changed:"
        f"{''.join(shown)}{more}\n{way}"
    )
