"""Recipes: everything that decides what a training run becomes, one dataclass, named values.

`comsys` is the ConvNeXt-Atto Siamese network for faces under distortion as it was published;
`efficientnet-siamese` the EfficientNet-B0 study. Where a publication is silent, the value here is
a choice, and docs/training.md says so. `own` goes on from the bundled encoder with people of one's
own, and holds it to what it said of their clean photos. `best` is what the bundled encoder is
trained by: aligned crops, a teacher, and pictures that are people blended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

from facedb.errors import InputError


def _field(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. Each field is an option of `facedb train`; its help is the field's meaning."""

    network: str = _field("convnext_atto", "Any timm model, without its classifier.")
    network_options: str = _field("", "More for timm.create_model: patch_size=7,act_layer=relu")
    pretrained: str = _field("no", "no, yes (timm loads or downloads its weights), or a file.")
    begin: str = _field("", "Go on from an encoder's network as it is: bundled, or its folder.")
    size: int = _field(224, "Side in pixels of what the network sees.")
    blur: int = _field(1, "Side, odd, of a binomial filter before the network; 1 is without.")
    hidden: int = _field(512, "Width of the head's hidden layer.")
    dim: int = _field(128, "Length of the embedding.")
    loss: str = _field(
        "contrastive",
        "contrastive, triplet, cosface, arcface, distillation, relational, hints, or a sum: "
        "contrastive+0.5*cosface",
    )
    margin: float = _field(1.0, "The contrastive loss's margin, a distance in (0, 2].")
    sampler: str = _field("pairs", "pairs, or pk: people x photos, for mined losses.")
    photos_per_person: int = _field(4, "Photos of each person in a batch of the pk sampler.")
    batch_size: int = _field(32, "Pairs a step, or photos a step of the pk sampler.")
    cross_photo: float = _field(
        -1.0, "Share of positives that cross two photos of a person; -1 leaves it to chance."
    )
    epochs: int = _field(
        10, "Passes; one shows each photo twice, as the first of a pair and as a partner."
    )
    optimizer: str = _field("adamw", "Any of timm's optimizers.")
    learning_rate: float = _field(1e-4, "The highest learning rate.")
    weight_decay: float = _field(1e-5, "Decoupled weight decay.")
    schedule: str = _field("cosine", "cosine (an epoch at a time), cosine-step, or constant.")
    warmup: float = _field(0.0, "Epochs of linear warm-up.")
    clip: float = _field(0.0, "Largest gradient norm; 0 leaves gradients alone.")
    ema: float = _field(0.0, "Highest decay of the moving average of the weights; 0 is without.")
    precision: str = _field("auto", "auto, bf16, fp16 or fp32.")
    augment: str = _field("published", "published, jitter (for aligned crops), or none.")
    distort: float = _field(0.0, "Share of training photos that meet a distortion in memory.")
    mix: float = _field(
        0.0, "Share of training pictures that are people blended; the teacher is asked afresh."
    )
    bend: float = _field(
        0.0, "Random bending of faces, in parts of their side; the teacher is asked afresh."
    )
    select: str = _field("pair_accuracy", "The validation figure that picks the best epoch.")
    patience: int = _field(0, "Stop after so many epochs without a better one; 0 never.")
    renew: int = _field(1, "Epochs that blended and bent pictures are kept before new ones.")
    teacher: str = _field(
        "",
        "Whom to learn from, bundled, a bundle folder, timm:MODEL or an .onnx; without, it is the "
        "encoder of --begin.",
    )
    clean_teacher: bool = _field(
        True, "The teacher sees the clean photo, the student its versions."
    )
    seed: int = _field(1, "Of the split, the pairs, the transforms and the first weights.")


OF_THE_NETWORK: Final = (
    "network", "network_options", "pretrained", "size", "blur", "hidden", "dim",
)  # fmt: skip
"""Fields that the bundle decides with which a network begins."""

RECIPES: Final[Mapping[str, Recipe]] = {
    "comsys": Recipe(),
    "efficientnet-siamese": Recipe(network="efficientnet_b0"),
    "own": Recipe(
        begin="bundled",
        loss="distillation+0.5*triplet",
        sampler="pk",
        batch_size=64,
        augment="jitter",
        distort=0.4,
        select="cross_photo_auc",
    ),
    "best": Recipe(
        network_options="patch_size=7,act_layer=relu,ls_init_value=None",
        size=112,
        loss="distillation+0.02*contrastive",
        batch_size=64,
        augment="jitter",
        mix=0.7,
        bend=0.05,
        renew=3,
        distort=0.4,
        epochs=60,
        optimizer="muon",
        learning_rate=2e-3,
        weight_decay=0.05,
        schedule="cosine-step",
        warmup=0.05,
        clip=1.0,
        ema=0.998,
        select="cross_photo_auc",
    ),
}


def recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A named recipe with some fields replaced.

    Raises:
        InputError: no recipe or field of that name, a value that cannot be, or one that the
            bundle of `begin` decides.
    """
    if name not in RECIPES:
        raise InputError(f"--recipe {name}: there is no such recipe; take {', '.join(RECIPES)}")
    given = dict(overrides or {})
    unknown = set(given) - {entry.name for entry in fields(Recipe)}
    if unknown:
        raise InputError(f"a recipe has no {', '.join(sorted(unknown))}")
    made = replace(RECIPES[name], **given)
    ignored = [_option(entry) for entry in OF_THE_NETWORK if entry in given]
    if made.begin and ignored:
        who = f"--begin {made.begin}" if given.get("begin") else f"--recipe {name}"
        raise InputError(
            f"{', '.join(ignored)}: {who} goes on with an encoder's network as it is; leave one or "
            "the other out"
        )
    check(made)
    return made


_CHOICES: Final = {
    "sampler": ("pairs", "pk"),
    "schedule": ("cosine", "cosine-step", "constant"),
    "precision": ("auto", "bf16", "fp16", "fp32"),
    "augment": ("published", "jitter", "none"),
}
_AT_LEAST: Final = {
    "size": 16, "hidden": 1, "dim": 2, "batch_size": 2, "epochs": 1, "photos_per_person": 2,
    "patience": 0, "warmup": 0, "clip": 0, "ema": 0, "weight_decay": 0, "distort": 0,
    "renew": 1, "seed": 0,
}  # fmt: skip


def check(recipe: Recipe) -> None:
    """Refuse values that cannot be.

    Raises:
        InputError: it names the option, the value and what is allowed.
    """
    values = asdict(recipe)
    for name, allowed in _CHOICES.items():
        if values[name] not in allowed:
            raise _refused(name, values[name], "take " + ", ".join(allowed))
    for name, least in _AT_LEAST.items():
        if not values[name] >= least:
            raise _refused(name, values[name], f"take {least} or more")
    if not 0 < recipe.margin <= 2:
        raise _refused("margin", recipe.margin, "distances of unit vectors lie in [0, 2]")
    if not recipe.learning_rate > 0:
        raise _refused("learning_rate", recipe.learning_rate, "take more than 0")
    if recipe.blur < 1 or recipe.blur % 2 == 0:
        raise _refused("blur", recipe.blur, "take an odd number: 1, 3 or 5")
    if recipe.ema >= 1 or recipe.distort > 1:
        raise InputError("--ema lies below 1, --distort in [0, 1]")
    if not (recipe.cross_photo == -1 or 0 <= recipe.cross_photo <= 1):
        raise _refused("cross_photo", recipe.cross_photo, "take a share in [0, 1], or -1")
    if recipe.warmup >= recipe.epochs:
        raise _refused("warmup", recipe.warmup, f"it must end before the {recipe.epochs} epochs do")
    if not (0 <= recipe.mix <= 1 and 0 <= recipe.bend <= 0.2):
        raise InputError("--mix lies in [0, 1], --bend in [0, 0.2]")
    if recipe.sampler == "pk" and recipe.cross_photo != -1:
        raise _refused("cross_photo", recipe.cross_photo, "--sampler pk draws no pairs")
    if recipe.teacher and not needs_teacher(recipe):
        raise _refused("teacher", recipe.teacher, "asked by nothing; add distillation to --loss")
    if "hints" in recipe.loss and not (recipe.mix or recipe.bend):
        raise InputError("--loss hints: they are given of new pictures; add --mix or --bend")
    if recipe.mix and not needs_teacher(recipe):
        raise InputError(
            f"--mix {recipe.mix}: only a teacher knows who a blend is; add distillation to --loss"
        )
    each = recipe.photos_per_person
    if recipe.sampler == "pk" and (recipe.batch_size % each or recipe.batch_size < 2 * each):
        raise _refused(
            "batch_size", recipe.batch_size, f"take a multiple of {each}, {2 * each} or more"
        )


def needs_teacher(recipe: Recipe) -> bool:
    """Whether its loss has a part that asks a teacher."""
    return any(part in recipe.loss for part in ("distillation", "relational", "hints"))


def _refused(name: str, value: object, way: str) -> InputError:
    return InputError(f"{_option(name)} {value}: {way}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
