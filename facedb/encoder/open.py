"""From what the user names to an encoder on a device."""

from __future__ import annotations

import logging

from facedb.device import Device, gpu_present
from facedb.encoder.bundle import Bundle, bundle_folder, read_bundle
from facedb.encoder.encoder import Encoder, Forward, self_test
from facedb.errors import DependencyMissing

_logger = logging.getLogger("facedb")


def open_encoder(spec: str = "bundled", device: Device = "auto") -> Encoder:
    """Open an encoder and test it on its canonical crop.

    Args:
        spec: "bundled", a bundle folder, "timm:MODEL" or "hf-hub:ID".
        device: "cuda" uses torch, "cpu" ONNX Runtime; "auto" takes a GPU that can be used.

    Raises:
        EncoderError: it is not there, damaged, or fails its self-test.
        DependencyMissing: it needs torch, or the device a GPU, that is not there.
    """
    where = _resolved(device)
    if spec.startswith(("timm:", "hf-hub:")):
        from facedb.encoder.torch import hub_encoder

        return hub_encoder(spec, where)
    bundle = read_bundle(bundle_folder(spec))
    card = bundle.card
    encoder = Encoder(
        spec=spec if spec == "bundled" else str(bundle.folder.absolute()),
        name=card.name,
        fingerprint=bundle.fingerprint,
        dim=card.dim,
        threshold=card.threshold,
        device=where,
        forward=_forward(bundle, where),
        terms=card.terms,
        input_size=card.input_size,
        alignment=card.alignment,
        card=card.whole,
    )
    self_test(encoder, card.input_size, card.canonical)
    return encoder


def _forward(bundle: Bundle, device: str) -> Forward:
    if device == "cuda":
        from facedb.encoder.torch import bundle_forward

        return bundle_forward(bundle, device)
    from facedb.encoder.onnx import onnx_forward

    return onnx_forward(bundle.folder)


def _resolved(device: Device) -> str:
    if device == "cpu" or (device == "auto" and not gpu_present()):
        return "cpu"
    try:
        from facedb.encoder.torch import cuda_usable

        if cuda_usable():
            return "cuda"
        why = "torch finds no GPU it can use"
    except (ImportError, DependencyMissing):
        why = "torch is not installed"
    if device == "cuda":
        raise DependencyMissing(
            f"--device cuda: {why}; from a clone: pip install '.[gpu]', or leave the option out"
        )
    _logger.warning("a GPU is here but %s: encoding on the CPU", why)
    return "cpu"
