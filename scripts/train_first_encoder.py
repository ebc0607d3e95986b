"""Train the first bundled encoder by distillation. `evaluate_lfw.py` measures it.

    prepare   align CelebA crops to one 160-pixel geometry
    train     distil the teacher into ConvNeXt-Atto, sized by active minutes
    export    write the bundle, and what it reaches on the held-out people into its card

The teacher sees a clean face, the student the same face distorted. Few photographs make
unlimited faces: two aligned faces blended under a smooth mask are a new face, on which the
teacher is asked afresh.
"""

from __future__ import annotations

import csv
import math
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click
import cv2
import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from timm.optim.muon import Muon
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from facedb.encoder.bundle import BUNDLED  # noqa: E402
from facedb.encoder.export import write_bundle  # noqa: E402
from facedb.encoder.network import EncoderNetwork  # noqa: E402

OPTIONS = {"act_layer": "relu", "ls_init_value": None, "patch_size": 7}
HINT, HINT_OUTPUT = 128, "_plus11_out"
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
SIZE, MARGIN, WIDE, NARROW = 112, 24, 160, 128


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares similarity (Umeyama 1991) from source to target points, float64[2, 3]."""
    centre, goal = source.mean(0), target.mean(0)
    moved, wanted = source - centre, target - goal
    left, values, right = np.linalg.svd(wanted.T @ moved)
    sign = np.array([1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ np.diag(sign) @ right
    scaled = rotation * (values @ sign) / (moved**2).sum()
    return np.column_stack([scaled, goal - scaled @ centre])


class Landmarks:
    """YuNet on an RGB picture: the five points of its largest, most central face."""

    def __init__(self, model: Path, score: float = 0.6) -> None:
        self.detector = cv2.FaceDetectorYN.create(str(model), "", (320, 320), score)

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        height, width = picture.shape[:2]
        self.detector.setInputSize((width, height))
        found = self.detector.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
        if found is None:
            return None
        centre = found[:, :2] + found[:, 2:4] / 2 - (width / 2, height / 2)
        best = np.argmax(found[:, 2] * found[:, 3] - 2 * (centre**2).sum(1))
        return found[best, 4:14].reshape(5, 2).astype(np.float64)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """uint8[h, w, 3], RGB."""
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])


def align_small(paths: list[Path], find: Landmarks, zoom: int = 3) -> tuple[NDArray[np.uint8], int]:
    """CelebA's own crops moved to the 160-pixel geometry, and how many had no face found."""
    pictures = [read_rgb(path) for path in paths]
    points = []
    for picture in pictures:
        height, width = picture.shape[:2]
        found = find(
            cv2.resize(picture, (width * zoom, height * zoom), interpolation=cv2.INTER_CUBIC)
        )
        points.append(None if found is None else (found + 0.5) / zoom - 0.5)
    usual = np.median([p for p in points if p is not None], axis=0)
    for index, found in enumerate(points):
        if found is None or np.abs(found - usual).max() > 12:
            points[index] = None
    crops = [
        cv2.warpAffine(
            picture,
            similarity(usual if found is None else found, TEMPLATE + MARGIN),
            (WIDE, WIDE),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for picture, found in zip(pictures, points, strict=True)
    ]
    return np.stack(crops), sum(found is None for found in points)


def usable(folder: Path, dropped: set[str]) -> list[Path]:
    """Photographs of a folder per person, without the dropped people."""
    return [path for path in sorted(folder.glob("*/*.webp")) if path.parent.name not in dropped]


class FastDepthwise(torch.autograd.Function):
    """A 7x7 depthwise convolution whose backward is several times faster than oneDNN's.

    The weight gradient is a batched matrix product per vertical shift: entry (u, w) correlates
    column u of the padded input with column w of the gradient, and diagonals are the shifts.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=3, groups=len(weight))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        n, c, h, w = x.shape
        to_x = F.conv2d(gradient, weight.flip(2, 3), padding=3, groups=c)
        padded = x.new_zeros(c, h + 6, n, w + 6)
        padded[:, 3:-3, :, 3:-3] = x.permute(1, 2, 0, 3)
        rows = padded.view(c, -1, w + 6)
        outer = gradient.new_empty(c, h, n, w).copy_(gradient.permute(1, 2, 0, 3))
        outer = outer.view(c, h * n, w)
        to_weight = torch.empty(c, 1, 7, 7)
        for shift in range(7):
            part = rows[:, shift * n : (shift + h) * n].transpose(1, 2)
            product = torch.bmm(part, outer).float()
            diagonals = product.as_strided((c, 7, w), ((w + 6) * w, w, w + 1))
            to_weight[:, 0, shift] = diagonals.sum(2)
        return to_x, to_weight.to(weight.dtype), outer.sum((1, 2))


class FastDepthwiseConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        return FastDepthwise.apply(x.to(kind), self.weight.to(kind), self.bias.to(kind))


def uniform(n: int, low: float, high: float) -> Tensor:
    """float32[n, 1, 1, 1] in [low, high)."""
    return torch.empty(n, 1, 1, 1).uniform_(low, high)


class Blends:
    """New faces out of aligned ones: a recipe is a row of numbers, its picture is recomputed.

    Columns: face a, face b, flip a, flip b, mask offset, mask slope x, mask slope y, stretch x,
    stretch y. The mask is sigmoid(offset + slope . position), so 9 means face a alone.
    """

    def __init__(self, crops: Tensor) -> None:
        self.wide = crops
        parts = [
            F.interpolate(part.float(), (NARROW, NARROW), mode="area") for part in crops.split(256)
        ]
        self.small = torch.cat([part.round().byte() for part in parts])

    def draw(self, n: int, alone: float = 0.35) -> Tensor:
        """float32[n, 9]: recipes of which a share is one face alone."""
        faces = torch.randint(len(self.wide), (n, 2)).float()
        flips = torch.randint(2, (n, 2)).float()
        offset = torch.randn(n, 1)
        slopes = torch.randn(n, 2) * 6 * (torch.rand(n, 1) < 0.5)
        single = torch.rand(n, 1) < alone
        mask = torch.cat([torch.where(single, 9.0, offset), torch.where(single, 0.0, slopes)], 1)
        return torch.cat([faces, flips, mask, torch.empty(n, 2).uniform_(0.92, 1.08)], 1)

    def pictures(self, recipes: Tensor, small: bool = False) -> Tensor:
        """float32[n, 3, side, side], 0 to 255; side is 160, or 128 where small is enough."""
        crops = self.small if small else self.wide
        line = torch.linspace(-1, 1, crops.shape[-1])
        column = recipes.view(-1, 9, 1, 1, 1).unbind(1)
        mask = torch.sigmoid(
            column[4] + column[5] * line.view(1, 1, 1, -1) + column[6] * line.view(1, 1, -1, 1)
        )
        first, second = (flipped(crops[recipes[:, k].long()], recipes[:, 2 + k]) for k in (0, 1))
        return torch.lerp(second.float(), first.float(), mask)


def flipped(images: Tensor, which: Tensor) -> Tensor:
    rows = torch.nonzero(which)[:, 0]
    images[rows] = images[rows].flip(3)
    return images


def cut(pictures: Tensor, recipes: Tensor, size: int, jitter: float) -> Tensor:
    """The face's square out of its margin, [n, 3, size, size]; jitter 1 is detector noise."""
    n = len(pictures)
    turn = torch.randn(n) * 0.05 * jitter
    scale = SIZE / WIDE * torch.exp(torch.randn(n) * 0.04 * jitter)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = turn.cos() * scale, -turn.sin() * scale
    theta[:, 1, 0], theta[:, 1, 1] = turn.sin() * scale, turn.cos() * scale
    theta[:, :, 2] = torch.randn(n, 2) * 0.02 * jitter
    theta[:, :, :2] *= recipes[:, None, 7:9]
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def tone(x: Tensor) -> Tensor:
    n = len(x)
    x = 255 * (x / 255).clamp(1e-4, 1) ** uniform(n, 0.6, 1.7)
    return (x - 128) * uniform(n, 0.6, 1.4) + 128 + uniform(n, -40, 40)


def low_light(x: Tensor) -> Tensor:
    return x * uniform(len(x), 0.1, 0.5) + torch.randn_like(x) * uniform(len(x), 0, 6)


def grey(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True).expand_as(x)


def blur(x: Tensor) -> Tensor:
    sigma = random.uniform(0.5, 3.0) * x.shape[-1] / SIZE
    kernel = torch.exp(-((torch.arange(-6, 7) / sigma) ** 2) / 2).expand(3, 1, 1, 13)
    kernel = kernel / kernel.sum(-1, keepdim=True)
    x = F.conv2d(F.pad(x, (6, 6, 6, 6), "replicate"), kernel, groups=3)
    return F.conv2d(x, kernel.transpose(2, 3), groups=3)


def resize(x: Tensor) -> Tensor:
    small = F.interpolate(x, scale_factor=random.uniform(0.2, 0.7), mode="area")
    return F.interpolate(small, x.shape[2:], mode=random.choice(("nearest", "bilinear")))


def noise(x: Tensor) -> Tensor:
    return x + torch.randn_like(x) * uniform(len(x), 5, 45)


def jpeg(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    k = torch.arange(8.0)
    basis = torch.cos((2 * k + 1) * k.view(8, 1) * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    blocks = x.reshape(n, c, h // 8, 8, w // 8, 8).transpose(3, 4)
    steps = (k + k.view(8, 1) + 2) * uniform(n, 2, 12)[..., None, None]
    coarse = torch.round(basis @ blocks @ basis.T / steps) * steps
    return (basis.T @ coarse @ basis).transpose(3, 4).reshape(x.shape)


def fog(x: Tensor) -> Tensor:
    cloud = F.interpolate(torch.rand(len(x), 1, 4, 4), x.shape[2:], mode="bilinear")
    return torch.lerp(x, torch.tensor(235.0), cloud * uniform(len(x), 0.3, 0.9))


def sun(x: Tensor) -> Tensor:
    n, line = len(x), torch.linspace(-1, 1, x.shape[-1])
    across, down = (
        line.view(1, 1, 1, -1) - uniform(n, -1, 1),
        line.view(1, 1, -1, 1) - uniform(n, -1, 1),
    )
    glow = torch.exp(-(across**2 + down**2) / uniform(n, 0.05, 0.6))
    return x + 255 * glow * uniform(n, 0.4, 1.1)


def rain(x: Tensor) -> Tensor:
    drops = (torch.rand(len(x), 1, *x.shape[2:]) < uniform(len(x), 0.004, 0.025)).float()
    slope = random.uniform(-0.6, 0.6)
    kernel = torch.zeros(1, 1, 13, 13)
    for step in range(-6, 7):
        kernel[0, 0, step + 6, round(step * slope) + 6] = 1
    streaks = F.conv2d(drops, kernel, padding=6).clamp(max=1)
    return torch.lerp(x, torch.tensor(210.0), streaks * uniform(len(x), 0.3, 0.8))


def cutout(x: Tensor) -> Tensor:
    n, line = len(x), torch.linspace(-1, 1, x.shape[-1])
    wide = (line.view(1, 1, 1, -1) - uniform(n, -1, 1)).abs() < uniform(n, 0.15, 0.5)
    tall = (line.view(1, 1, -1, 1) - uniform(n, -1, 1)).abs() < uniform(n, 0.15, 0.5)
    return torch.where(wide & tall, uniform(n, 0, 255), x)


DISTORTIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    tone, low_light, grey, blur, resize, fog, sun, rain, noise, jpeg, cutout,
)  # fmt: skip


def distort(x: Tensor, share: float = 0.4, each: float = 0.17) -> Tensor:
    """About half of the pictures stay clean, the others meet two distortions on average."""
    chosen = torch.rand(len(x)) < share
    for change in DISTORTIONS:
        rows = torch.nonzero(chosen & (torch.rand(len(x)) < each))[:, 0]
        if len(rows):
            x[rows] = change(x[rows]).clamp(0, 255)
    return x


class Teacher:
    """A frozen encoder in ONNX Runtime, and what its last residual stage sees at each place."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = onnx.load(str(model))
        graph.graph.output.append(onnx.ValueInfoProto(name=HINT_OUTPUT))
        self.session = onnxruntime.InferenceSession(graph.SerializeToString(), options)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Raw RGB float32[n, 3, 112, 112] -> unit float32[n, 128], hints float32[n, 128, 4, 4]."""
        raw, places = self.session.run(["embedding", HINT_OUTPUT], {"data": images.numpy()})
        hints = F.adaptive_avg_pool2d(torch.from_numpy(places), 4)
        return F.normalize(torch.from_numpy(raw)), hints


class Pool:
    """Recipes with the teacher's answer; it grows by a share of each batch."""

    def __init__(self, blends: Blends, teacher: Teacher) -> None:
        self.blends, self.teacher, self.count = blends, teacher, 0
        self.recipes, self.targets, self.hints = (torch.empty(0) for _ in range(3))

    def grow(self, n: int) -> None:
        recipes = self.blends.draw(n)
        clean = cut(self.blends.pictures(recipes), recipes, SIZE, jitter=0)
        self.put(recipes, *self.teacher(clean))

    def put(self, *columns: Tensor) -> None:
        """Append rows; the columns double when they are full."""
        n = len(columns[0])
        for name, new in zip(("recipes", "targets", "hints"), columns, strict=True):
            old = getattr(self, name)
            if self.count + n > len(old):
                kind = torch.float16 if name == "hints" else torch.float32
                room = torch.empty(2 * (self.count + n), *new.shape[1:], dtype=kind)
                room[: self.count] = old[: self.count] if self.count else room[:0]
                setattr(self, name, room)
            getattr(self, name)[self.count : self.count + n] = new
        self.count += n

    def batch(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Distorted images [n, 3, 112, 112] scaled to [-1, 1], targets [n, 128], hints."""
        rows = torch.randint(self.count, (n,))
        recipes = self.recipes[rows]
        images = distort(cut(self.blends.pictures(recipes, small=True), recipes, SIZE, jitter=1))
        return images / 127.5 - 1, self.targets[rows], self.hints[rows].float()


@dataclass
class Plan:
    """How long and how fast to train."""

    minutes: float
    batch: int = 128
    fresh: int = 20
    rate: float = 3e-3
    decay: float = 0.05
    average: float = 0.998
    warm: float = 0.03
    hint: float = 0.5

    def rate_at(self, share: float) -> float:
        """Linear warm-up, then one cosine to zero."""
        if share < self.warm:
            return self.rate * (share + 1e-4) / self.warm
        return self.rate * (1 + math.cos(math.pi * min(1.0, share))) / 2

    def hint_at(self, share: float) -> float:
        """The hints' weight: they teach the first stages early, and then get out of the way."""
        return self.hint * max(0.0, 1 - share / 0.7)


def optimizer_of(network: nn.Module, hint: nn.Module, decay: float) -> torch.optim.Optimizer:
    """Muon for the matrices, AdamW for depthwise kernels, stem, norms, biases and the hint."""
    matrices, others = [], list(hint.parameters())
    for weight in network.parameters():
        square = weight.ndim > 1 and weight.shape[1] > 3
        (matrices if square else others).append(weight)
    groups = [{"params": matrices}, {"params": others, "use_fallback": True}]
    return Muon(groups, lr=1e-3, weight_decay=decay, nesterov=True, betas=(0.9, 0.99))


class Run:
    """One training run; its clock counts active time, so a paused run still ends its cosine."""

    def __init__(self, plan: Plan, pool: Pool) -> None:
        self.plan, self.pool = plan, pool
        self.network = build_network()
        self.average = build_network()
        self.average.load_state_dict(self.network.state_dict())
        self.hint = nn.Conv2d(160, HINT, 1)
        self.optimizer = optimizer_of(self.network, self.hint, plan.decay)
        self.steps, self.seconds, self.loss, self.hint_loss = 0, 0.0, 1.0, 1.0
        self.network.backbone.stages[2].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self.middle = output

    @property
    def share(self) -> float:
        return self.seconds / (60 * self.plan.minutes)

    def step(self) -> None:
        begun = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(self.share)
        self.pool.grow(self.plan.fresh)
        images, targets, hints = self.pool.batch(self.plan.batch)
        with torch.autocast("cpu", torch.bfloat16):
            raw = self.network.embed(images.to(memory_format=torch.channels_last))
            places = self.hint(self.middle)
        loss = 1 - F.cosine_similarity(raw.float(), targets).mean()
        hint_loss = 1 - F.cosine_similarity(places.float(), hints).mean()
        self.optimizer.zero_grad()
        (loss + self.plan.hint_at(self.share) * hint_loss).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.follow()
        self.loss += 0.02 * (loss.item() - self.loss)
        self.hint_loss += 0.02 * (hint_loss.item() - self.hint_loss)
        self.seconds += min(5.0, time.monotonic() - begun)

    @torch.no_grad()
    def follow(self) -> None:
        self.steps += 1
        keep = min(self.plan.average, (1 + self.steps) / (10 + self.steps))
        mine, theirs = list(self.average.parameters()), list(self.network.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - keep)

    def save(self, path: Path) -> None:
        pool, kept = self.pool, self.pool.count
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "hint": self.hint.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pool": (pool.recipes[:kept], pool.targets[:kept], pool.hints[:kept]),
            "clock": (self.steps, self.seconds, self.loss, self.hint_loss),
            "images": self.steps * self.plan.batch,
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def restore(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.hint.load_state_dict(state["hint"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.pool.put(*state["pool"])
        self.steps, self.seconds, self.loss, self.hint_loss = state["clock"]


def build_network() -> EncoderNetwork:
    """ConvNeXt-Atto with the fast depthwise backward; same parameters, same forward."""
    network = EncoderNetwork("convnext_atto", options=OPTIONS)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.__class__ = FastDepthwiseConv
    return network.to(memory_format=torch.channels_last)


@torch.no_grad()
def embed(network: EncoderNetwork, crops: Tensor) -> NDArray[np.float32]:
    """Unit embeddings float32[n, 128] of uint8[n, 112, 112, 3]."""
    network.eval()
    parts = [F.normalize(network(part)) for part in crops.split(64)]
    network.train()
    return torch.cat(parts).numpy()


def development(embeddings: NDArray[np.float32], people: NDArray[np.str_]) -> dict[str, float]:
    """Leave-one-out rank-1, AUC and TAR at FMR 1e-3 over all pairs of the held-out people."""
    scores = embeddings @ embeddings.T
    mated = people[:, None] == people[None, :]
    pairs = np.triu_indices(len(people), 1)
    np.fill_diagonal(scores, -2)
    rank1 = float((people[scores.argmax(1)] == people).mean())
    same, other = scores[pairs][mated[pairs]], np.sort(scores[pairs][~mated[pairs]])
    auc = float(np.searchsorted(other, same).mean() / len(other))
    tar = float((same > np.quantile(other, 0.999)).mean())
    return {"rank1": rank1, "auc": auc, "tar_at_fmr_1e-3": tar}


def load(cache: Path) -> tuple[Blends, Tensor, NDArray[np.str_]]:
    """Faces to train on; crops uint8[n, 112, 112, 3] of the held-out people, and who they are."""
    with np.load(cache) as data:
        crops, people = data["crops"], data["people"]
        held = np.isin(people, data["held_out"])
    inner = slice(MARGIN, MARGIN + SIZE)
    proof = torch.from_numpy(np.ascontiguousarray(crops[held][:, inner, inner]))
    blends = Blends(torch.from_numpy(np.ascontiguousarray(crops[~held].transpose(0, 3, 1, 2))))
    return blends, proof, people[held]


def card(state: dict[str, Any], held_out: list[str], reached: dict[str, float]) -> dict[str, Any]:
    """What the bundle's card says of this encoder, before LFW."""
    return {
        "name": "convnext-atto-first",
        "architecture": "convnext_atto",
        "architecture_options": OPTIONS,
        "hidden": 512,
        "dim": 128,
        "input_size": SIZE,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "alignment": "arcface-112",
        "normalisation": "l2",
        "detector": "yunet",
        "training": {
            "data": "CelebA: 226 people in the wild, aligned, and the aligned release at half "
            "size; without the people that resemble one of LFW",
            "terms": "non-commercial research (CelebA; the InsightFace teacher)",
            "teacher": "InsightFace y1 MobileFaceNet, 128-d",
            "recipe": "distillation, 1 - cosine; clean teacher, distorted student; blends of two "
            "aligned faces as further faces; hints from the teacher's last residual stage; Muon, "
            "cosine schedule, average of the weights (scripts/train_first_encoder.py)",
            "begun_from": "weights of a shorter run of an earlier form of this script (AdamW, "
            "64-pixel faces, about 170,000 images), the stem's kernel resampled from 4 to 7",
            "images_seen": state["images"],
            "teacher_answers": len(state["pool"][0]),
            "held_out": {"set": "crops160", "identities": held_out},
        },
        "measured": {"held_out_people": reached},
    }


@click.group()
def main() -> None:
    """The first encoder, from photographs to bundle."""


@main.command()
@click.option("--shared", type=click.Path(path_type=Path), default=ROOT.parent / "shared")
@click.option("--cache", type=click.Path(path_type=Path), required=True)
@click.option("--held-out", default=40, help="People of crops160 kept for development.")
@click.option("--seed", default=1)
def prepare(shared: Path, cache: Path, held_out: int, seed: int) -> None:
    """Write CACHE: crops uint8[n, 160, 160, 3], their people, and who is held out."""
    celeba = shared / "data/celeba"
    with (celeba / "lfw_overlap.csv").open() as file:
        overlap = {row["celeba_id"] for row in csv.DictReader(file)}
    large = usable(celeba / "crops160", overlap)
    held = sorted(random.Random(seed).sample(sorted({p.parent.name for p in large}), held_out))
    have = {path.name for path in large}
    small = [p for p in usable(celeba / "small89x109", overlap) if p.name not in have]
    find = Landmarks(shared / "models/face_detection_yunet_2026may.onnx")
    aligned, missed = align_small(small, find)
    crops = np.concatenate([np.stack([read_rgb(path) for path in large]), aligned])
    people = np.array([path.parent.name for path in large + small])
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez(cache, crops=crops, people=people, held_out=np.array(held))
    click.echo(f"{len(large)} + {len(small)} crops, {missed} by the mean transform, to {cache}")


@main.command()
@click.option("--shared", type=click.Path(path_type=Path), default=ROOT.parent / "shared")
@click.option("--cache", type=click.Path(path_type=Path), required=True)
@click.option("--checkpoint", type=click.Path(path_type=Path), required=True)
@click.option("--begin", type=click.Path(path_type=Path), help="Weights to begin from.")
@click.option("--minutes", default=80.0, help="Active minutes; a pause does not count.")
@click.option("--every", default=240.0, help="Seconds between checkpoints.")
@click.option("--seed", default=1)
@click.option("--threads", default=2)
def train(
    shared: Path,
    cache: Path,
    checkpoint: Path,
    begin: Path | None,
    minutes: float,
    every: float,
    seed: int,
    threads: int,
) -> None:
    """Distil; goes on from CHECKPOINT where there is one."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    random.seed(seed)
    blends, proof, people = load(cache)
    pool = Pool(blends, Teacher(shared / "models/insightface_y1_mobilefacenet_128.onnx"))
    run = Run(Plan(minutes), pool)
    if begin is not None:
        state = torch.load(begin, weights_only=True)["network"]
        stem = F.interpolate(state["backbone.stem.0.weight"], (7, 7), mode="bilinear")
        state["backbone.stem.0.weight"] = stem * 16 / 49
        run.network.load_state_dict(state)
        run.average.load_state_dict(state)
    if checkpoint.exists():
        run.restore(checkpoint)
    click.echo(f"{len(blends.wide)} crops, {len(proof)} held out, at step {run.steps}")
    while pool.count < 4096:
        pool.grow(256)
    marked = time.monotonic()
    while run.share < 1:
        run.step()
        if run.steps % 100 == 0:
            click.echo(
                f"step {run.steps} share {run.share:.3f} loss {run.loss:.4f}"
                f" hint {run.hint_loss:.4f}"
                f" images/s {run.steps * run.plan.batch / run.seconds:.0f}"
            )
        if time.monotonic() - marked > every or run.share >= 1:
            run.save(checkpoint)
            click.echo(f"held out {development(embed(run.average, proof), people)}")
            marked = time.monotonic()


@main.command()
@click.option("--cache", type=click.Path(path_type=Path), required=True)
@click.option("--checkpoint", type=click.Path(path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=BUNDLED, show_default=True)
def export(cache: Path, checkpoint: Path, out: Path) -> None:
    """Write the averaged weights of CHECKPOINT as a bundle."""
    state = torch.load(checkpoint, weights_only=True)
    network = EncoderNetwork("convnext_atto", options=OPTIONS)
    network.load_state_dict(state["average"])
    with np.load(cache) as data:
        people, held_out = data["people"], data["held_out"].tolist()
        held, inner = np.isin(people, held_out), slice(MARGIN, MARGIN + SIZE)
        proof = torch.from_numpy(np.ascontiguousarray(data["crops"][held][:, inner, inner]))
    reached = development(embed(network, proof), people[held])
    rounded = {"n": int(held.sum())} | {key: round(value, 4) for key, value in reached.items()}
    write_bundle(out, network, card(state, held_out, rounded))
    click.echo(f"{out}: {rounded}")


if __name__ == "__main__":
    main()
