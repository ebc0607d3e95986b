"""How fast are the encoder and the detector that are shipped, and what would int8 or bfloat16 buy?

Claim: a warm 250x250 photo, decoded, becomes an embedding (detect, align, embed) within 10 ms on
two threads. int8 and bfloat16 are worth shipping only where they are faster and still recognise
the same people.

Everything opens once; then the cases of a section take turns, so that a busy moment hits them all.
A turn of a case is a warm-up and then its inputs, one after another; its figures are the median
time of one call and inputs over the wall time of them all. Reported: medians of the turns.

Encoder: float32 is the bundled graph, as facedb opens it. int8 is that graph with Conv, MatMul and
Gemm quantised by onnxruntime.quantization (static, QDQ, unsigned activations, signed weights per
channel, ranges at the 99.999th percentile of the calibration crops). bfloat16 is the bundle's
network in torch, channels last. Two threads are two callers of one session, as in indexing; with
batch 1 they are two threads within one call (the case says which). Agreement is the cosine to
float32's embedding of the same crop, and leave-one-out rank-1 of the people's aligned crops: of a
folder that holds the people whom the encoder's card names as held out, of those alone.

Detector: one call on one whole photo; YuNet takes turns with it. With two threads, two photos are
looked at at once by one session. End to end is facedb's own `encode_photo`, the largest face.

The photos are LFW's where it is there, and else sample people on a grey canvas. A GPU, where there
is one, runs the network as facedb does there: bfloat16, copies to it and back included.

    python scripts/bench_models.py --people ../shared/data/celeba/crops160
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

# Idle torch threads would otherwise spin on the cores of the next case.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click
import numpy as np
import onnx
import onnxruntime
import torch
from command import Script
from measuring import (
    DETECTOR,
    RESULTS,
    ROOT,
    SHARED,
    Budget,
    circumstances,
    finish,
    pairwise,
    rounded,
    spread,
    table,
)
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from facedb.encoder import Encoder, open_encoder
from facedb.encoder.bundle import BUNDLED, GRAPH, WEIGHTS, Bundle, read_bundle
from facedb.encoder.encoder import Forward
from facedb.encoder.network import EncoderNetwork
from facedb.encoder.torch import bundle_forward, bundle_network
from facedb.faces import Detector, open_detector
from facedb.photos import load_photo, photo_from_array
from facedb.pipeline import encode_photo
from facedb.runtime import open_session
from facedb.types import Embeddings, Photo, Pixels
from facedb.unseen import CropsOnly

SIDE = 250
BATCH = 32
GPU_BATCHES = (1, 32, 256)
QUANTISED = ["Conv", "MatMul", "Gemm"]
ONE, WITHIN, CALLERS = "1 thread", "2 threads within the call", "2 threads, two callers"


@dataclass(frozen=True)
class Case:
    """Work on each of some inputs, by so many threads; `size` is what one input counts for."""

    work: Callable[[Any], object]
    inputs: Sequence[Any]
    callers: int = 1
    size: int = 1


@dataclass(frozen=True)
class Sizes:
    """How many inputs a turn has, how many crops calibrate, and how many turns there are."""

    photos: int
    crops: int
    batches: int
    calibration: int
    turns: int


FULL, QUICK = Sizes(100, 60, 8, 96, 7), Sizes(4, 4, 2, 16, 2)


@dataclass(frozen=True)
class People:
    """uint8[n, S, S, 3] crops and str[n], whose they are."""

    crops: Pixels
    names: NDArray[np.str_]

    def some(self, count: int) -> Pixels:
        """Crops from all over, in a circle where there are fewer."""
        return self.crops[np.arange(count) * max(1, len(self.crops) // count) % len(self.crops)]

    def hits(self, vectors: Embeddings) -> NDArray[np.bool_]:
        """Leave-one-out: of who has another photo, whether the nearest one is theirs."""
        similarities = vectors @ vectors.T
        np.fill_diagonal(similarities, -np.inf)
        same = self.names[similarities.argmax(axis=1)] == self.names
        _, whose, counts = np.unique(self.names, return_inverse=True, return_counts=True)
        return np.asarray(same[counts[whose] > 1])


def files_of(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.glob("*/*") if file.is_file())
    if not found:
        raise click.ClickException(f"{folder}: no folders of photos by person in there")
    return found


def read_people(folder: Path, side: int, only: Container[str] = ()) -> People:
    """Everybody, or those of `only` where some of them are here."""
    files, cutter = files_of(folder), CropsOnly(side)
    files = [file for file in files if file.parent.name in only] or files
    crops = [cutter.detect(load_photo(file))[0].crop for file in files]
    return People(np.stack(crops), np.array([file.parent.name for file in files]))


def read_photos(lfw: Path, people: Path, count: int) -> tuple[str, list[Photo]]:
    """Where the photos are from, and decoded photos of 250x250."""
    if lfw.is_dir():
        files = files_of(lfw)
        chosen = files[:: max(1, len(files) // count)][:count]
        return "LFW", [load_photo(file) for file in chosen]
    files = files_of(people)
    chosen = [files[number % len(files)] for number in range(count)]
    return "sample people on a canvas", [on_canvas(load_photo(file).pixels) for file in chosen]


def on_canvas(pixels: Pixels) -> Photo:
    part = pixels[:SIDE, :SIDE]
    canvas = np.full((SIDE, SIDE, 3), 128, np.uint8)
    top, left = (SIDE - part.shape[0]) // 2, (SIDE - part.shape[1]) // 2
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return photo_from_array(canvas)


def take_turns(cases: dict[str, Case], turns: int) -> dict[str, dict[str, list[float]]]:
    """name -> "ms" and "per_s", one figure a turn."""
    figures: dict[str, dict[str, list[float]]] = {name: {"ms": [], "per_s": []} for name in cases}
    for _ in range(turns):
        for name, case in cases.items():
            for key, value in one_turn(case).items():
                figures[name][key].append(value)
    return figures


def one_turn(case: Case) -> dict[str, float]:
    time.sleep(0.05)  # the threads of the case before spin on for a moment
    with ThreadPoolExecutor(case.callers) as pool:
        list(pool.map(case.work, case.inputs[: 2 * case.callers]))
        started = time.perf_counter()
        times = list(pool.map(partial(timed_ms, case.work), case.inputs))
        elapsed = time.perf_counter() - started
    return {"ms": median(times), "per_s": len(times) * case.size / elapsed}


def timed_ms(work: Callable[[Any], object], value: Any) -> float:
    started = time.perf_counter()
    work(value)
    return (time.perf_counter() - started) * 1000


def measure(title: str, cases: dict[str, Case], turns: int) -> dict[str, dict[str, list[float]]]:
    """Take turns, and show what came out."""
    figures = take_turns(cases, turns)
    rows: list[Sequence[object]] = [("", "ms", "min", "max", "iqr", "per s")]
    for name, both in figures.items():
        ms = spread(both["ms"])
        times = (ms[key] for key in ("median", "min", "max", "iqr"))
        rows.append((name, *times, median(both["per_s"])))
    table(title, rows)
    return figures


def spreads(figures: dict[str, list[float]]) -> dict[str, Any]:
    return {key: spread(values) for key, values in figures.items()}


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Crops for the quantiser, one by one: it stacks what comes out of them."""

    def __init__(self, crops: Pixels) -> None:
        self._parts: Iterator[Pixels] = iter(np.split(crops, len(crops)))

    def get_next(self) -> dict[str, Pixels] | None:
        part = next(self._parts, None)
        return None if part is None else {"crops": part}


def quantise(graph: Path, crops: Pixels, folder: Path) -> Path:
    """The graph in int8, weights inside, in this folder."""
    # Folding the Casts of the float16 weights makes them constants, without which the biases
    # stay float. Symbolic shapes, which the quantiser does not need, fail on this graph.
    whole, folded, quantised = (folder / f"{name}.onnx" for name in ("whole", "folded", "int8"))
    onnx.save(onnx.load(str(graph)), str(whole))  # its weights lie beside it, and must come along
    quant_pre_process(str(whole), str(folded), skip_symbolic_shape=True)
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(
            str(folded), str(quantised), Calibration(crops), quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
        )  # fmt: skip
    return quantised


def onnx_forward(model: Path, threads: int) -> Forward:
    """A graph, as facedb opens it or with more threads within a call."""
    if threads == 1:
        session = open_session(str(model))
    else:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
    return lambda crops: session.run(None, {"crops": crops})[0]


def bfloat16_network(bundle: Bundle) -> EncoderNetwork:
    network = bundle_network(bundle).eval()
    return network.to(dtype=torch.bfloat16, memory_format=torch.channels_last)


def torch_forward(network: EncoderNetwork, threads: int) -> Forward:
    @torch.inference_mode()
    def forward(crops: Pixels) -> NDArray[np.float32]:
        torch.set_num_threads(threads)  # of the calling thread alone
        return np.asarray(network(torch.from_numpy(crops)).numpy())

    return forward


Variants = dict[str, dict[int, Encoder]]
"""name -> threads within a call -> an encoder on the CPU."""


def open_variants(bundle: Bundle, int8: Path) -> Variants:
    encoder = open_encoder(str(bundle.folder), "cpu")
    network = bfloat16_network(bundle)
    made: dict[str, Callable[[int], Forward]] = {
        "float32": partial(onnx_forward, bundle.folder / GRAPH),
        "int8": partial(onnx_forward, int8),
        "bfloat16": partial(torch_forward, network),
    }
    return {
        name: {threads: replace(encoder, forward=make(threads)) for threads in (1, 2)}
        for name, make in made.items()
    }


def encoder_cases(variants: Variants, people: People, sizes: Sizes) -> dict[str, Case]:
    """Every setting, and in it every variant, so that those to be compared run side by side."""
    crops = people.some(sizes.crops)
    ones = np.split(crops, len(crops))
    many = np.split(people.some(BATCH * sizes.batches), sizes.batches)
    cases: dict[str, Case] = {}
    for name, by_threads in variants.items():
        one, two = by_threads[1].embed, by_threads[2].embed
        cases[f"{name}: batch 1, {ONE}"] = Case(one, ones)
        cases[f"{name}: batch 1, {WITHIN}"] = Case(two, ones)
        cases[f"{name}: batch {BATCH}, {ONE}"] = Case(one, many, 1, BATCH)
        cases[f"{name}: batch {BATCH}, {CALLERS}"] = Case(one, many, 2, BATCH)
    return dict(sorted(cases.items(), key=lambda item: item[0].split(": ")[1]))


def encoder_speeds(cases: dict[str, Case], turns: int) -> dict[str, dict[str, Any]]:
    """variant -> setting -> time, rate, and how many times float32's rate."""
    figures = measure("encoder", cases, turns)
    result: dict[str, dict[str, Any]] = {}
    for case, both in figures.items():
        name, setting = case.split(": ")
        row = {**spreads(both), "crops_per_call": cases[case].size}
        if name != "float32":
            row["times_float32"] = pairwise(both["per_s"], figures[f"float32: {setting}"]["per_s"])
        result.setdefault(name, {})[setting] = row
    return result


def agreements(embeds: dict[str, Callable[[Pixels], Embeddings]], people: People) -> dict[str, Any]:
    """How near each is to float32, and whether it still finds the same people."""
    reference = embeds["float32"](people.crops)
    right = people.hits(reference)
    result: dict[str, Any] = {}
    for name, embed in embeds.items():
        vectors = embed(people.crops)
        cosines, hits = np.einsum("nd,nd->n", vectors, reference), people.hits(vectors)
        result[name] = {
            "cosine_mean": round(float(cosines.mean()), 5),
            "cosine_min": round(float(cosines.min()), 5),
            "probes": len(hits),
            "rank_1": round(float(hits.mean()), 4),
            "lost": int((right & ~hits).sum()),
            "gained": int((hits & ~right).sum()),
        }
    heads = ("", *result["float32"])
    table(
        "agreement with float32", [heads, *((name, *row.values()) for name, row in result.items())]
    )
    return result


def encoder_section(bundle: Bundle, people: People, calibration: People, sizes: Sizes) -> Any:
    chosen = calibration.some(min(sizes.calibration, len(calibration.crops)))
    with tempfile.TemporaryDirectory() as folder:
        int8 = quantise(bundle.folder / GRAPH, chosen, Path(folder))
        kilobytes = rounded(int8.stat().st_size / 1000)
        variants = open_variants(bundle, int8)
    embeds = {name: by_threads[1].embed for name, by_threads in variants.items()}
    return {
        "calibration_crops": len(chosen),
        "kb": {
            "weights": rounded((bundle.folder / WEIGHTS).stat().st_size / 1e3),
            "int8": kilobytes,
        },
        "agreement": agreements(embeds, people),
        "speed": encoder_speeds(encoder_cases(variants, people, sizes), sizes.turns),
    }


def detector_section(detectors: dict[str, Detector], photos: list[Photo], turns: int) -> Any:
    settings = {ONE: 1, CALLERS: 2}
    cases = {
        f"{name}: {setting}": Case(detector.detect, photos, callers)
        for setting, callers in settings.items()
        for name, detector in detectors.items()
    }
    figures = measure("detector, one photo", cases, turns)
    result: dict[str, Any] = {
        name: {setting: spreads(figures[f"{name}: {setting}"]) for setting in settings}
        | {"photos_with_a_face": sum(bool(detector.detect(photo)) for photo in photos)}
        for name, detector in detectors.items()
    }
    for setting in settings if len(detectors) == 2 else ():
        ours, theirs = (figures[f"{name}: {setting}"]["ms"] for name in ("bundled", "yunet"))
        ratios = {"of_medians": rounded(median(ours) / median(theirs))}
        result["bundled"][setting]["time_over_yunet"] = ratios | pairwise(ours, theirs)
    return result


def whole_section(bundle: Bundle, detector: Detector, photos: list[Photo], turns: int) -> Any:
    """Decoded photo -> embedding, of photos with a face."""
    shown = [photo for photo in photos if detector.detect(photo)]
    if not shown:
        raise click.ClickException("the detector finds no face in any photo: nothing to encode")
    one = open_encoder(str(bundle.folder), "cpu")
    two = replace(one, forward=onnx_forward(bundle.folder / GRAPH, 2))

    def encode(encoder: Encoder, photo: Photo) -> object:
        return encode_photo(photo, detector, encoder, "largest")

    cases = {
        ONE: Case(partial(encode, one), shown),
        CALLERS: Case(partial(encode, one), shown, 2),
        "2 threads within the encoder's call": Case(partial(encode, two), shown),
    }
    figures = measure("detect, align, embed: one photo", cases, turns)
    return {name: spreads(both) for name, both in figures.items()}


def gpu_section(bundle: Bundle, people: People, sizes: Sizes) -> Any:
    encoder = open_encoder(str(bundle.folder), "cpu")
    forward = bundle_forward(bundle, "cuda")
    cases: dict[str, Case] = {}
    for batch in GPU_BATCHES:
        crops = people.some(batch * sizes.batches)
        parts = np.split(crops, sizes.batches) * (sizes.photos // sizes.batches)
        cases[f"batch {batch}"] = Case(forward, parts, 1, batch)
    figures = measure("encoder on the GPU", cases, sizes.turns)
    embeds = {"float32": encoder.embed, "gpu": replace(encoder, forward=forward).embed}
    return {
        "device": torch.cuda.get_device_name(),
        "agreement": agreements(embeds, people)["gpu"],
        "speed": {name: spreads(both) for name, both in figures.items()},
    }


def budgets(whole: Any) -> list[Budget]:
    """The slower reading of "one photo on two threads": its time while another one runs."""
    ms = whole[CALLERS]["ms"]["median"]
    name = "250x250 photo to embedding, two at a time"
    return [Budget(name, ms, 10, "ms"), Budget(f"{name} (reach)", ms, 6, "ms")]


@click.command(cls=Script, help=__doc__)
@click.option("--shared", type=click.Path(path_type=Path), default=SHARED)
@click.option(
    "--encoder", type=click.Path(path_type=Path), default=BUNDLED, help="A bundle folder."
)
@click.option("--people", type=click.Path(path_type=Path), default=ROOT / "data" / "val")
@click.option("--calibration", type=click.Path(path_type=Path), default=ROOT / "data" / "train")
@click.option("--turns", type=click.IntRange(min=1), help="Instead of 7.")
@click.option("--quick", is_flag=True, help="Two tiny turns: only whether it runs.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "bench-models.json")
def main(
    shared: Path, encoder: Path, people: Path, calibration: Path, turns: int | None, quick: bool,
    out: Path,
) -> None:  # fmt: skip
    sizes = QUICK if quick else FULL
    sizes = replace(sizes, turns=turns or sizes.turns)
    result = circumstances(0)
    result["versions"] |= {name: metadata.version(name) for name in ("torch", "timm", "onnx")}
    result["hardware"]["torch_sees"] = torch.backends.cpu.get_cpu_capability()
    bundle = read_bundle(encoder)
    side = bundle.card.input_size
    unseen = bundle.card.whole.get("training", {}).get("held_out", {}).get("identities", [])
    held_out, known = read_people(people, side, unseen), read_people(calibration, side)
    source, photos = read_photos(shared / "data" / "lfw" / "images", people, sizes.photos)
    detectors = {"bundled": open_detector("bundled", side)}
    if (yunet := shared / "models" / DETECTOR.name).exists():
        detectors["yunet"] = open_detector(str(yunet), side)
    result["photos"] = {"from": source, "count": len(photos), "side": SIDE}
    result["encoder"] = {"name": bundle.card.name, "side": side, "people": people.name}
    result["encoder"] |= encoder_section(bundle, held_out, known, sizes)
    result["detector"] = detector_section(detectors, photos, sizes.turns)
    result["whole"] = whole_section(bundle, detectors["bundled"], photos, sizes.turns)
    if torch.cuda.is_available():
        result["gpu"] = gpu_section(bundle, held_out, sizes)
    finish(result, budgets(result["whole"]), out)


if __name__ == "__main__":
    main()
