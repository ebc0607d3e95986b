"""The structure: imports only go down, commands are described, `--help` is light."""

from __future__ import annotations

import ast
import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import facedb
from facedb.cli.main import facedb as cli
from facedb.errors import FacedbError, PhotoError

PACKAGE = Path(facedb.__file__).parent

# From the bottom up; a module may import from its own line and from lines above it here.
LAYERS = [
    [
        "errors",
        "types",
        "device",
        "heap",
        "lock",
        "runtime",
        "typed",
        "arguments",
        "names",
        "lettering",
    ],
    ["decision", "aggregation", "membership", "strangers"],
    ["evaluation.metrics", "evaluation.curves", "evaluation.intervals", "evaluation.search"],
    ["photos", "store", "index", "encoder", "alignment", "detections", "turning", "unseen"],
    ["faces", "snapshot", "pinning", "operating", "quality", "settings"],
    ["view"],
    ["gallery"],
    ["lookalikes", "twice", "pipeline", "training", "study"],
    ["doubts"],
    ["outcome"],
    ["moves"],
    ["enroller"],
    ["opened", "enrollment", "people", "reencode", "export", "describe", "answers"],
    ["evaluation.samples", "evaluation.trial", "evaluation.calibrate"],
    ["identify"],
    ["evaluation", "picture"],
    ["render", "render_evaluation", "render_index", "render_training"],
    ["cli"],
    ["__main__"],
]
HEAVY = {"torch", "faiss", "onnxruntime", "cv2", "sqlalchemy", "numpy", "PIL", "rich"}


def modules() -> dict[str, Path]:
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = file
    return found


def layer_of(module: str) -> int:
    best = max(
        (name for names in LAYERS for name in names if f"{module}.".startswith(f"{name}.")),
        key=len,
    )
    return next(number for number, names in enumerate(LAYERS) if best in names)


def typing_only(tree: ast.Module) -> set[ast.AST]:
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }


def imports_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped = typing_only(tree)
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", [name for name in modules() if name])
def test_imports_only_go_down(module: str) -> None:
    for name in imports_of(modules()[module]):
        if name.startswith("facedb.") and name.removeprefix("facedb.") in modules():
            below = name.removeprefix("facedb.")
            assert layer_of(below) <= layer_of(module), f"{module} imports {below}"


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("sqlalchemy", {"store"}),
        ("click", {"cli"}),
        ("faiss", {"index"}),
        ("onnxruntime", {"runtime"}),
        ("torch", {"encoder", "index", "training", "study"}),
        ("albumentations", {"training"}),
        ("optuna", {"training"}),
    ],
)
def test_each_dependency_has_one_home(package: str, homes: set[str]) -> None:
    users = {
        name.split(".")[0]
        for name, file in modules().items()
        if any(found == package or found.startswith(package + ".") for found in imports_of(file))
    }
    assert users <= homes


def test_nothing_prints_and_nothing_else_catches_everything() -> None:
    catching = []
    for name, file in modules().items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                pytest.fail(f"{name}:{node.lineno} prints")
            if isinstance(node, ast.ExceptHandler):
                caught = "" if node.type is None else ast.unparse(node.type)
                if caught in ("", "Exception", "BaseException"):
                    catching.append(name)
    assert sorted(catching) == ["cli.main", "photos"]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['facedb', '--help']\n"
        "from facedb.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(' '.join(sorted(sys.modules)), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "who is this" in run.stdout
    assert HEAVY & set(run.stderr.split()) == set()


def test_import_facedb_loads_nothing_heavy() -> None:
    code = "import facedb, sys; print(' '.join(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(run.stdout.split()) == set()


def test_query_runs_without_torch() -> None:
    code = (
        "import facedb.identify, facedb.evaluation.protocol, facedb.picture, sys\n"
        "print(' '.join(sorted(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "timm", "sklearn", "matplotlib"} & set(run.stdout.split()) == set()


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_training_shares_its_cores_and_says_so_before_torch_is_there(
    given: dict[str, str], spins: str
) -> None:
    code = (
        "import facedb.cli.train, os, sys\n"
        "print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    unset = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    where = {name: value for name, value in os.environ.items() if name not in unset} | given
    asked = [sys.executable, "-c", code]
    run = subprocess.run(asked, capture_output=True, text=True, check=True, env=where)
    assert run.stdout.split() == [spins, "False"]


def test_public_names() -> None:
    assert sorted(facedb.__all__) == sorted(
        [
            "Candidate",
            "Comparison",
            "EncoderMismatch",
            "Face",
            "FaceDB",
            "FacedbError",
            "GalleryBusy",
            "GalleryMissing",
            "Identification",
            "InputError",
            "People",
            "Photo",
            "PhotoAnswer",
            "PhotoError",
            "Settings",
            "UnknownIdentity",
            "__version__",
            "open",
        ]
    )
    for name in facedb.__all__:
        assert getattr(facedb, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = facedb.nothing_here  # type: ignore[attr-defined]


def kinds(error: type[FacedbError] = FacedbError) -> list[type[FacedbError]]:
    return [error, *(kind for below in error.__subclasses__() for kind in kinds(below))]


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_come_back_from_another_process(
    kind: type[FacedbError], copied: Callable[[FacedbError], FacedbError]
) -> None:
    given = ("a.jpg", "torn") if kind is PhotoError else ("what failed",)
    error = kind(*given)
    again = copied(error)
    assert type(again) is kind
    assert (str(again), again.exit_code) == (str(error), error.exit_code)
    assert vars(again) == vars(error)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", commands(cli), ids=" ".join)
def test_every_command_is_described(path: tuple[str, ...]) -> None:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    assert command.help
    if isinstance(command, click.Group):
        return
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{' '.join(path)} {option.opts}"
    options = {name for option in command.params for name in option.opts}
    assert {"-g", "--gallery", "--device", "--json"} <= options
