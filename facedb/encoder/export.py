"""Writing an encoder bundle: weights once, in float16, and a graph that points at them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from facedb.encoder.bundle import CARD, GRAPH, SCHEMA, WEIGHTS, sha256_of, write_card
from facedb.encoder.encoder import ramp, unit_rows
from facedb.encoder.network import EncoderNetwork
from facedb.encoder.onnx import onnx_forward
from facedb.errors import EncoderError

_OPSET = 18


def write_bundle(folder: Path, network: EncoderNetwork, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write `encoder.json`, `encoder.safetensors` and `encoder.onnx` into `folder`.

    Matrices and kernels are rounded to float16, in the network too, so that what was measured
    before should be measured again after. Vectors, which cost nothing, stay float32: a batch
    normalisation's variances would not fit.

    Args:
        network: on the CPU.
        card: what the card says beside what is worked out here (schema, digests, canonical).

    Returns:
        The whole card.

    Raises:
        EncoderError: ONNX Runtime does not compute what torch does (cosine below 0.999).
    """
    network = network.eval().float()
    side = int(card["input_size"])
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(_stored(tensor))
    canonical = _torch_embedding(network, ramp(side)[None])[0]
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".new-", dir=folder) as name:
        new = Path(name)
        (new / WEIGHTS).write_bytes(_weights(network))
        (new / GRAPH).write_bytes(_graph(network, side, new / WEIGHTS))
        _check(new, network, side)
        whole = {
            "schema": SCHEMA,
            **card,
            "weights_sha256": sha256_of(new / WEIGHTS),
            "graph_sha256": sha256_of(new / GRAPH),
            "canonical": {"crop": "ramp", "embedding": [round(float(v), 5) for v in canonical]},
        }
        write_card(new / CARD, whole)
        for file in (WEIGHTS, GRAPH, CARD):
            (new / file).replace(folder / file)
    return whole


def _weights(network: EncoderNetwork) -> bytes:
    state = network.state_dict().items()
    return save({name: _stored(tensor).contiguous() for name, tensor in state})


def _stored(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor


def _graph(network: EncoderNetwork, side: int, weights: Path) -> bytes:
    """The ONNX graph, every weight external, a float16 one behind a Cast."""
    program = torch.onnx.export(
        network,
        (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
        input_names=["crops"],
        output_names=["embeddings"],
        dynamic_shapes={"crops": {0: torch.export.Dim("n")}},
        opset_version=_OPSET,
        dynamo=True,
        optimize=False,  # folding would rename the weights
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    places = _places(weights)
    casts, used = [], 0
    for tensor in model.graph.initializer:
        if tensor.name not in places:
            continue
        used += 1
        name, place = tensor.name, places[tensor.name]
        for key in ("raw_data", "float_data"):
            tensor.ClearField(key)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", place[0]), ("length", place[1])):
            tensor.external_data.add(key=key, value=str(value))
        if place[2] == "F16":
            tensor.name, tensor.data_type = name + ".float16", onnx.TensorProto.FLOAT16
            cast = onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
            casts.append(cast)
    if used != len(places):
        raise EncoderError(f"the graph uses {used} of {len(places)} weights by name")
    nodes = [*casts, *model.graph.node]
    for node in nodes:
        # The exporter's notes hold stack traces: ten times the graph, and this machine's paths.
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for field in ("node", "value_info"):
        model.graph.ClearField(field)
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString(deterministic=True))


def _places(weights: Path) -> dict[str, tuple[int, int, str]]:
    """name -> offset, length in bytes, type (safetensors: 8 bytes of header length, the header).

    Counters, which only training needs, have no place in the graph.
    """
    data = weights.read_bytes()
    header = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + header])
    return {
        name: (8 + header + start, end - start, entry["dtype"])
        for name, entry in entries.items()
        if name != "__metadata__" and entry["dtype"] in ("F16", "F32")
        for start, end in [entry["data_offsets"]]
    }


def _check(folder: Path, network: EncoderNetwork, side: int) -> None:
    crops = np.random.default_rng(1).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
    dim = int(network.head[-1].out_features)  # type: ignore[arg-type]
    cosines = np.sum(
        unit_rows(onnx_forward(folder)(crops), dim) * _torch_embedding(network, crops), axis=1
    )
    if not np.all(cosines >= 0.999):
        raise EncoderError(f"{folder / GRAPH}: differs from torch, cosine {cosines.min():.4f}")


def _torch_embedding(network: EncoderNetwork, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.inference_mode():
        raw: NDArray[np.float32] = network(torch.from_numpy(crops)).numpy()
    return unit_rows(raw, raw.shape[1])
