"""Which teacher a run learns from, whether the two go together, and what it says of the photos."""

from __future__ import annotations

from facedb.encoder import Encoder
from facedb.errors import InputError
from facedb.faces import open_detector
from facedb.training.data import Faces
from facedb.training.precision import precision_of
from facedb.training.recipes import Recipe, needs_teacher
from facedb.training.request import TrainRequest
from facedb.training.teacher import Answers, Teacher, ask, ask_of_crops, open_teacher
from facedb.types import Progress


def teacher_of(request: TrainRequest, recipe: Recipe, device: str) -> Teacher | None:
    """The opened teacher of a loss that asks one.

    Raises:
        InputError: none is named, or its embeddings or pictures are not the network's.
        EncoderError: there is none of that name.
    """
    if not needs_teacher(recipe):
        return None
    if not recipe.teacher:
        raise InputError(f"--loss {recipe.loss}: name the teacher with --teacher")
    teacher = open_teacher(recipe.teacher, device, precision_of(recipe.precision, device))
    dim = teacher.encoder.dim
    if dim != recipe.dim and "distillation" in recipe.loss:
        way = f"take another, or --loss relational: {recipe.begin} has {recipe.dim}"
        raise InputError(
            f"the teacher's embeddings have length {dim}: {way if recipe.begin else f'--dim {dim}'}"
        )
    if _asks_afresh(recipe):
        _shares_pictures(request, recipe, teacher.encoder)
    if "hints" in recipe.loss and teacher.look is None:
        raise InputError(f"--loss {recipe.loss}: only an .onnx teacher shows its feature map")
    return teacher


def _asks_afresh(recipe: Recipe) -> bool:
    """Whether pictures are made that the teacher cannot be asked about beforehand."""
    return bool(recipe.mix or recipe.bend)


def _shares_pictures(request: TrainRequest, recipe: Recipe, teacher: Encoder) -> None:
    """A teacher that is asked about new pictures sees the student's, before they are distorted."""
    why = "--mix and --bend show the teacher the student's own pictures"
    if teacher.input_size != recipe.size:
        way = (
            "take another, or --mix 0 --bend 0" if recipe.begin else f"--size {teacher.input_size}"
        )
        raise InputError(f"{why}, and it takes {teacher.input_size}: {way}")
    if (request.detector == "whole") != (teacher.alignment == "whole"):
        aligned = "--detector bundled, or none for crops aligned already"
        way = "--detector whole" if teacher.alignment == "whole" else aligned
        raise InputError(f"{why}, and it takes no photos cut by {request.detector}: {way}")
    if not recipe.clean_teacher:
        raise InputError(f"{why}, clean: leave --no-clean-teacher out, or take --mix 0 --bend 0")


def answers_of(
    request: TrainRequest,
    recipe: Recipe,
    faces: Faces,
    teacher: Teacher | None,
    progress: Progress | None,
) -> Answers | None:
    """What the teacher says of the photos, unless it is to be asked about each new picture."""
    if teacher is None or _asks_afresh(recipe):
        return None
    spec = request.teacher_detector or _usual(request.detector, teacher.encoder)
    if spec == request.detector and teacher.encoder.input_size == recipe.size:
        return ask_of_crops(teacher.encoder, faces, recipe.clean_teacher, progress)
    detector = open_detector(spec, teacher.encoder.input_size)
    return ask(teacher.encoder, faces, detector, recipe.clean_teacher, progress)


def _usual(detector: str, teacher: Encoder) -> str:
    """What cuts photos as the teacher knows them: what cuts the student's, if of the same kind."""
    of_faces = teacher.alignment != "whole"
    if of_faces == (detector != "whole"):
        return detector
    return "bundled" if of_faces else "whole"
