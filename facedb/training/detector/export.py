"""Network -> ONNX in YuNet's head layout, node by node: no exporter, and nothing in it to spare.

The score is written twice, as cls and as obj, because what decodes YuNet takes the root of their
product.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from facedb.detections import STRIDES
from facedb.training.detector.network import (
    INPUT_SCALE,
    VALUES,
    Block,
    DetectorNetwork,
    normalised,
)

LIMIT: Final = 500_000
"""Bytes that the file may have."""

_OPSET, _IR = 13, 8


def to_onnx(network: DetectorNetwork, offset: float = 0.0) -> bytes:
    """The model file of a network, which is not changed.

    Args:
        network: trained.
        offset: is added to the score's logit, so that the usual threshold is the right one.

    Returns:
        ONNX: input float32[1, 3, height, width], BGR 0..255, multiples of 32; outputs cls_*,
        obj_*, bbox_* and kps_* for the strides 8, 16 and 32, float32[1, cells, 1, 1, 4 or 10].
    """
    fused = _fused(network, offset)
    graph = _Graph()
    maps = graph.chain("input", fused.stem)
    levels: list[str] = []
    for stage, lateral in zip(fused.stages, fused.laterals, strict=True):
        maps = graph.chain(maps, stage)
        levels.append(graph.chain(maps, lateral))
    for finer in (1, 0):
        levels[finer] = graph.node("Add", [levels[finer], graph.doubled(levels[finer + 1])])
    for stride, head, level in zip(STRIDES, fused.heads, levels, strict=True):
        graph.answers(graph.chain(level, head), stride)
    return graph.model()


def _fused(network: DetectorNetwork, offset: float) -> DetectorNetwork:
    """A copy whose normalisations, input scale and score correction lie in its convolutions."""
    fused = copy.deepcopy(network).cpu().float().eval()
    for row, kernel, norm in normalised(fused):
        row[0], row[1] = fuse_conv_bn_eval(kernel, norm), nn.Identity()
    fused.stem[0][0].weight.data *= INPUT_SCALE  # type: ignore[index]
    for head in fused.heads:
        head[-1].bias.data[0] += offset  # type: ignore[index]
    return fused


class _Graph:
    """ONNX nodes and weights, as they are added."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._outputs: list[Any] = []

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **options: Any) -> str:
        output = output or f"{kind.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **options))
        return output

    def weight(self, values: NDArray[Any]) -> str:
        name = f"weight{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def kernel(self, values: NDArray[Any]) -> str:
        """A convolution's weight in a quarter of the bytes: 255 levels for each channel out.

        What reads the file brings it back to float32, once.
        """
        largest = np.abs(values).max(axis=(1, 2, 3), keepdims=True)
        step = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        levels = self.weight(np.rint(values / step).astype(np.int8))
        whole = self.node("Cast", [levels], to=TensorProto.FLOAT)
        return self.node("Mul", [whole, self.weight(step)])

    def chain(self, maps: str, module: nn.Module) -> str:
        """A module's nodes after `maps`; the name of what comes out."""
        match module:
            case nn.Sequential():
                for part in module:
                    maps = self.chain(maps, part)
                return maps
            case nn.Conv2d():
                return self.convolution(maps, module)
            case nn.ReLU():
                return self.node("Relu", [maps])
            case Block():
                mixed = self.chain(self.chain(maps, module.across), module.mix)
                return self.node(
                    "Relu", [self.node("Add", [mixed, maps]) if module.alike else mixed]
                )
            case nn.Identity():
                return maps
        raise TypeError(f"no ONNX for {type(module).__name__}")

    def convolution(self, maps: str, module: nn.Conv2d) -> str:
        edge = int(module.padding[0])
        weights = [self.kernel(module.weight.detach().numpy())]
        if module.bias is not None:
            weights.append(self.weight(module.bias.detach().numpy()))
        return self.node(
            "Conv",
            [maps, *weights],
            kernel_shape=list(module.kernel_size),
            strides=list(module.stride),
            pads=[edge] * 4,
            group=module.groups,
        )

    def doubled(self, maps: str) -> str:
        """Each value four times, as the nearest neighbour does it."""
        scales = self.weight(np.array([1, 1, 2, 2], np.float32))
        return self.node(
            "Resize",
            [maps, "", scales],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def answers(self, maps: str, stride: int) -> None:
        """The four outputs of a stride."""
        last = self.node("Transpose", [maps], perm=[0, 2, 3, 1])
        rows = self.node("Reshape", [last, self.weight(np.array([1, -1, VALUES]))])
        parts = [f"{part}{stride}" for part in ("logits", "bbox_", "kps_")]
        widths = self.weight(np.array([1, 4, 10]))
        self._nodes.append(helper.make_node("Split", [rows, widths], parts, axis=2))
        self.node("Sigmoid", [parts[0]], f"cls_{stride}")
        self.node("Identity", [f"cls_{stride}"], f"obj_{stride}")
        for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            self._outputs.append(_value(f"{name}_{stride}", [1, f"cells_{stride}", width]))

    def model(self) -> bytes:
        pixels = _value("input", [1, 3, "height", "width"])
        graph = helper.make_graph(self._nodes, "detector", [pixels], self._outputs, self._weights)
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


def _value(name: str, shape: Sequence[int | str]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
