"""Encoders on torch: a bundle's network, and any model that timm or the Hugging Face hub holds.

On CUDA the network runs in bfloat16, channels last; on the CPU in float32.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedb.encoder.bundle import WEIGHTS, Bundle
from facedb.encoder.encoder import Encoder, Forward
from facedb.errors import DependencyMissing, EncoderError
from facedb.types import Pixels

try:
    import timm
    import torch
    from safetensors.torch import load_file
    from torch import Tensor, nn

    from facedb.encoder.network import EncoderNetwork
except ImportError as error:
    raise DependencyMissing(
        "this encoder needs torch and timm; from a clone: pip install '.[cpu,train]'"
    ) from error


def bundle_forward(bundle: Bundle, device: str) -> Forward:
    """What a bundle's network computes on `device` ("cuda" or "cpu")."""
    return _on_device(bundle_network(bundle), device)


def bundle_network(bundle: Bundle) -> EncoderNetwork:
    """A bundle's network with its weights, in float32, on the CPU."""
    card = bundle.card
    network = EncoderNetwork(
        card.architecture,
        hidden=card.hidden,
        dim=card.dim,
        options=card.options,
        mean=card.mean,
        std=card.std,
        blur=card.blur,
    )
    network.load_state_dict(bundle_weights(bundle))
    return network


def bundle_weights(bundle: Bundle) -> dict[str, Tensor]:
    """A bundle's weights by name, in float32."""
    return {name: tensor.float() for name, tensor in load_file(bundle.folder / WEIGHTS).items()}


def hub_encoder(spec: str, device: str) -> Encoder:
    """An encoder made of a pretrained timm model: its pooled features, unit length.

    Args:
        spec: "timm:MODEL" or "hf-hub:ID"; timm loads or downloads it as it always does.
            "timm:local-dir:FOLDER" is a folder in the hub's own form.

    Raises:
        EncoderError: timm cannot make or fetch it.
    """
    name = spec.removeprefix("timm:")
    try:
        model: Any = timm.create_model(name, pretrained=True, num_classes=0)
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        raise EncoderError(f"--encoder {spec}: timm cannot load it: {error}") from error
    model.eval()
    settings = timm.data.resolve_model_data_config(model)
    network = _HubNetwork(model, settings)
    with torch.inference_mode():
        side = network.side
        dim = int(network(torch.zeros(1, side, side, 3, dtype=torch.uint8)).shape[1])
    return Encoder(
        spec, name, _fingerprint(model, settings), dim, None, device, _on_device(network, device)
    )


class _HubNetwork(nn.Module):
    """Resizes crops to what a timm model was trained on, and scales them its way."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, settings: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.side = int(settings["input_size"][-1])
        self.register_buffer("mean", torch.tensor(settings["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(settings["std"]).view(1, 3, 1, 1))

    def forward(self, crops: Tensor) -> Tensor:
        pixels = crops.permute(0, 3, 1, 2).to(self.mean.dtype) / 255
        pixels = nn.functional.interpolate(
            pixels, size=(self.side, self.side), mode="bilinear", antialias=True
        )
        features: Tensor = self.model((pixels - self.mean) / self.std)
        return features.float()


def _on_device(network: nn.Module, device: str) -> Forward:
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    network = network.eval().to(device=device, dtype=kind)
    if device == "cuda":
        network = network.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(crops: Pixels) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.ascontiguousarray(crops)).to(device)
        embeddings: NDArray[np.float32] = network(batch).float().cpu().numpy()
        return embeddings

    return forward


def _fingerprint(model: nn.Module, settings: dict[str, Any]) -> str:
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def cuda_usable() -> bool:
    """Whether torch finds a GPU here."""
    return torch.cuda.is_available()
