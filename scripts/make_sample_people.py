"""Make the sample people of data/, who do not exist, and measure that they do not.

    sheet   draw numbered candidates, to choose a cast from
    make    write data/train and data/val
    check   measure the photos as they lie on disk; writes the JSON beside this sample

A statistical face: frontal CelebA crops are brought to one shape by optical flow, cut from their
background, and decomposed together (colour, outline, flow) into principal components. A person is
a mix of twelve or more look-alikes of different people, pushed away from the mean, plus noise. A
photo is that person plus half of the deviation that photos of one person show, then another light,
pose, background and shirt. A face teacher refuses whoever resembles a real person.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import click
import cv2
import numpy as np
import onnxruntime
from command import Scripts
from numpy.typing import NDArray

from facedb.alignment import TEMPLATE, align, similarity
from facedb.encoder.bundle import read_bundle
from facedb.types import Embeddings, Pixels

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
SEED = 2
SIDE, MARGIN, HALF = 160, 24, 80
POINTS = TEMPLATE + MARGIN
EYES = float(np.linalg.norm(TEMPLATE[0] - TEMPLATE[1]))
COLOUR, OUTLINE = SIDE * SIDE * 3, HALF * HALF
OUTLINE_SCALE, FLOW_SCALE = 100.0, 16.0
TRAIN_PHOTOS, VAL_PHOTOS = 4, 2
SWING, SWINGING = 0.5, 60
PRESENT = ("numpy", "opencv-python-headless", "onnxruntime", "Pillow", "click")

Floats = NDArray[np.floating[Any]]
Embed = Callable[[NDArray[np.uint8]], Embeddings]
Find = Callable[[Pixels], Floats]

# The cast: name to number of a candidate that looked well on a sheet; odd wears long hair.
ENROLLED = {
    "Anaya Deshmere": 317,
    "Bridget Farrowane": 373,
    "Callum Dreyvik": 152,
    "Clara Venmoor": 315,
    "Desmond Okarre": 254,
    "Freya Holmdal": 360,
    "Gregor Waldmoor": 472,
    "Hana Tomisaki": 465,
    "Helen Marchbury": 345,
    "Idris Calvane": 86,
    "Ines Valcorra": 193,
    "Joren Castavel": 242,
    "Kenzo Irawadi": 314,
    "Mateo Grandel": 376,
    "Mira Solene": 93,
    "Nadir Belkoura": 274,
    "Priya Velandar": 333,
    "Renzo Altamar": 34,
    "Samira Halloun": 211,
    "Saskia Lindqwell": 343,
    "Talia Okonu": 18,
    "Tobin Ashgrove": 250,
    "Viktor Ostrane": 354,
    "Yara Montclave": 389,
}
STRANGERS = {
    "Bram Ellisund": 98,
    "Dalia Rostamar": 169,
    "Lucan Fairweld": 482,
    "Nora Whitlan": 409,
    "Orla Quenby": 115,
    "Piotr Zelmanek": 298,
}


@dataclass(frozen=True)
class FaceModel:
    """Principal components of aligned faces.

    Attributes:
        mean: float32[d], colour times outline, outline, flow.
        basis: float32[300, d], unit rows.
        coefficients: float32[n, 300] of the n photos that the model was made of.
        deviations: float32[n, 300], each photo's from its person's mean.
        people: str[n].
        long_hair: bool[n], by person.
        usual: bool[n], photos without an outlying coefficient.
        embeddings: float32[n, 128], the teacher's.
    """

    mean: Floats
    basis: Floats
    coefficients: Floats
    deviations: Floats
    people: NDArray[np.str_]
    long_hair: NDArray[np.bool_]
    usual: NDArray[np.bool_]
    embeddings: Embeddings


@dataclass(frozen=True)
class Limits:
    """What a photo must keep to be taken; the cosines are the teacher's."""

    score: float = 0.8
    landmark_error: float = 0.09
    real: float = 0.47
    same: float = 0.6
    other: float = 0.34

    def allow(self, row: Embeddings, own: Embeddings, others: Embeddings, real: Embeddings) -> bool:
        """True where row[1, d] is near its own person and far from all the rest."""
        return bool(
            (row @ own.T).min(initial=1) >= self.same
            and (row @ others.T).max(initial=-1) <= self.other
            and (row @ real.T).max() <= self.real
        )


@dataclass(frozen=True)
class Tools:
    """What judges a photo; `real` holds the teacher's embeddings of real people."""

    find: Find
    embed: Embed
    real: Embeddings
    limits: Limits = Limits()


@dataclass(frozen=True)
class Source:
    """The folders read."""

    celeba: Path
    lfw: Path
    models: Path
    cache: Path


# ---------------------------------------------------------------- networks


def session(file: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def unit(rows: Floats) -> Embeddings:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def batched(run: Callable[[NDArray[np.uint8]], Floats], size: int) -> Embed:
    """Crops uint8[n, 112, 112, 3] to unit rows, `size` of them at a time."""
    return lambda crops: unit(
        np.concatenate([run(crops[at : at + size]) for at in range(0, len(crops), size)])
    )


def planes(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)


def teacher(models: Path) -> Embed:
    """InsightFace y1: raw RGB planes."""
    network = session(models / "insightface_y1_mobilefacenet_128.onnx")
    return batched(lambda crops: network.run(None, {"data": planes(crops)})[0], 64)


def witness(models: Path) -> Embed:
    """MobileFaceNet of foamliu, asked for no choice: ImageNet mean and deviation, one at a time."""
    network = session(models / "mobilefacenet_foamliu.onnx")
    name = network.get_inputs()[0].name
    mean = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
    deviation = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
    return batched(
        lambda crops: network.run(None, {name: (planes(crops) / 255 - mean) / deviation})[0], 1
    )


def bundled(folder: Path) -> Embed:
    """The encoder of a bundle folder: uint8 crops as they are."""
    network = session(folder / "encoder.onnx")
    return batched(lambda crops: network.run(None, {"crops": crops})[0], 64)


def detector(models: Path) -> Find:
    """YuNet: faces of a picture, the largest first, float32[n, 15] with points at 4:14."""
    network = cv2.FaceDetectorYN.create(
        str(models / "face_detection_yunet_2026may.onnx"), "", (SIDE, SIDE), 0.5
    )

    def find(picture: Pixels) -> Floats:
        network.setInputSize(picture.shape[1::-1])
        rows = network.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
        rows = np.empty((0, 15), np.float32) if rows is None else rows
        return rows[np.argsort(-rows[:, 2] * rows[:, 3])]

    return find


def read(file: Path) -> Pixels:
    return cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)


def centre(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(crops[..., MARGIN:-MARGIN, MARGIN:-MARGIN, :])


def points_of(face: Floats) -> Floats:
    return face[4:14].reshape(5, 2)


def landmark_error(face: Floats) -> float:
    """Mean distance of the five points to the template, in eye distances."""
    return float(np.linalg.norm(points_of(face) - POINTS, axis=1).mean()) / EYES


# ---------------------------------------------------------------- the face model

GRID = np.stack(np.meshgrid(*[np.arange(SIDE, dtype=np.float32)] * 2), axis=-1)


def warp(picture: Floats | Pixels, flow: Floats) -> Any:
    """The picture read at each pixel plus flow[160, 160, 2]."""
    return cv2.remap(
        picture,
        (GRID + flow).astype(np.float32),
        None,
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )


def inverse(flow: Floats) -> Floats:
    """The flow that undoes this one, by fixed-point iteration."""
    back = -flow
    for _ in range(8):
        back = -warp(flow, back)
    return back


def ellipse(side: int, x: float, y: float, across: float, down: float) -> Floats:
    """Float[side, side]: below 1 inside the ellipse given in pixels of 160."""
    axis = np.arange(side, dtype=np.float32) * (SIDE / side)
    return ((axis[None, :] - x) / across) ** 2 + ((axis[:, None] - y) / down) ** 2


def read_crops(celeba: Path) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    files = sorted((celeba / "crops160").glob("*/*.webp"))
    crops = np.stack([read(file) for file in files])
    return crops, np.array([file.parent.name for file in files])


def is_frontal(crop: Pixels, find: Find) -> bool:
    """One sharp colour face that looks into the camera."""
    faces = find(crop)
    if len(faces) == 0 or faces[0, 14] < 0.88 or landmark_error(faces[0]) > 0.16:
        return False
    points = points_of(faces[0])
    turn = (points[2, 0] - points[:2, 0].mean()) / EYES
    sharpness = cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
    saturation = cv2.cvtColor(crop[40:130, 40:120], cv2.COLOR_RGB2HSV)[..., 1].mean()
    return bool(abs(turn) < 0.13 and sharpness > 150 and saturation > 50)


def even_light(picture: Pixels) -> Pixels:
    """Grey with local mean and contrast taken out, for the optical flow."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    above = grey - cv2.GaussianBlur(grey, (0, 0), 12)
    contrast = np.sqrt(cv2.GaussianBlur(above**2, (0, 0), 12) + 40)
    return np.clip(128 + 50 * above / contrast, 0, 255).astype(np.uint8)


def register(crops: NDArray[np.uint8], rounds: int = 4) -> tuple[Floats, NDArray[np.uint8]]:
    """Flow of every crop from the mean shape, float32[n, 160, 160, 2], and the crops so warped."""
    motion = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    motion.setFinestScale(1)
    motion.setVariationalRefinementAlpha(40.0)
    motion.setVariationalRefinementIterations(10)
    warped = crops
    flows = np.empty((len(crops), SIDE, SIDE, 2), np.float32)
    for _ in range(rounds):
        mean = warped.mean(axis=0)
        reference = even_light(((mean + mean[:, ::-1]) / 2).astype(np.uint8))
        for at, crop in enumerate(crops):
            flow = np.clip(motion.calc(reference, even_light(crop), None), -14, 14)
            flows[at] = cv2.GaussianBlur(flow, (0, 0), 3)
        flows -= flows.mean(axis=0)
        warped = np.stack([warp(crop, flow) for crop, flow in zip(crops, flows, strict=True)])
    return flows, warped


def outline_prior() -> NDArray[np.uint8]:
    """GrabCut's start for a face in mean shape, uint8[80, 80]."""
    rows = np.arange(HALF)[:, None] * 2
    columns = np.abs(np.arange(HALF)[None, :] * 2 - 80)
    prior = np.full((HALF, HALF), cv2.GC_PR_BGD, np.uint8)
    prior[ellipse(HALF, 80, 84, 58, 80) < 1] = cv2.GC_PR_FGD
    prior[ellipse(HALF, 80, 84, 40, 66) < 1] = cv2.GC_FGD
    outside = (ellipse(HALF, 80, 96, 72, 94) > 1) & (rows < 120)
    prior[outside | (rows < 5)] = cv2.GC_BGD
    prior[(rows > 150) & (columns < 25)] = cv2.GC_FGD
    return prior


def outline(crop: Pixels, prior: NDArray[np.uint8]) -> Floats:
    """How much of each pixel is the person, float32[80, 80] in [0, 1]."""
    small = cv2.resize(crop, (HALF, HALF), interpolation=cv2.INTER_AREA)
    small = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    mask = prior.copy()
    cv2.setRNGSeed(SEED)
    state = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, mask, None, *state, 4, cv2.GC_INIT_WITH_MASK)
    person = (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
    return cv2.GaussianBlur(person.astype(np.float32), (0, 0), 1)


def components(rows: Floats, count: int = 300) -> tuple[Floats, Floats, Floats]:
    """Mean, basis and coefficients of rows[n, d]; each basis row's largest entry is positive."""
    mean = rows.mean(axis=0)
    rows -= mean
    values, vectors = np.linalg.eigh(rows @ rows.T)
    sizes = np.sqrt(values[::-1][:count])
    basis = (vectors[:, ::-1][:, :count] / sizes).T @ rows
    signs = np.sign(np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], axis=1))
    return mean, basis * signs, vectors[:, ::-1][:, :count] * sizes * signs[:, 0]


def hair_length(outlines: Floats, people: NDArray[np.str_], embeddings: Embeddings) -> Floats:
    """Hair beside the neck as a face embedding predicts it, by person, float[n]."""
    beside = outlines[:, 50:78, 8:24].mean((1, 2)) + outlines[:, 50:78, 56:72].mean((1, 2))
    _, person = np.unique(people, return_inverse=True)
    counts = np.bincount(person)
    worn = (np.bincount(person, beside) / counts)[person]
    known = np.column_stack([embeddings, np.ones(len(embeddings))])
    weights = np.linalg.solve(known.T @ known + 5 * np.eye(known.shape[1]), known.T @ worn)
    return (np.bincount(person, known @ weights) / counts)[person]


def fit(celeba: Path, models: Path) -> FaceModel:
    """Build the model from crops160: about three minutes and 6 GB."""
    crops, people = read_crops(celeba)
    find = detector(models)
    frontal = np.array([is_frontal(crop, find) for crop in crops])
    crops, people = crops[frontal], people[frontal]
    flows, warped = register(crops)
    prior = outline_prior()
    outlines = np.stack([outline(crop, prior) for crop in warped])
    ring = (ellipse(HALF, 80, 84, 50, 76) < 1) & (prior != cv2.GC_FGD)
    ring[HALF * 7 // 16 :] = False
    kept = outlines[:, ring].mean(axis=1) > 0.45  # elsewhere GrabCut took the hair for background
    crops, people, outlines, flows = crops[kept], people[kept], outlines[kept], flows[kept]
    rows = np.empty((len(crops), COLOUR + OUTLINE + 2 * OUTLINE), np.float32)
    for row, crop, mask, flow in zip(rows, warped[kept], outlines, flows, strict=True):
        row[:COLOUR] = (crop * cv2.resize(mask, (SIDE, SIDE))[..., None]).ravel()
        row[COLOUR : COLOUR + OUTLINE] = mask.ravel() * OUTLINE_SCALE
        row[COLOUR + OUTLINE :] = flow[::2, ::2].ravel() * FLOW_SCALE
    mean, basis, coefficients = components(rows)
    embeddings = teacher(models)(centre(crops))
    length = hair_length(outlines, people, embeddings)
    names, first, person = np.unique(people, return_index=True, return_inverse=True)
    own_mean = np.stack([coefficients[person == at].mean(axis=0) for at in range(len(names))])
    oddness = np.square(coefficients / coefficients.std(axis=0))[:, :100].sum(axis=1)
    return FaceModel(
        mean,
        basis,
        coefficients,
        coefficients - own_mean[person],
        people,
        length > np.median(length[first]),
        oddness < np.percentile(oddness, 85),
        embeddings,
    )


def cached(file: Path, build: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The arrays of an .npz, built and written first where it is missing."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **build())
    with np.load(file) as arrays:
        return dict(arrays)


# ---------------------------------------------------------------- drawing


def draw_person(model: FaceModel, number: int, sources: int = 12) -> Floats:
    """Coefficients float[300] of candidate `number`: odd numbers wear long hair."""
    random = np.random.default_rng([SEED, number])
    pool = model.long_hair == bool(number % 2)
    anchor = random.choice(
        np.flatnonzero(model.people == random.choice(np.unique(model.people[pool])))
    )
    apart = np.square(model.coefficients - model.coefficients[anchor])[:, :60].sum(axis=1)
    unlike = apart / apart.mean() - 3 * model.embeddings @ model.embeddings[anchor]
    chosen: dict[str, int] = {}
    for at in np.argsort(unlike):
        if pool[at] and model.usual[at] and model.people[at] != model.people[anchor]:
            chosen.setdefault(str(model.people[at]), int(at))
        if len(chosen) == sources:
            break
    mix = random.dirichlet(np.full(sources, 3.0)) @ model.coefficients[list(chosen.values())]
    own_means = (model.coefficients - model.deviations)[pool]
    usual = own_means.mean(axis=0)
    chance = random.normal(size=len(own_means)).clip(-1.5, 1.5) @ (own_means - usual)
    return usual + 1.5 * (mix - usual) + 0.6 * chance / np.sqrt(len(own_means))


def layers(model: FaceModel, coefficients: Floats) -> Floats:
    """Colour and outline of a face, float32[160, 160, 4], the outline in [0, 1]."""
    row = model.mean + coefficients.astype(np.float32) @ model.basis
    cover = row[COLOUR : COLOUR + OUTLINE].reshape(HALF, HALF) / OUTLINE_SCALE
    cover = cv2.resize(cover.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    colour = row[:COLOUR].reshape(SIDE, SIDE, 3) / np.maximum(cover, 0.15)[..., None]
    flow = row[COLOUR + OUTLINE :].reshape(HALF, HALF, 2).astype(np.float32) / FLOW_SCALE
    flow = cv2.resize(flow, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    face = np.dstack([np.clip(colour, 0, 255), cover]).astype(np.float32)
    face = warp(face, inverse(flow))
    face[..., :3] += 0.6 * (face[..., :3] - cv2.GaussianBlur(face[..., :3], (0, 0), 1.5))
    edge = np.clip((face[..., 3] - 0.38) / 0.37, 0, 1)
    face[..., 3] = edge * edge * (3 - 2 * edge)
    return face


def straighten(face: Floats, find: Find) -> Floats:
    """The 2x3 transform that brings the face's landmarks onto the template."""
    plain = face[..., :3] * face[..., 3:] + 150 * (1 - face[..., 3:])
    found = find(np.clip(plain, 0, 255).astype(np.uint8))
    return similarity(points_of(found[0]), POINTS) if len(found) else np.eye(2, 3)


def pose(random: np.random.Generator) -> Floats:
    """A slight turn, size, shift and perspective about the face, 3x3."""
    turn, size = np.deg2rad(random.normal(0, 1.5)), 1 + random.normal(0, 0.012)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * size
    middle = POINTS.mean(axis=0)
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = turned, middle - turned @ middle + random.normal(0, 0.5, 2)
    corners = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], np.float32)
    bent = corners + random.normal(0, 1.5, (4, 2)).astype(np.float32)
    return cv2.getPerspectiveTransform(corners, bent) @ matrix


def pleasant(random: np.random.Generator, low: float, high: float) -> Floats:
    """A muted colour, float32[3], its lightness between low and high in [0, 255]."""
    hue = np.array([[[random.uniform(0, 360), random.uniform(0.05, 0.3), 1.0]]], np.float32)
    return cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0] * random.uniform(low, high)


def background(random: np.random.Generator) -> Floats:
    """A gradient, soft shapes, and a shirt at the bottom, float32[160, 160, 3]."""
    along = (GRID / SIDE) @ unit(random.normal(size=(1, 2)))[0]
    share = (along - along.min()) / np.ptp(along)
    low, high = pleasant(random, 60, 235), pleasant(random, 60, 235)
    picture = low + share[..., None] * (0.6 * (high - low))
    for _ in range(random.integers(0, 4)):
        place, size = random.uniform(0, SIDE, 2), random.uniform(15, 60, 2)
        shape = np.clip(3 - 3 * ellipse(SIDE, *place, *size), 0, 1)[..., None] * 0.5
        picture += shape * (pleasant(random, 60, 235) - picture)
    picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), random.uniform(3, 9))
    shirt = np.clip(12 * (1 - ellipse(SIDE, 80, 196, random.uniform(78, 96), 50)), 0, 1)[..., None]
    return picture + shirt * (pleasant(random, 30, 220) - picture)


def relight(picture: Floats, random: np.random.Generator) -> Pixels:
    """Another exposure, contrast, direction and colour of light, a lens and a sensor."""
    along = (GRID / SIDE - 0.5) @ random.normal(0, 0.13, 2)
    warmth = random.normal(0, 0.04)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    lit = picture / 255 * (random.uniform(0.95, 1.25) * (1 + along))[..., None] * tint
    lit = np.clip(lit, 0, 1) ** np.exp(random.normal(0, 0.12))
    lit = cv2.GaussianBlur(lit.astype(np.float32), (0, 0), random.uniform(0.2, 0.7))
    noisy = lit * 255 + random.normal(0, random.uniform(1, 3.5), lit.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def draw_photo(model: FaceModel, person: Floats, find: Find, random: np.random.Generator) -> Pixels:
    """One photo of a person, uint8[160, 160, 3]."""
    swing = random.normal(size=len(model.deviations)) @ model.deviations
    swing[:3] *= 0.5  # exposure and skin tone: relight brings its own
    swing[SWINGING:] = 0  # the last of them are grain
    face = layers(model, person + SWING * swing / np.sqrt(len(model.deviations)))
    matrix = pose(random) @ np.vstack([straighten(face, find), [0, 0, 1]])
    face = cv2.warpPerspective(
        face, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    cover = np.clip(face[..., 3:], 0, 1)
    scene = face[..., :3] * cover + background(random) * (1 - cover)
    return relight(np.clip(scene, 0, 255), random)


# ---------------------------------------------------------------- real people, and refusal


def embed_faces(files: Iterable[Path], models: Path, zoom: int = 1) -> Embeddings:
    """Every face that YuNet finds in the files, by the teacher, float32[m, 128]."""
    find, crops = detector(models), []
    for file in files:
        picture = read(file)
        picture = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        crops += [align(picture, points_of(face)) for face in find(picture)]
    return teacher(models)(np.stack(crops))


def real_people(source: Source) -> dict[str, Embeddings]:
    """The teacher's embeddings of every real face there is to compare with: ten minutes."""
    small = sorted((source.celeba / "small89x109").glob("*/*.webp"))
    lfw = sorted((source.lfw / "images").glob("*/*.webp"))
    return {
        "celeba_crops160": teacher(source.models)(centre(read_crops(source.celeba)[0])),
        "celeba_small89x109": embed_faces(small, source.models, zoom=2),
        "lfw": embed_faces(lfw, source.models),
    }


def written(photo: Pixels) -> tuple[bytes, Pixels]:
    """A photo as JPEG bytes, and as they decode."""
    data = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return data.tobytes(), cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def is_well_placed(photo: Pixels, find: Find, limits: Limits) -> bool:
    faces = find(photo)
    return (
        len(faces) == 1
        and faces[0, 14] >= limits.score
        and landmark_error(faces[0]) <= limits.landmark_error
    )


def draw_photos(
    model: FaceModel, number: int, tools: Tools, others: Embeddings
) -> tuple[list[bytes], Embeddings]:
    """The photos of candidate `number`, drawn until each keeps the limits."""
    person = draw_person(model, number)
    random = np.random.default_rng([SEED, number, 1])
    kept: list[bytes] = []
    own = np.empty((0, others.shape[1]), np.float32)
    for _ in range(300):
        data, photo = written(draw_photo(model, person, tools.find, random))
        if not is_well_placed(photo, tools.find, tools.limits):
            continue
        row = tools.embed(centre(photo[None]))
        if tools.limits.allow(row, own, others, tools.real):
            kept.append(data)
            own = np.concatenate([own, row])
        if len(kept) == TRAIN_PHOTOS + VAL_PHOTOS:
            return kept, own
    raise click.ClickException(f"candidate {number}: {len(kept)} photos kept the limits")


# ---------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Sample:
    """The photos on disk: pixels uint8[n, 160, 160, 3], whose, and which are probes."""

    photos: NDArray[np.uint8]
    names: NDArray[np.str_]
    is_probe: NDArray[np.bool_]


def read_sample(data: Path) -> Sample:
    files = sorted(data.glob("train/*/*.jpg")) + sorted(data.glob("val/*/*.jpg"))
    return Sample(
        np.stack([read(file) for file in files]),
        np.array([file.parent.name for file in files]),
        np.array([file.parent.parent.name == "val" for file in files]),
    )


def nearest(sample: Sample, rows: Embeddings) -> dict[str, float | int]:
    """Rank-1 of the enrolled people's probes, and how one threshold parts the strangers.

    Distances are Euclidean between unit vectors, in [0, 2].
    """
    gallery, probes = rows[~sample.is_probe], rows[sample.is_probe]
    owners, names = sample.names[~sample.is_probe], sample.names[sample.is_probe]
    distance = np.sqrt(np.clip(2 - 2 * probes @ gallery.T, 0, 4))
    best, mated = distance.min(axis=1), np.isin(names, owners)
    right = owners[distance.argmin(axis=1)] == names
    threshold = (best[mated & right].max() + best[~mated].min()) / 2
    return {
        "rank1": float(right[mated].mean()),
        "mated_probes": int(mated.sum()),
        "non_mated_probes": int((~mated).sum()),
        "mated_distance_median": float(np.median(best[mated])),
        "mated_distance_max": float(best[mated].max()),
        "non_mated_distance_median": float(np.median(best[~mated])),
        "non_mated_distance_min": float(best[~mated].min()),
        "middle_threshold": float(threshold),
        "fnir_at_middle": float(1 - (right & (best <= threshold))[mated].mean()),
        "fpir_at_middle": float((best <= threshold)[~mated].mean()),
    }


def cosines(sample: Sample, rows: Embeddings) -> dict[str, float]:
    """Between photos of one person and of two, and of strangers with the enrolled."""
    cosine = rows @ rows.T
    same = sample.names[:, None] == sample.names
    upper = np.triu(np.ones_like(same), 1)
    enrolled = np.isin(sample.names, sample.names[~sample.is_probe])
    return {
        "within_min": float(cosine[same & upper].min()),
        "within_median": float(np.median(cosine[same & upper])),
        "between_median": float(np.median(cosine[~same & upper])),
        "between_max": float(cosine[~same].max()),
        "stranger_to_enrolled_max": float(cosine[~enrolled][:, enrolled].max()),
    }


def placement(sample: Sample, find: Find) -> dict[str, float | int]:
    """What YuNet sees in the photos."""
    found = [find(photo) for photo in sample.photos]
    errors = [landmark_error(faces[0]) for faces in found if len(faces)]
    return {
        "photos_with_one_face": sum(len(faces) == 1 for faces in found),
        "score_min": float(min(faces[0, 14] for faces in found if len(faces))),
        "landmark_error_mean": float(np.mean(errors)),
        "landmark_error_max": float(np.max(errors)),
    }


def resemblance(rows: Embeddings, real: dict[str, Embeddings]) -> dict[str, float]:
    """The largest cosine of any photo to any real face, by collection."""
    return {name: float((rows @ faces.T).max()) for name, faces in real.items()}


def provenance() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "command": " ".join(["python", "scripts/make_sample_people.py", *sys.argv[1:]]),
        "commit": commit.stdout.strip(),
        "seed": SEED,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in PRESENT},
    }


def card(encoder: Path) -> dict[str, str]:
    """Which bundle it was."""
    bundle = read_bundle(encoder)
    return {"name": bundle.card.name, "fingerprint": bundle.fingerprint}


def measure(source: Source, data: Path, encoder: Path | None) -> dict[str, Any]:
    sample = read_sample(data)
    crops = centre(sample.photos)
    real = cached(source.cache / "real.npz", lambda: real_people(source))
    judge = witness(source.models)
    seen = cached(
        source.cache / "witness.npz",
        lambda: {"celeba_crops160": judge(centre(read_crops(source.celeba)[0]))},
    )
    rows = {"teacher": teacher(source.models)(crops), "witness": judge(crops)}
    if encoder is not None:
        rows["encoder"] = bundled(encoder)(crops)
    people = {person.name for person in (source.lfw / "images").iterdir()}
    return provenance() | {
        "encoder": card(encoder) if encoder else None,
        "people": len(set(sample.names)),
        "photos": len(sample.names),
        "bytes": sum(file.stat().st_size for file in data.rglob("*.jpg")),
        "names_in_lfw": len(people & set(sample.names)),
        "real_faces": {name: len(faces) for name, faces in real.items()},
        "teacher_cosine_to_real_max": resemblance(rows["teacher"], real),
        "witness_cosine_to_real_max": resemblance(rows["witness"], seen),
        "placement": placement(sample, detector(source.models)),
        "networks": {
            name: cosines(sample, own) | nearest(sample, own) for name, own in rows.items()
        },
    }


# ---------------------------------------------------------------- commands


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """The folders that every command reads, as the argument `source`."""

    @functools.wraps(command)
    def run(celeba: Path, lfw: Path, models: Path, cache: Path, **others: Any) -> None:
        command(Source(celeba, lfw, models, cache), **others)

    for name, folder in (
        ("--cache", Path(tempfile.gettempdir()) / "facedb-sample-people"),
        ("--models", SHARED / "models"),
        ("--lfw", SHARED / "data/lfw"),
        ("--celeba", SHARED / "data/celeba"),
    ):
        run = click.option(name, type=click.Path(path_type=Path), default=folder)(run)
    return run


def face_model(source: Source) -> FaceModel:
    arrays = cached(source.cache / "model.npz", lambda: vars(fit(source.celeba, source.models)))
    return FaceModel(**arrays)


@click.group(cls=Scripts)
def main() -> None:
    """The sample people, from real statistics to nobody."""


@main.command()
@source_options
@click.option("--first", default=0)
@click.option("--count", default=70)
@click.argument("picture", type=click.Path(path_type=Path))
def sheet(source: Source, first: int, count: int, picture: Path) -> None:
    """Draw candidates FIRST, FIRST+1, ... ten a row into PICTURE."""
    model = face_model(source)
    rows: list[Pixels] = []
    for number in range(first, first + count):
        face = layers(model, draw_person(model, number))
        plain = face[..., :3] * face[..., 3:] + 150 * (1 - face[..., 3:])
        tile = np.clip(plain, 0, 255).astype(np.uint8)
        rows.append(cv2.putText(tile, str(number), (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0))
    blank = [np.zeros_like(rows[0])] * (-count % 10)
    tiles = np.stack(rows + blank).reshape(-1, 10, SIDE, SIDE, 3)
    cv2.imwrite(str(picture), np.vstack([np.hstack(row) for row in tiles])[..., ::-1])


@main.command()
@source_options
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "data")
def make(source: Source, out: Path) -> None:
    """Replace OUT/train and OUT/val by the cast of this script."""
    model = face_model(source)
    real = cached(source.cache / "real.npz", lambda: real_people(source))
    tools = Tools(detector(source.models), teacher(source.models), np.vstack(list(real.values())))
    others = np.empty((0, tools.real.shape[1]), np.float32)
    for part in ("train", "val"):
        shutil.rmtree(out / part, ignore_errors=True)
    for name, number in (ENROLLED | STRANGERS).items():
        photos, rows = draw_photos(model, number, tools, others)
        others = np.concatenate([others, rows])
        store(photos, out, name)
        click.echo(f"{name}: candidate {number}")


def store(photos: list[bytes], out: Path, name: str) -> None:
    """Write an enrolled person's photos to train and val, a stranger's last ones to val."""
    for at, data in enumerate(photos, start=1):
        part = "train" if at <= TRAIN_PHOTOS else "val"
        if part == "val" or name in ENROLLED:
            file = out / part / name.replace(" ", "_") / f"{at:02}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)


@main.command()
@source_options
@click.option("--data", type=click.Path(path_type=Path), default=ROOT / "data")
@click.option("--encoder", type=click.Path(path_type=Path), help="A bundle folder to try as well.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=ROOT / "docs/results/sample-people.json"
)
def check(source: Source, data: Path, encoder: Path | None, out: Path) -> None:
    """Measure the photos on disk; fail where the sample breaks a promise."""
    result = measure(source, data, encoder)
    out.write_text(json.dumps(result, indent=2) + "\n")
    click.echo(out.read_text(), nl=False)
    broken = broken_promises(result)
    if broken:
        raise click.ClickException("; ".join(broken))


def broken_promises(result: dict[str, Any]) -> list[str]:
    teacher_says, placed = result["networks"]["teacher"], result["placement"]
    likeness = max(result["teacher_cosine_to_real_max"].values())
    least_rank1 = {"teacher": 1.0, "witness": 0.0, "encoder": 0.9}
    promises = {
        "somebody resembles a real person": likeness < 0.5,
        "two people resemble each other": teacher_says["between_max"] < 0.35,
        "a person does not resemble himself": teacher_says["within_min"] > 0.55,
        "a photo without its one face": placed["photos_with_one_face"] == result["photos"],
        "a face hardly found": placed["score_min"] >= 0.8,
        "faces off their place": placed["landmark_error_mean"] < 0.08,
        "more than 3 MB": result["bytes"] < 3_000_000,
        "a name out of LFW": result["names_in_lfw"] == 0,
    } | {
        f"rank-1 of the {name}": own["rank1"] >= least_rank1[name]
        for name, own in result["networks"].items()
    }
    return [what for what, kept in promises.items() if not kept]


if __name__ == "__main__":
    main()
