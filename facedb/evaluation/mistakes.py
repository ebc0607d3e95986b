"""The worst mistakes of an evaluation, as pictures beside those they were taken for."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facedb.errors import PhotoError
from facedb.evaluation.trial import Trial
from facedb.photos import load_photo
from facedb.picture import cut_face
from facedb.types import Box

MOST_MISTAKES = 8
"""Of each kind, the worst first."""

_SIDE = 112


@dataclass(frozen=True, slots=True)
class Mistake:
    """A probe that was answered wrongly: its row, beside whom it is shown, and how far they are.

    That is whom it was taken for, or its own person where that one was too far away.
    """

    row: int
    beside: int
    distance: float
    words: str


def worst_mistakes(trial: Trial, threshold: float | None) -> list[tuple[str, list[Mistake]]]:
    """The worst first: strangers nearest to somebody, and people taken for somebody else.

    With a threshold also people who were nearest to themselves, and too far away.
    """
    outcome = trial.outcome
    near = (
        outcome.other
        if threshold is None
        else np.where(outcome.other <= threshold, outcome.other, np.inf)
    )
    strangers = _first(np.where(trial.strange, near, np.inf))
    confused = _first(np.where(trial.mated & (outcome.ranks != 1), outcome.other, np.inf))
    accepted = "Strangers nearest to somebody" if threshold is None else "Strangers accepted"
    held = " (their person taken out of the gallery)" if trial.held_out else ""
    groups = [
        (accepted + held, [_taken(trial, row) for row in strangers.tolist()]),
        ("Taken for somebody else", [_taken(trial, row) for row in confused.tolist()]),
    ]
    if threshold is not None:
        missed = trial.mated & (outcome.ranks == 1) & (outcome.own > threshold)
        far = _first(np.where(missed, -outcome.own, np.inf))
        groups.append(("Not identified", [_missed(trial, row) for row in far.tolist()]))
    return groups


def _first(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    order = np.argsort(distances, kind="stable")[:MOST_MISTAKES]
    return order[np.isfinite(distances[order])]


def _missed(trial: Trial, row: int) -> Mistake:
    own, distance = int(trial.owners[row]), float(trial.outcome.own[row])
    return Mistake(row, own, distance, f"{trial.enrolled.names[own]}, {distance:.3f}")


def _taken(trial: Trial, row: int) -> Mistake:
    rival = int(trial.outcome.rival[row])
    name, other = str(trial.probes.names[row]), str(trial.enrolled.names[rival])
    words = f"{name} taken for {other}, {trial.outcome.other[row]:.3f}"
    if math.isfinite(trial.outcome.own[row]) and trial.mated[row]:
        words += f"; own {trial.outcome.own[row]:.3f}, rank {trial.outcome.ranks[row]}"
    return Mistake(row, rival, float(trial.outcome.other[row]), words)


def mistakes_html(trial: Trial, threshold: float | None, faces: bool) -> list[str]:
    """The worst mistakes as pictures, with names; nothing of both where no faces are wanted."""
    lines = ["<h2>The worst mistakes</h2>"]
    if not faces:
        return [*lines, "<p class='pale'>Left out of this page: it shows no faces.</p>"]
    groups = [(words, found) for words, found in worst_mistakes(trial, threshold) if found]
    if not groups:
        return [*lines, "<p>None.</p>"]
    for words, mistakes in groups:
        lines.append(f"<h3>{escape(words)}</h3><div class='mistakes'>")
        lines += [_mistake_html(trial, mistake) for mistake in mistakes]
        lines.append("</div>")
    return lines


def _mistake_html(trial: Trial, mistake: Mistake) -> str:
    probe = _picture(trial.probes.paths[mistake.row], trial.probes.boxes[mistake.row])
    # A photo that is searched among the others is enrolled itself.
    itself = trial.enrolled.digests == trial.probes.origins[mistake.row]
    rows = np.flatnonzero((trial.enrolled.owners == mistake.beside) & ~itself)
    change = trial.enrolled.vectors[rows] - trial.probes.vectors[mistake.row]
    nearest = int(rows[np.argmin(np.einsum("nd,nd->n", change, change))])
    rival = _picture(*trial.enrolled.photo_of(nearest))
    return (
        f"<div class='mistake'><div class='pair'>{probe}{rival}</div>{escape(mistake.words)}</div>"
    )


def _picture(path: str, box: Box | None) -> str:
    gone = "<div class='gone'>photo not found</div>"
    try:
        photo = load_photo(path)
    except PhotoError:
        return gone
    cut = cut_face(photo, box or (0.0, 0.0, photo.width, photo.height), _SIDE)
    return gone if cut is None else f"<img alt='' src='{_inline(cut)}'>"


def _inline(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
