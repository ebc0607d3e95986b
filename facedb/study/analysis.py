"""What trained networks got wrong, where they look, and how their features lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facedb.errors import DependencyMissing
from facedb.study.augment import Photos
from facedb.study.blocks import BlockNetwork, SpatialAttention, computing
from facedb.study.data import NAMES


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[10, 10]: how many pictures of the row's class were taken for the column's."""
    pairs = np.bincount(labels * len(NAMES) + predicted, minlength=len(NAMES) ** 2)
    return pairs.reshape(len(NAMES), len(NAMES))


def most_confused(counts: NDArray[np.int64], limit: int) -> list[tuple[str, str, int]]:
    """The pairs of classes most often taken for each other, both ways together, worst first."""
    both = counts + counts.T
    pairs = [(NAMES[i], NAMES[j], int(both[i, j])) for i in range(10) for j in range(i)]
    return sorted(pairs, key=lambda pair: -pair[2])[:limit]


@torch.inference_mode()
def penultimate(network: BlockNetwork, photos: Photos, count: int) -> NDArray[np.float32]:
    """float32[count, 512]: what the classifier sees of the first `count` pictures."""
    network.eval()
    found = []
    for start in range(0, count, 500):
        images, _ = photos.plain(slice(start, min(start + 500, count)))
        with computing(images.device):
            found.append(network.features(images).float().cpu())
    return torch.cat(found).numpy()


@dataclass(frozen=True)
class Plane:
    """Features laid out by t-SNE (van der Maaten and Hinton, 2008).

    Attributes:
        points: float[n, 2], scaled to [0, 1].
        silhouette_plane, silhouette_features: mean silhouette (Rousseeuw, 1987) of the true
            classes in [-1, 1], of the points and of the features themselves; larger is better
            separated.
    """

    points: NDArray[np.float64]
    silhouette_plane: float
    silhouette_features: float


def plane(features: NDArray[np.float32], labels: NDArray[np.int64]) -> Plane:
    """Lay features float32[n, d] out in the plane: perplexity 30, started from their PCA, seed 0.

    Raises:
        DependencyMissing: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
        from sklearn.metrics import silhouette_score
    except ImportError as error:
        raise DependencyMissing("t-SNE needs scikit-learn: pip install scikit-learn") from error
    method = TSNE(perplexity=min(30, (len(features) - 1) // 3), init="pca", random_state=0)
    points = method.fit_transform(features.astype(np.float64))
    low, high = points.min(0), points.max(0)
    return Plane(
        (points - low) / (high - low),
        float(silhouette_score(points, labels)),
        float(silhouette_score(features, labels)),
    )


@torch.inference_mode()
def attention_maps(network: BlockNetwork, images: Tensor) -> list[NDArray[np.float32]]:
    """The weights of every spatial attention in turn, float32[n, h, w] in (0, 1).

    Args:
        network: with block B; any other block gives an empty list.
        images: normalised float[n, 3, 32, 32].
    """
    found: list[NDArray[np.float32]] = []

    def keep(layer: SpatialAttention, inputs: tuple[Tensor], _: Tensor) -> None:
        found.append(layer.weights(inputs[0])[:, 0].float().cpu().numpy())

    layers = [layer for layer in network.modules() if isinstance(layer, SpatialAttention)]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    network.eval()(images)
    for hook in hooks:
        hook.remove()
    return found
