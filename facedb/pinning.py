"""What a gallery is pinned to, and what to say when something else is brought."""

from __future__ import annotations

import os
from pathlib import Path

from facedb.encoder import Encoder
from facedb.errors import EncoderMismatch
from facedb.faces import WITHOUT_FILE, Detector
from facedb.store import Pin


def new_pin(encoder: Encoder, detector: Detector, detector_spec: str) -> Pin:
    """The pin of a gallery that is made with these; `detector_spec` opened the detector."""
    return Pin(
        encoder.spec,
        encoder.name,
        encoder.fingerprint,
        encoder.dim,
        _name_of(detector) or os.path.abspath(detector_spec),
        detector.fingerprint,
    )


def other_encoder(folder: Path, pin: Pin, encoder: Encoder) -> EncoderMismatch:
    """The error for an encoder that did not make the gallery's templates."""
    # The bundled encoder of an earlier facedb cannot be named any more.
    old = "" if pin.encoder == "bundled" else f"name the old one: --encoder {pin.encoder}, or "
    return EncoderMismatch(
        f"{folder}: its templates were made by encoder {pin.encoder_name} "
        f"({pin.encoder_fingerprint[:8]}), not by {encoder.name} ({encoder.fingerprint[:8]}); "
        f"{old}make the templates anew: "
        f"facedb gallery reencode -g {folder} --encoder {encoder.spec}"
    )


def other_detector(folder: Path, pin: Pin, detector: Detector) -> EncoderMismatch:
    """The error for a detector that did not cut the gallery's crops."""
    # The bundled detector of an earlier facedb cannot be named any more.
    old = "" if pin.detector == "bundled" else f"name the old one: --detector {pin.detector}, or "
    return EncoderMismatch(
        f"{folder}: its faces were found by detector {pin.detector_fingerprint}, not by "
        f"{detector.fingerprint}; {old}make the templates anew: "
        f"facedb gallery reencode -g {folder} --detector {_name_of(detector) or 'FILE'}"
    )


def _name_of(detector: Detector) -> str:
    """What names a detector; "" for one of a file."""
    return detector.name if detector.name in WITHOUT_FILE else ""
