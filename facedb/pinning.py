"""What a gallery is pinned to, and what to say when something else is brought."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from facedb.encoder import Encoder, open_encoder
from facedb.errors import EncoderError, EncoderMismatch, FacedbError
from facedb.faces import WITHOUT_FILE, Detector, open_detector
from facedb.store import Pin
from facedb.typed import typed


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
    return EncoderMismatch(
        f"{folder}: its templates were made by encoder {pin.encoder_name} "
        f"({pin.encoder_fingerprint[:8]}), not by {encoder.name} ({encoder.fingerprint[:8]}); "
        f"{_back('--encoder', _still_there(open_encoder, pin.encoder, pin.encoder_fingerprint))}"
        f"{_anew(folder, '--encoder', encoder.spec)}"
    )


def other_detector(folder: Path, pin: Pin, detector: Detector, spec: str) -> EncoderMismatch:
    """The error for a detector that did not cut the gallery's crops; `spec` opened it."""
    # Without an encoder named, the templates would be made anew by the bundled one.
    kept = () if pin.encoder == "bundled" else ("--encoder", pin.encoder)
    anew = _anew(folder, *kept, "--detector", spec)
    if _weights(pin.detector_fingerprint) == _weights(detector.fingerprint):
        return EncoderMismatch(
            f"{folder}: its faces were cut by detector {pin.detector_fingerprint}, whose answers "
            f"are read otherwise since ({detector.fingerprint}); {anew}"
        )
    there = _still_there(open_detector, pin.detector, pin.detector_fingerprint)
    return EncoderMismatch(
        f"{folder}: its faces were found by detector {pin.detector_fingerprint}, not by "
        f"{detector.fingerprint}; {_back('--detector', there)}{anew}"
    )


def gone_encoder(folder: Path, pin: Pin, error: EncoderError) -> EncoderError:
    """That the encoder a gallery was made with is not where it was."""
    elsewhere = typed("query", "PHOTO", gallery=folder, options=("--encoder", "FOLDER"))
    return EncoderError(
        f"{folder} was made with encoder {pin.encoder_name}, and {error}. If it lies elsewhere "
        f"now, put it back or say where: {elsewhere}; for good, "
        + _anew(folder, "--encoder", "FOLDER")
    )


def _anew(folder: Path, *options: str) -> str:
    command = typed("gallery reencode", gallery=folder, options=options)
    return f"make the templates anew: {command}"


def _back(option: str, there: bool) -> str:
    """How to have what the gallery was made with, where it can still be had."""
    return f"leave {option} out to go on with the old one, or " if there else ""


def _still_there(
    open_one: Callable[[str], Encoder | Detector], spec: str, fingerprint: str
) -> bool:
    try:
        return open_one(spec).fingerprint == fingerprint
    except FacedbError:
        return False


def _weights(fingerprint: str) -> str:
    """A detector's fingerprint without how its answers are read, which is the last part."""
    return fingerprint.partition(".")[0]


def _name_of(detector: Detector) -> str:
    """What names a detector; "" for one of a file."""
    return detector.name if detector.name in WITHOUT_FILE else ""
