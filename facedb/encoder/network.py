"""The encoder as a torch module: a timm backbone and a two-layer head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 512
DIM = 128


class EncoderNetwork(nn.Module):
    """A timm backbone, pooled, then Linear -> ReLU -> Linear.

    Args:
        architecture: any timm model name.
        hidden: width of the head's hidden layer.
        dim: length of the embedding.
        options: further keyword arguments of `timm.create_model`.
        mean, std: per RGB channel, of values scaled to [0, 1].
        blur: side in pixels, odd, of the binomial filter that crops are blurred by; 1 is without.
        pretrained: False for random weights, True for those that timm loads or downloads, or a
            file of weights.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        architecture: str = "convnext_atto",
        *,
        hidden: int = HIDDEN,
        dim: int = DIM,
        options: Mapping[str, Any] | None = None,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        blur: int = 1,
        pretrained: bool | str = False,
    ) -> None:
        super().__init__()
        more = dict(options or {})
        if isinstance(pretrained, str):
            more["pretrained_cfg_overlay"] = {"file": pretrained}
        self.backbone = timm.create_model(
            architecture, pretrained=bool(pretrained), num_classes=0, **more
        )
        features = int(getattr(self.backbone, "head_hidden_size", self.backbone.num_features))
        self.blur = blur
        self.head = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.register_buffer(
            "pixel_mean", 255 * torch.tensor(mean)[:, None, None], persistent=False
        )
        self.register_buffer("pixel_std", 255 * torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        """Raw embeddings of crops.

        Args:
            crops: uint8[n, size, size, 3], RGB.

        Returns:
            float32[n, dim], not normalised.
        """
        return self.embed(self.scaled(crops)).float()

    def scaled(self, crops: Tensor) -> Tensor:
        """Images [n, 3, h, w], blurred, scaled by mean and std, of crops uint8[n, h, w, 3].

        Planes first: ONNX Runtime is slow to divide by three numbers in the last place. In float32
        whatever the network's own type is: bfloat16 holds whole grey levels and no halves of them.
        """
        planes = blurred(crops.permute(0, 3, 1, 2).float(), self.blur)
        return ((planes - self.pixel_mean) / self.pixel_std).to(self.pixel_mean.dtype)

    def embed(self, images: Tensor) -> Tensor:
        """Raw embeddings, [n, dim], of images [n, 3, h, w] already scaled by mean and std."""
        return self.look(images)[0]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What `embed` gives, and what the backbone pools: [n, c, h, w] of a convolutional one."""
        maps = self.backbone.forward_features(images)
        embeddings: Tensor = self.head(self.backbone.forward_head(maps))
        return embeddings, maps


def blurred(planes: Tensor, side: int) -> Tensor:
    """Planes [n, c, h, w] under a binomial filter of an odd side, the border's pixels repeated.

    Of side 3 it is [1, 2, 1] / 4 both ways. Means of two, taken again and again, are binomial.
    What is finer than a patch of the stem can tell is taken for something coarser (aliasing);
    blurring before a stride is the remedy of Zhang, "Making Convolutional Networks Shift-Invariant
    Again", ICML 2019.
    """
    if side > 1:
        planes = functional.pad(planes, [side // 2] * 4, mode="replicate")
    for _ in range(side - 1):
        planes = functional.avg_pool2d(planes, 2, stride=1)
    return planes
