"""The command line: what it writes, what it exits with."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import select
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from crops import close_folder, people_folder
from photos_maker import save, scene

import facedb
from facedb.cli.main import run
from facedb.encoder.bundle import BUNDLED
from facedb.photos import load_photo
from facedb.render import as_json

Output = pytest.CaptureFixture[str]
SAMPLE = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return people_folder(tmp_path / "photos")


@pytest.fixture
def gallery(tmp_path: Path, photos: Path, capsys: Output) -> str:
    folder = str(tmp_path / "g")
    assert run(["index", str(photos), "-g", folder, "--detector", "none"]) == 0
    capsys.readouterr()
    return folder


def only_json(output: Output) -> dict[str, object]:
    out, _ = output.readouterr()
    (line,) = out.splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def test_index_says_what_it_did(tmp_path: Path, photos: Path, capsys: Output) -> None:
    (photos / "Person 0" / "broken.jpg").write_bytes(b"")
    command = ["index", str(photos), "-g", str(tmp_path / "g"), "--detector", "none"]
    assert run(command) == 0
    out, err = capsys.readouterr()
    assert "13 photos" in out
    assert "12 enrolled, 1 left out" in out
    assert "6 people" in out
    assert f"left out: {photos / 'Person 0' / 'broken.jpg'}: " in err
    assert run([*command, "--strict"]) == 4
    capsys.readouterr()
    assert run([*command, "--json"]) == 0
    report = only_json(capsys)
    assert report["schema"] == "facedb.index/1"
    assert (report["enrolled"], report["unchanged"], report["people"]) == (0, 13, 6)


def test_the_summary_adds_up_and_the_list_ends(
    tmp_path: Path, photos: Path, capsys: Output
) -> None:
    mine = photos / "Person 0"
    shutil.copy(mine / "0000.png", mine / "copy.png")
    shutil.copy(mine / "0000.png", photos / "loose.png")
    for number in range(22):
        (mine / f"bad{number:02}.jpg").touch()
    for number in range(30):
        (mine / f"{number}.xmp").touch()
        (photos / f"{number}.CR3").touch()
    (mine / "notes.txt").touch()
    command = ["index", str(photos), "-g", str(tmp_path / "g"), "--detector", "none"]
    for parts in (
        "12 enrolled, 1 copy of an enrolled photo, 23 left out; 61 other files or folders skipped",
        "0 enrolled, 13 unchanged, 23 left out; 61 other files or folders skipped",
    ):
        assert run(command) == 0
        out, err = capsys.readouterr()
        assert out.startswith("36 photos in ")
        assert out.splitlines()[0].endswith("/s): " + parts)
        lines = err.splitlines()
        assert [line.startswith("left out: ") for line in lines] == [True] * 20 + [False] * 4
        assert lines[20:] == [
            "and 3 more: --json lists them",
            "skipped: 30 .cr3 files: a raw photo, which facedb cannot read: export a JPEG",
            f"skipped: {mine / 'notes.txt'}: not a photo file",
            "skipped: 30 .xmp files: not photos",
        ]
    assert run([*command, "--json"]) == 0
    report = only_json(capsys)
    assert (report["photos"], report["unchanged"], report["skipped"]) == (36, 35, 61)
    assert len(report["refused"]) == 23 + 61  # type: ignore[arg-type]


def test_index_says_where_photos_went(tmp_path: Path, photos: Path, capsys: Output) -> None:
    command = ["index", str(photos), "-g", str(tmp_path / "g"), "--detector", "none"]
    again = f"facedb index {photos} -g {tmp_path / 'g'} --prune"
    assert run(command) == 0
    (photos / "Person 0").rename(photos / "Ada")
    (photos / "Person 1" / "0000.png").unlink()
    (photos / "Person 2" / "0000.png").rename(photos / "Person 2" / "renamed.png")
    shutil.copy(photos / "Person 4" / "0000.png", photos / "Person 3" / "also.png")
    capsys.readouterr()
    assert run(command) == 0
    out, err = capsys.readouterr()
    with_two = (
        "one photo lies with two people: Person 4/0000.png and Person 3/also.png; it counts as "
        "Person 4 until one is deleted and index --prune run"
    )
    assert out.splitlines()[2:] == [
        f"2 photos enrolled as Person 0 are in Ada now: {again} follows them",
        f"1 enrolled photo is gone from this folder: {again} forgets it",
        with_two,
    ]
    assert err == ""
    assert run([*command, "--json"]) == 0
    report = only_json(capsys)
    assert report["moved"] == [
        {
            "owner": "Person 0",
            "person": "Ada",
            "paths": [f"{photos}/Ada/0000.png", f"{photos}/Ada/0001.png"],
        }
    ]
    assert (report["vanished"], len(report["with_two"])) == (1, 1)  # type: ignore[arg-type]
    assert run([*command, "--prune"]) == 0
    out, _ = capsys.readouterr()
    assert "2 enrolled, 9 unchanged, 1 left out; 3 removed" in out
    assert out.splitlines()[2] == with_two
    assert "follows" not in out
    (photos / "Person 4" / "0000.png").unlink()
    assert run([*command, "--prune"]) == 0
    assert with_two not in capsys.readouterr().out
    assert run(["people", "show", "Person 3", "-g", str(tmp_path / "g")]) == 0
    assert "also.png" in capsys.readouterr().out


def test_two_people_with_one_photo_from_the_first(
    tmp_path: Path, photos: Path, capsys: Output
) -> None:
    for number in range(12):
        shutil.copy(photos / "Person 0" / "0000.png", photos / "Person 5" / f"copy{number}.png")
    assert run(["index", str(photos), "-g", str(tmp_path / "g"), "--detector", "none"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("one photo lies with two people: ") for line in lines) == 10
    assert "and 2 more: --json lists them" in lines


def test_of_several_faces_the_largest_near_the_middle(tmp_path: Path, capsys: Output) -> None:
    faces = [
        load_photo(path).pixels for path in sorted((SAMPLE / "val" / "Mira_Solene").iterdir())[:2]
    ]
    beside = np.concatenate([np.pad(faces[0], ((0, 0), (0, 200), (0, 0))), faces[1]], axis=1)
    photo = save(tmp_path / "two" / "Mira" / "both.png", beside)
    assert run(["index", str(photo.parents[1]), "-g", str(tmp_path / "g")]) == 0
    out = capsys.readouterr().out
    assert "1 photo shows several faces; the largest near the middle was taken:" in out


def test_nobody_to_enroll_leaves_no_gallery(tmp_path: Path, capsys: Output) -> None:
    loose, gallery = tmp_path / "loose", tmp_path / "g"
    shared = ["-g", str(gallery), "--detector", "none"]
    photo = save(loose / "a.png", scene(48, 48, 1))
    assert run(["index", str(loose), *shared]) == 4
    out, err = capsys.readouterr()
    assert out.endswith(f"{gallery}: nobody\n")
    assert f"make a folder per person: {loose}/Mira/..., or: facedb enroll NAME {loose}" in err
    assert run(["index", str(photo), *shared]) == 4
    assert (
        f"is a file; index takes a folder that holds a folder per person. If it is a photo: "
        f"facedb enroll NAME {photo}" in capsys.readouterr().err
    )
    for name in ("empty.jpg", "text.jpg"):
        (loose / "Ada" / name).parent.mkdir(exist_ok=True)
        (loose / "Ada" / name).write_bytes(b"" if name == "empty.jpg" else b"text")
    photo.unlink()
    assert run(["index", str(loose), *shared, "--json"]) == 4
    out, err = capsys.readouterr()
    assert [item["reason"] for item in json.loads(out)["refused"]] == ["empty file", "not an image"]
    assert "see above why each photo was left out" in err
    assert run(["enroll", "Ada", str(loose), str(tmp_path / "nope.jpg"), *shared]) == 4
    assert "nope.jpg: no such file" in capsys.readouterr().err
    assert not gallery.exists()
    save(loose / "Ada" / "z.png", scene(48, 48, 1))
    assert run(["index", str(loose), *shared]) == 0
    assert "3 photos" in capsys.readouterr().out


def test_one_is_not_several(tmp_path: Path, photos: Path, capsys: Output) -> None:
    alone = tmp_path / "alone"
    (alone / "Ada").mkdir(parents=True)
    first, copy = alone / "Ada" / "1.png", alone / "Ada" / "2.png"
    shutil.copy(photos / "Person 0" / "0000.png", first)
    command = ["index", str(alone), "-g", str(tmp_path / "g"), "--detector", "none"]
    assert run(command) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("1 photo in ")
    assert ": 1 person\n" in out
    shutil.copy(first, copy)
    assert run(command) == 0
    assert "1 unchanged, 1 copy of an enrolled photo" in capsys.readouterr().out
    assert run(["people", "remove", "Ada", "--yes", "-g", str(tmp_path / "g")]) == 0
    assert capsys.readouterr().out == "removed Ada: 1 template\n"


def test_query_text(gallery: str, photos: Path, capsys: Output) -> None:
    photo = str(photos / "Person 2" / "0000.png")
    assert run(["query", photo, "-g", gallery, "-t", "0.3", "--k", "2"]) == 0
    out, _ = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{photo}: 1 face"
    assert lines[1].startswith("  Person 2, at ")
    # The bundled card's strangers; none came as close, and then there may be 3 / n (rule of three).
    assert lines[2] == (
        "    1. 0.000  Person 2  accepted  (none of 2,854 strangers came this close)"
    )
    assert len(lines) == 4
    assert run(["query", photo, "-g", gallery, "-t", "2.0", "--k", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("  near")


def test_query_json_is_the_dataclass(gallery: str, photos: Path, capsys: Output) -> None:
    photo = str(photos / "Person 2" / "0000.png")
    assert run(["query", photo, "-g", gallery, "-t", "0.3", "--k", "2", "--json"]) == 0
    answer = only_json(capsys)
    assert list(answer) == ["schema", "path", "reason", "faces"]
    (face,) = answer["faces"]  # type: ignore[misc]
    assert list(face) == [
        "identity",
        "threshold",
        "candidates",
        "box",
        "score",
        "strangers",
        "quality",
    ]
    assert (face["identity"], face["threshold"], face["score"]) == ("Person 2", 0.3, 1.0)
    assert face["candidates"][0]["distance"] == 0.0
    assert face["candidates"][0]["photo"] == photo


def test_query_answers_the_good_photos_and_lists_the_bad(
    gallery: str, photos: Path, capsys: Output
) -> None:
    good = [str(photos / f"Person {number}" / "0000.png") for number in (0, 1)]
    assert run(["query", good[0], "no.jpg", good[1], "-g", gallery, "--json"]) == 4
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["path"] for answer in answers] == [good[0], "no.jpg", good[1]]
    assert [answer["reason"] for answer in answers] == [None, "no such file", None]
    assert "left out: no.jpg: no such file" in err
    assert run(["query", good[0], "no.jpg", "-g", gallery, "--exit-code"]) == 4


def test_query_of_a_folder_with_a_closed_one_in_it_answers_and_exits_with_4(
    gallery: str, photos: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = close_folder(photos / "Person 3", monkeypatch)
    assert run(["query", str(photos), "-g", gallery, "--csv"]) == 4
    out, err = capsys.readouterr()
    assert f"left out: {closed}: " in err
    assert len({row["photo"] for row in csv.DictReader(io.StringIO(out))}) == 10


def test_query_of_a_name_that_is_no_text_exits_with_4(
    gallery: str, photos: Path, capsys: Output
) -> None:
    name = os.fsencode(photos / "Person 0") + b"/\xff.png"
    shutil.copy(photos / "Person 0" / "0000.png", name)
    assert run(["query", os.fsdecode(name), "-g", gallery]) == 4
    assert "Person 0/\\xff.png: name is not valid UTF-8" in capsys.readouterr().err


def test_query_csv(gallery: str, photos: Path, capsys: Output) -> None:
    assert run(["query", str(photos), "-g", gallery, "-t", "0.3", "--csv", "-k", "3"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 12 * 3
    for row in rows:
        if row["rank"] == "1":
            assert row["candidate"] == row["identity"] == Path(row["photo"]).parent.name
            assert float(row["distance"]) == 0.0


def test_query_reads_paths_from_stdin(gallery: str, photos: Path) -> None:
    paths = "".join(f"{photos}/Person {number}/0001.png\n" for number in range(4))
    done = subprocess.run(
        [sys.executable, "-m", "facedb", "query", "-", "-g", gallery, "--json"],
        input=paths,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == paths.splitlines()


def test_query_answers_each_path_as_it_comes(gallery: str, photos: Path) -> None:
    command = [sys.executable, "-m", "facedb", "query", "-", "-g", gallery, "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:
        assert service.stdin is not None
        assert service.stdout is not None
        for number, end in ((0, b"\n"), (3, b"\r\n"), (1, b"\n")):
            path = f"{photos}/Person {number}/0001.png"
            service.stdin.write(path.encode() + end)
            service.stdin.flush()
            assert select.select([service.stdout], [], [], 60)[0], "no answer before the next path"
            answer = json.loads(service.stdout.readline())
            assert (answer["path"], answer["reason"]) == (path, None)
        service.stdin.close()
        assert service.wait(60) == 0


def test_query_of_paths_without_a_last_line_end(
    gallery: str, photos: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = (f"{photos}/Person {number}/0000.png" for number in (1, 2))
    paths = f"\n{first}\r\n  \n{last}".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(paths)))
    assert run(["query", str(photos / "Person 0"), "-", "-g", gallery, "--json"]) == 0
    answered = [json.loads(line)["path"] for line in capsys.readouterr().out.splitlines()]
    assert answered == [f"{photos}/Person 0/{number:04}.png" for number in (0, 1)] + [first, last]


def test_query_csv_without_a_gallery_writes_nothing(tmp_path: Path, capsys: Output) -> None:
    assert run(["query", "x.jpg", "-g", str(tmp_path / "none"), "--csv"]) == 5
    assert capsys.readouterr().out == ""


def test_a_stranger_is_a_valid_answer(gallery: str, tmp_path: Path, capsys: Output) -> None:
    stranger = save(tmp_path / "x.png", np.full((48, 48, 3), (250, 20, 240), dtype=np.uint8))
    command = ["query", str(stranger), "-g", gallery, "-t", "0.0"]
    assert run(command) == 0
    assert "not identified" in capsys.readouterr().out
    assert run([*command, "--exit-code"]) == 3
    capsys.readouterr()
    assert run([*command, "--json"]) == 0
    (face,) = only_json(capsys)["faces"]  # type: ignore[misc]
    assert face["identity"] is None


def test_query_picture(gallery: str, photos: Path, tmp_path: Path, capsys: Output) -> None:
    photo, picture = str(photos / "Person 1" / "0000.png"), tmp_path / "who.png"
    assert run(["query", photo, "-g", gallery, "--picture", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run(["query", str(photos), "-g", gallery, "--picture", str(picture)]) == 2
    assert "--picture draws one photo" in capsys.readouterr().err


def test_people_commands(gallery: str, capsys: Output) -> None:
    assert run(["people", "rename", "Person 0", "Ada", "-g", gallery]) == 0
    assert run(["people", "merge", "Person 1", "Ada", "-g", gallery]) == 0
    assert run(["people", "rename", "Person 2", "Ada", "-g", gallery]) == 4
    out, err = capsys.readouterr()
    assert "facedb people merge 'Person 2' Ada" in err
    assert run(["people", "list", "-g", gallery]) == 0
    out, _ = capsys.readouterr()
    assert out.splitlines()[1].split() == ["Ada", "4", "Person", "0,", "Person", "1"]
    assert run(["people", "show", "Person 1", "-g", gallery]) == 0
    assert "Ada: 4 templates" in capsys.readouterr().out
    assert run(["people", "remove", "Ada", "--yes", "-g", gallery, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["templates"] == 4
    assert err.count("still holds their photos; enrolled again, they are back") == 2
    assert run(["people", "remove", "Ada", "--yes", "-g", gallery]) == 5
    assert run(["people", "list", "-g", gallery, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["people"]
    assert [(person["name"], person["templates"]) for person in found] == [
        (f"Person {number}", 2) for number in (2, 3, 4, 5)
    ]


def test_remove_asks_by_the_persons_own_name(
    gallery: str, photos: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["people", "rename", "Person 0", "Ada Lovelace", "-g", gallery]) == 0
    capsys.readouterr()
    answers = ["n", "y"]
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return answers.pop(0)

    monkeypatch.setattr("click.termui.visible_prompt_func", answer)
    command = ["people", "remove", "Person 0", "-g", gallery]
    assert run(command) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Ada Lovelace, to whom Person 0 leads, and all that is theirs (2 templates)?" in asked[0]
    assert "nobody was removed" in err
    assert run(command) == 0
    assert capsys.readouterr().out == "removed Ada Lovelace: 2 templates\n"
    assert run(command) == 5  # without asking
    assert len(asked) == 2
    (photos / "Nobody").mkdir()
    (photos / "Nobody" / "a.png").write_bytes(b"")
    assert run(["index", str(photos), "-g", gallery]) == 0
    answers.append("n")
    assert run(["people", "remove", "Nobody", "-g", gallery]) == 1
    assert "remove Nobody and all that is theirs (0 templates)?" in asked[2]


def test_a_photo_enrolled_as_the_wrong_person_becomes_the_right_ones(
    gallery: str, photos: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = str(photos / "Person 0" / "0000.png")
    assert run(["enroll", "Ada", photo, "-g", gallery]) == 4
    said = capsys.readouterr().err.splitlines()[-1]
    remove = f"facedb people remove 'Person 0' -g {gallery} --photo '{photo}'"
    assert said == f"if it is not Person 0: {remove}"
    asked: list[str] = []
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: asked.append(text) or "y")
    assert run(shlex.split(remove)[1:]) == 0
    assert "remove 1 photo of Person 0 (who has 2 templates)?" in asked[0]
    assert capsys.readouterr().out == "removed 1 template of Person 0\n"
    assert run(["enroll", "Ada", photo, "-g", gallery]) == 0
    gone = ["--photo", photo, "--yes", "-g", gallery]
    assert run(["people", "remove", "Ada", "--photo", photo, *gone]) == 0
    assert run(["people", "remove", "Person 0", *gone]) == 4
    assert "no photo of Person 0" in capsys.readouterr().err


def test_enroll_nobody_or_somebody_nearly_named(
    gallery: str, photos: Path, tmp_path: Path, capsys: Output
) -> None:
    missing = str(tmp_path / "nosuch.jpg")
    assert run(["enroll", "Ada", missing, "-g", gallery]) == 4
    capsys.readouterr()
    new = save(tmp_path / "new.png", scene(48, 48, 77))
    assert run(["enroll", "person_0", str(new), missing, "-g", gallery]) == 0
    assert "".join(capsys.readouterr()).count("facedb people merge person_0 'Person 0'") == 1
    again = save(tmp_path / "again.png", scene(48, 48, 78))
    assert run(["enroll", "Person 0", str(again), "-g", gallery]) == 0
    assert "merge" not in capsys.readouterr().err
    assert run(["enroll", "Person 0", str(again), missing, "-g", gallery]) == 0


def test_each_schema_has_one_shape(gallery: str, capsys: Output) -> None:
    shared = ["-g", gallery, "--json"]
    shapes = {}
    for schema, command in (
        ("facedb.renamed/1", ["rename", "Person 0", "Ada"]),
        ("facedb.merged/1", ["merge", "Person 1", "Ada"]),
        ("facedb.person/1", ["show", "Ada"]),
    ):
        assert run(["people", *command, *shared]) == 0
        shown = only_json(capsys)
        assert shown["schema"] == schema
        shapes[schema] = list(shown)
    assert shapes["facedb.person/1"] == ["schema", "person", "templates", "refused"]


def test_remove_without_anybody_to_ask(gallery: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "facedb", "people", "remove", "Person 0", "-g", gallery, "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "nobody is there to answer; to remove unasked: --yes" in done.stderr
    assert run(["people", "show", "Person 0", "-g", gallery]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a device that is always full")
def test_an_output_that_is_full(gallery: str, photos: Path) -> None:
    command = [sys.executable, "-m", "facedb", "query", str(photos), "-g", gallery, "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    expected = "facedb: the output could not be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, expected)


def test_a_photo_without_a_face_says_so_everywhere(tmp_path: Path, capsys: Output) -> None:
    gallery = str(tmp_path / "g")
    assert (
        run(["enroll", "Mira", str(SAMPLE / "val" / "Mira_Solene" / "05.jpg"), "-g", gallery]) == 0
    )
    nobody = str(save(tmp_path / "nobody.png", scene(300, 300, 5)))
    capsys.readouterr()
    command = ["query", nobody, "-g", gallery]
    assert run([*command, "--json"]) == 0
    answer = only_json(capsys)
    assert (answer["reason"], answer["faces"]) == ("no face found", [])
    assert run([*command, "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["reason"] == "no face found"
    assert run([*command, "--picture", str(tmp_path / "who.png"), "--exit-code"]) == 3
    out, err = capsys.readouterr()
    assert (out, err) == (f"{nobody}: no face found\n", "")
    assert (tmp_path / "who.png").exists()


def test_a_name_that_the_output_cannot_show(gallery: str) -> None:
    assert run(["people", "rename", "Person 0", "Виктор", "-g", gallery]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "facedb", "people", "list", "-g", gallery],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )
    assert b"\\u0412\\u0438" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "facedb", "people", "list", "-g", gallery, "--json"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )
    shown = [person["name"] for person in json.loads(done.stdout)["people"]]
    assert "Виктор" in shown


def test_an_encoder_that_needs_what_is_not_installed(photos: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from facedb.cli.main import run\n"
        f"sys.exit(run(['index', {str(photos)!r}, '-g', {str(tmp_path / 'g')!r}, "
        "'--encoder', 'timm:resnet18']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install '.[cpu,train]'" in done.stderr


def test_a_mistyped_command(capsys: Output) -> None:
    assert run(["--", "--json"]) == 2
    assert run(["qurey", "x.jpg"]) == 2
    assert "No such command 'qurey'. Did you mean query?" in capsys.readouterr().err


def test_compare_needs_no_gallery(tmp_path: Path, photos: Path, capsys: Output) -> None:
    first, second = photos / "Person 0" / "0000.png", photos / "Person 0" / "0001.png"
    shared = ["--detector", "none", "-g", str(tmp_path / "none"), "-t", "0.3"]
    assert run(["compare", str(first), str(second), *shared]) == 0
    assert capsys.readouterr().out.startswith("the same person: distance 0.")
    assert run(["compare", str(first), str(second), *shared[:-1], "0", "--exit-code"]) == 3
    assert not (tmp_path / "none").exists()


def test_evaluate_counts_mated_and_strangers(gallery: str, tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "val"
    for number in range(4):
        brighter = np.clip(scene(48, 48, number).astype(int) + 1, 0, 255).astype(np.uint8)
        save(folder / f"Person {number}" / "new.png", brighter)
    save(folder / "Stranger" / "s.png", np.full((48, 48, 3), (255, 0, 255), dtype=np.uint8))
    save(folder / "Person 5" / "old.png", scene(48, 48, 5))
    command = ["evaluate", str(folder), "-g", gallery, "--k", "3,1,3", "-t", "0.0"]
    assert run([*command, "--json"]) == 0
    report = only_json(capsys)
    assert (report["protocol"], report["identities"], report["templates"]) == ("gallery", 6, 12)
    # Person 5's photo is in the gallery itself, so it is no probe.
    assert (report["mated"], report["non_mated"], report["enrolled"]) == (4, 1, 1)
    assert list(report["rank"].items()) == [("1", 1.0), ("3", 1.0)]  # type: ignore[attr-defined]
    assert (report["tpir"], report["fpir"]) == (0.0, 0.0)
    assert run([*command[:-1], "2.0"]) == 0
    out, _ = capsys.readouterr()
    assert "TPIR 100.00 %" in out
    assert "FPIR 100.00 %" in out


def test_evaluate_says_it_in_plain_words_and_names_who_is_not_enrolled(
    gallery: str, photos: Path, tmp_path: Path, capsys: Output
) -> None:
    val = tmp_path / "val"
    for number in range(4):
        brighter = np.clip(scene(48, 48, number).astype(int) + 1, 0, 255).astype(np.uint8)
        save(val / f"Person {number}" / "new.png", brighter)
    command = ["evaluate", str(val), "-g", gallery]
    assert run([*command, "-t", "2.0"]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == "of 4 photos of people enrolled, 4 named rightly"
    save(val / "person 04" / "a.png", scene(48, 48, 70))
    for number in range(11):
        save(val / f"Amy{number:02}" / "a.png", scene(48, 48, 80 + number))
    assert run([*command, "-t", "0.0"]) == 0
    out = capsys.readouterr().out
    first, *_ = out.splitlines()
    assert first == (
        "of 4 photos of people enrolled, 0 named rightly; of 12 photos of strangers, 0 given a name"
    )
    listed = next(line for line in out.splitlines() if line.startswith("not enrolled"))
    assert listed == (
        "not enrolled, so counted as strangers: person 04 (did you mean Person 4?), "
        + ", ".join(f"Amy{number:02}" for number in range(9))
        + " and 2 more"
    )
    assert run([*command, "-t", "2.0", "--json"]) == 0
    report = only_json(capsys)
    assert report["not_enrolled"] == [*(f"Amy{number:02}" for number in range(11)), "person 04"]
    # Nobody is enrolled when each photo is searched among the others: then there is no list.
    assert run(["evaluate", str(val), "-g", str(tmp_path / "none"), "--detector", "none"]) == 0
    out = capsys.readouterr().out
    assert "not enrolled" not in out
    assert "strangers" in out.splitlines()[0]
    save(val / "Person 0" / "newer.png", scene(48, 48, 0))
    bare = tmp_path / "bare"
    shutil.copytree(BUNDLED, bare)
    card = json.loads((bare / "encoder.json").read_text())
    del card["threshold"]
    (bare / "encoder.json").write_text(json.dumps(card))
    command = ["evaluate", str(val), "-g", str(tmp_path / "none"), "--detector", "none"]
    assert run([*command, "--encoder", str(bare)]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == "of 2 photos whose person has others here, 2 nearest to the right person"
    assert run([*command, "--encoder", str(bare), "--k", "5"]) == 0
    assert "2 with the right person among the 5 nearest\n" in capsys.readouterr().out


def test_evaluate_writes_a_row_a_probe_for_papers(
    tmp_path: Path, photos: Path, capsys: Output
) -> None:
    val, gallery, file = tmp_path / "val", tmp_path / "g", tmp_path / "scores.csv"
    for number in (0, 1):
        (val / f"Person {number}").mkdir(parents=True)
        shutil.move(photos / f"Person {number}" / "0001.png", val / f"Person {number}" / "a.png")
    like_2 = np.clip(scene(48, 48, 2).astype(int) + 1, 0, 255).astype(np.uint8)
    save(val / "Person 1" / "odd.png", like_2)
    for number in range(30):
        save(val / f"S{number:02}" / "a.png", scene(48, 48, 500 + number))
    (val / "Person 1" / "broken.png").write_bytes(b"")
    db = facedb.open(gallery, facedb.Settings(detector="none", threshold=0.4))
    db.index_folder(photos)
    command = ["evaluate", str(val), "-g", str(gallery), "-t", "0.4", "--scores", str(file)]
    assert run([*command, "--json"]) == 0
    report = only_json(capsys)
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        *("path", "person", "mated", "rank", "own_distance", "nearest", "nearest_distance"),
        "threshold",
    ]
    assert [row["path"] for row in rows] == sorted(str(path) for path in val.rglob("*.png"))
    for row in rows:
        assert row["threshold"] == "0.4"
        assert row["mated"] == str(int(row["person"].startswith("Person")))
        if row["path"].endswith("broken.png"):
            assert {row[name] for name in ("rank", "own_distance", "nearest")} == {""}
            continue
        (face,) = db.identify(row["path"], k=6)
        near = {found.identity: found.distance for found in face.candidates}
        assert row["nearest"] == face.candidates[0].identity
        assert float(row["nearest_distance"]) == pytest.approx(face.candidates[0].distance)
        if row["mated"] == "1":
            assert float(row["own_distance"]) == pytest.approx(near[row["person"]])
            assert int(row["rank"]) == 1 + list(near).index(row["person"])
        else:
            assert (row["own_distance"], row["rank"]) == ("", "")
    # At 10 % three of thirty strangers are accepted: the third nearest sets the threshold.
    nearest = sorted(float(row["nearest_distance"]) for row in rows if row["mated"] == "0")
    assert report["dir_threshold"] == {"0.1": pytest.approx(nearest[2])}
    assert (report["version"], report["seed"], report["split_sha256"]) == (
        facedb.__version__,
        None,
        None,
    )
    split = tmp_path / "split.json"
    assert run([*command, "--split", str(split), "--seed", "3", "--json"]) == 0
    report = only_json(capsys)
    assert report["seed"] == 3
    assert report["split_sha256"] == hashlib.sha256(split.read_bytes()).hexdigest()
    assert run([*command[:-1], str(file / "scores.csv")]) == 4
    assert "scores.csv: cannot be written" in capsys.readouterr().err


def test_evaluate_what_was_indexed_measures_nothing(
    photos: Path, tmp_path: Path, capsys: Output
) -> None:
    orig = tmp_path / "orig"
    for number, folder in enumerate(sorted((SAMPLE / "train").iterdir())[:2]):
        shutil.copytree(folder, orig / folder.name)
        save(orig / folder.name / "wall.png", np.full((64, 64, 3), 90 + number, dtype=np.uint8))
    gallery = str(tmp_path / "orig.gallery")
    assert run(["index", str(orig), "-g", gallery]) == 0
    assert run(["evaluate", str(orig), "-g", gallery]) == 4
    out, err = capsys.readouterr()
    assert f"{orig}: nothing to measure: every photo here that shows a face is in the" in err
    assert "keep photos apart that you do not index" in err
    assert "rank-1" not in out


def test_evaluate_leaves_one_out_when_nobody_is_enrolled(
    tmp_path: Path, photos: Path, capsys: Output
) -> None:
    save(photos / "Alone" / "one.png", np.full((48, 48, 3), (255, 0, 255), dtype=np.uint8))
    command = ["evaluate", str(photos), "-g", str(tmp_path / "none"), "--detector", "none"]
    assert run([*command, "--json", "-t", "2.0"]) == 0
    report = only_json(capsys)
    assert (report["protocol"], report["identities"], report["templates"]) == (
        "leave-one-out",
        7,
        13,
    )
    assert (report["mated"], report["non_mated"]) == (12, 1)
    assert report["rank"] == {"1": 1.0, "5": 1.0, "10": 1.0}
    assert (report["tpir"], report["fpir"]) == (1.0, 1.0)
    assert run([*command, "--k", "0"]) == 2


def test_evaluate_counts_strangers_whom_the_gallery_accepts(
    gallery: str, tmp_path: Path, capsys: Output
) -> None:
    """Two of three strangers look like Person 0: the gallery takes them in, at a distance of 0."""
    looks = {"A": 0, "B": 0, "C": 50}
    for name, seed in looks.items():
        for number in range(2):
            pixels = scene(48, 48, seed)
            pixels[number, 0] ^= 1  # another photo
            save(tmp_path / "strangers" / name / f"{number}.png", pixels)
    command = ["evaluate", str(tmp_path / "strangers"), "-g", gallery, "-t", "0.1"]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("of 6 photos whose person has others here, ")
    assert f"nobody here is enrolled in {gallery}, which was not searched" in out
    assert run([*command, "--strangers"]) == 0
    out = capsys.readouterr().out
    assert "of 6 photos of strangers, 4 given a name" in out
    assert "not searched" not in out
    scores = ["--scores", str(tmp_path / "scores.csv")]
    assert run([*command, "--strangers"]) == 0
    assert "which ones: --report" in capsys.readouterr().err
    assert run([*command, "--strangers", *scores]) == 0
    assert "which ones" not in capsys.readouterr().err
    assert run([*command, "--strangers", "--json"]) == 0
    report = only_json(capsys)
    assert (report["protocol"], report["identities"], report["fpir"]) == ("gallery", 6, 4 / 6)
    assert run(["evaluate", str(tmp_path / "strangers"), "-g", "none", "--strangers"]) == 5
    assert "going on" not in capsys.readouterr().err
    assert run([*command, "--strangers", "--split", "s.json"]) == 4
    capsys.readouterr()
    shutil.rmtree(tmp_path / "strangers" / "A")
    shutil.rmtree(tmp_path / "strangers" / "B")
    assert run([*command, "--strangers"]) == 0
    assert "which ones" not in capsys.readouterr().err
    for number in range(6):
        assert run(["people", "remove", f"Person {number}", "--yes", "-g", gallery]) == 0
    assert run([*command, "--strangers"]) == 4
    assert f"nobody is enrolled in {gallery}" in capsys.readouterr().err


def test_gallery_commands(gallery: str, tmp_path: Path, capsys: Output) -> None:
    assert run(["gallery", "info", "-g", gallery]) == 0
    out, _ = capsys.readouterr()
    assert "people     6" in out
    assert "templates  12" in out
    assert run(["gallery", "check", "-g", gallery]) == 0
    assert capsys.readouterr().out == "sound\n"
    (file,) = Path(gallery).glob("index-*")
    file.write_bytes(file.read_bytes()[:-1])
    assert run(["gallery", "check", "-g", gallery]) == 5
    assert "facedb gallery rebuild" in capsys.readouterr().err
    assert run(["gallery", "rebuild", "-g", gallery]) == 0
    assert run(["gallery", "check", "-g", gallery]) == 0
    assert run(["gallery", "export", str(tmp_path / "out"), "-g", gallery]) == 0
    assert run(["gallery", "export", str(tmp_path / "out.v2"), "-g", gallery]) == 0
    assert run(["gallery", "export", str(tmp_path / "named.csv"), "-g", gallery]) == 0
    names = {file.name for file in tmp_path.glob("*.npz")} | {
        f.name for f in tmp_path.glob("*.csv")
    }
    assert names == {
        f"{stem}.{kind}" for stem in ("out", "out.v2", "named") for kind in ("csv", "npz")
    }
    with np.load(tmp_path / "out.npz") as data:
        assert data["vectors"].shape == (12, 128)
        np.testing.assert_allclose(np.linalg.norm(data["vectors"], axis=1), 1, atol=1e-6)
    with (tmp_path / "out.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["identity"] for row in rows] == [f"Person {n}" for n in range(6) for _ in "ab"]
    assert run(["gallery", "reencode", "-g", gallery]) == 0
    assert "12 templates made anew" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["query", "x.jpg", "-g", "nowhere"], 5, "facedb index DIR -g nowhere"),
        (["query"], 2, "Missing argument"),
        (["quarry"], 2, "No such command"),
        (["query", "x.jpg", "-t", "3"], 2, "3.0 is not in the range"),
        (["query", "x.jpg", "-t", "nan"], 2, "nan is no distance"),
        (["index", "nowhere", "--detector", "none"], 4, "nowhere: no such folder"),
        (["people", "list", "-g", "nowhere"], 5, "there is no gallery here"),
        (["compare", "a.jpg", "b.jpg"], 4, "a.jpg: no such file"),
        (["compare", "a.jpg", "b.jpg", "--detector", "gone.onnx"], 4, "gone.onnx"),
        (["compare", "a.jpg", "b.jpg", "--detector", "none"], 4, "a.jpg: no such file"),
        (
            ["compare", "a", "b", "--encoder", "nowhere", "--detector", "none"],
            6,
            "no encoder bundle here",
        ),
    ],
)
def test_exit_codes(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FACEDB_DETECTOR", raising=False)
    assert run(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_damaged_encoder(photos: Path, tmp_path: Path, capsys: Output) -> None:
    broken = tmp_path / "encoder"
    shutil.copytree(BUNDLED, broken)
    command = ["index", str(photos), "-g", str(tmp_path / "g"), "--detector", "none"]
    data = bytearray((broken / "encoder.safetensors").read_bytes())
    data[100_000] ^= 1
    (broken / "encoder.safetensors").write_bytes(data)
    assert run([*command, "--encoder", str(broken)]) == 6
    assert "damaged" in capsys.readouterr().err
    (broken / "encoder.json").unlink()
    assert run([*command, "--encoder", str(broken)]) == 6
    assert "no encoder bundle here" in capsys.readouterr().err
    assert not (tmp_path / "g").exists()


def test_json_has_no_infinity() -> None:
    line = as_json("x", {"far": float("inf"), "none": float("nan"), "near": 0.0})
    assert json.loads(line) == {"schema": "facedb.x/1", "far": None, "none": None, "near": 0.0}


def test_a_reader_that_goes_away(gallery: str, photos: Path) -> None:
    command = f'"{sys.executable}" -m facedb query "{photos}" -g "{gallery}" --json | head -1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_figures_outlive_a_file_that_cannot_be_written(tmp_path: Path, capsys: Output) -> None:
    gallery = ["-g", str(tmp_path / "g")]
    assert run(["index", str(SAMPLE / "train"), *gallery]) == 0
    scores = str(tmp_path / "g" / "gallery.sqlite" / "scores.csv")
    assert run(["evaluate", str(SAMPLE / "val"), *gallery, "--scores", scores]) == 4
    printed = capsys.readouterr()
    assert "of 48 photos of people enrolled, 48 named rightly" in printed.out
    assert scores in printed.err


def test_words_in_the_wrong_order_are_put_right(gallery: str, photos: Path, capsys: Output) -> None:
    photo = str(photos / "Person 0" / "0000.png")
    assert run(["enroll", photo, "Ben", "-g", gallery]) == 2
    assert f"{photo} is a file; the name comes first" in capsys.readouterr().err
    with contextlib.chdir(photos):
        (photos / "Cora").write_bytes(b"")
        assert (
            run(["enroll", "Cora", str(save(photos / "c.png", scene(48, 48, 95))), "-g", gallery])
            == 0
        )
    capsys.readouterr()
    assert run(["-g", gallery, "query", photo]) == 2
    assert "Options come after the command" in capsys.readouterr().err
    assert run(["query", photo, "--gallerie", gallery]) == 2
    assert "after the command" not in capsys.readouterr().err


def test_an_interrupted_query_has_nothing_to_go_on_with(
    gallery: str, photos: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("facedb.identify.FaceDB.identify_photos", interrupted)
    monkeypatch.setattr("facedb.identify.FaceDB.index_folder", interrupted)
    assert run(["query", str(photos), "-g", gallery]) == 1
    assert capsys.readouterr().err.strip() == "facedb: interrupted"
    assert run(["index", str(photos), "-g", gallery]) == 1
    assert "run the same command to go on" in capsys.readouterr().err


def test_one_level_too_low_is_said_though_others_are_enrolled(
    gallery: str, photos: Path, capsys: Output
) -> None:
    assert run(["index", str(photos / "Person 1"), "-g", gallery]) == 4
    err = capsys.readouterr().err
    words = "if this is a person's folder among others: "
    index = f"facedb index {shlex.quote(str(photos))} -g {gallery}"
    assert f"NAME '{photos / 'Person 1'}' -g {gallery}; {words}{index}" in err


def test_one_level_too_high_is_said(tmp_path: Path, photos: Path, capsys: Output) -> None:
    top, gallery = tmp_path / "top", str(tmp_path / "g")
    top.mkdir()
    photos.rename(top / "all of them")
    command = ["-g", gallery, "--detector", "none"]
    assert run(["index", str(top), *command]) == 0
    out = capsys.readouterr().out
    remove = f"facedb people remove 'all of them' -g {gallery}"
    again = f"facedb index '{top / 'all of them'}' -g {gallery}"
    assert f"if the folders in {top / 'all of them'} are people: {remove}, then {again}\n" in out
    assert run([*shlex.split(remove)[1:], "--yes"]) == 0
    assert run(shlex.split(again)[1:]) == 0
    out = capsys.readouterr().out
    assert "6 people" in out
    assert "of one person" not in out
    # One person's years: said once at most, and never of somebody who was there before.
    years = tmp_path / "years" / "Eve"
    for number in range(2):
        save(years / str(2020 + number) / "a.png", scene(48, 48, 80 + number))
    assert run(["index", str(tmp_path / "years"), "-g", gallery]) == 0
    assert "of one person, Eve;" in capsys.readouterr().out
    assert run(["index", str(tmp_path / "years"), "-g", gallery]) == 0
    assert "of one person" not in capsys.readouterr().out
    shutil.copytree(tmp_path / "years", tmp_path / "again")
    save(tmp_path / "again" / "Eve" / "2022" / "b.png", scene(48, 48, 89))
    assert run(["index", str(tmp_path / "again"), "-g", gallery]) == 0
    assert "of one person" not in capsys.readouterr().out
    # Folders inside one person's folder, of distorted copies, are that person's.
    alone = tmp_path / "alone" / "Ada"
    save(alone / "one.png", scene(48, 48, 90))
    save(alone / "distortion" / "one_foggy.png", scene(48, 48, 91))
    assert run(["index", str(tmp_path / "alone"), "-g", str(tmp_path / "h"), *command[2:]]) == 0
    assert "of one person" not in capsys.readouterr().out


def test_folders_whose_names_are_nearly_one(gallery: str, tmp_path: Path, capsys: Output) -> None:
    for number, name in enumerate(("Ada L", "ada_l", "Bob")):
        save(tmp_path / "more" / name / "a.png", scene(48, 48, 200 + number))
    assert run(["index", str(tmp_path / "more"), "-g", gallery]) == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "one person" in line]
    assert said.startswith("'ada_l' stands beside 'Ada L'; ")
    assert run(shlex.split(said.partition(": ")[2])[1:]) == 0
    assert capsys.readouterr().out == "Ada L has 2 templates now; ada_l leads to them\n"
    save(tmp_path / "more" / "ada_l" / "b.png", scene(48, 48, 210))
    assert run(["index", str(tmp_path / "more"), "-g", gallery]) == 0
    assert "one person" not in capsys.readouterr().err
    # Of three, two are merged into the third; the old ones are not spoken of again. Vowel signs
    # are letters of a name, and names without letters are not alike for that.
    for number, name in enumerate(("-Bo", "-bo", "-b o", "राम", "रमा", "!!", "??")):
        save(tmp_path / "more" / name / "a.png", scene(48, 48, 300 + number))
    assert run(["index", str(tmp_path / "more"), "-g", gallery]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "one person" in line]
    assert [line.partition(";")[0] for line in said] == [
        "'-b o' stands beside '-Bo'", "'-bo' stands beside '-Bo'",
    ]  # fmt: skip
    for line in said:
        assert run(shlex.split(line.partition(": ")[2])[1:]) == 0
    assert "-Bo has 3 templates" in capsys.readouterr().out


def test_pruning_everybody_is_no_error(tmp_path: Path, photos: Path, capsys: Output) -> None:
    command = ["index", str(photos), "-g", str(tmp_path / "g"), "--detector", "none"]
    assert run(command) == 0
    for folder in photos.iterdir():
        shutil.rmtree(folder)
    (photos / "readme.txt").touch()
    capsys.readouterr()
    assert run([*command, "--prune"]) == 0
    printed = capsys.readouterr()
    assert "12 removed" in printed.out
    assert "nobody was enrolled" not in printed.err


def test_a_split_of_people_with_one_photo_each(tmp_path: Path, capsys: Output) -> None:
    folder = people_folder(tmp_path / "single", count=3, photos=1)
    split = tmp_path / "split.json"
    command = ["evaluate", str(folder), "--detector", "none", "--split", str(split)]
    assert run([*command, "-g", str(tmp_path / "none")]) == 4
    assert "people of whom there are two photos" in capsys.readouterr().err
    assert not split.exists()


def test_export_into_a_folder_is_told_to_name_files(
    tmp_path: Path, photos: Path, capsys: Output
) -> None:
    gallery = ["-g", str(tmp_path / "g")]
    assert run(["index", str(photos), *gallery, "--detector", "none"]) == 0
    assert run(["gallery", "export", str(tmp_path), *gallery]) == 4
    assert f"is a folder; name the files: {tmp_path / 'vectors'}" in capsys.readouterr().err


def test_a_folder_is_summed_up(gallery: str, photos: Path, tmp_path: Path, capsys: Output) -> None:
    asked = tmp_path / "asked"
    shutil.copytree(photos / "Person 0", asked)
    shutil.copy(photos / "Person 1" / "0000.png", asked / "other.png")
    assert run(["query", str(asked), "-g", gallery, "--threshold", "0"]) == 0
    assert capsys.readouterr().err == "3 photos, 3 faces: 3 identified\n"
    assert run(["people", "remove", "Person 1", "--yes", "-g", gallery]) == 0
    capsys.readouterr()
    assert run(["query", str(asked), "-g", gallery, "--threshold", "0"]) == 0
    assert capsys.readouterr().err == "3 photos, 3 faces: 2 identified\n"
    assert run(["query", str(asked), "-g", gallery, "--threshold", "0", "--json"]) == 0
    assert capsys.readouterr().err == ""
    (tmp_path / "none").mkdir()
    assert run(["query", str(tmp_path / "none"), "-g", gallery]) == 0
    assert capsys.readouterr().err == f"no photos in {tmp_path / 'none'}\n"


def test_an_encoder_that_was_moved(
    photos: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(BUNDLED, tmp_path / "old")
    monkeypatch.chdir(tmp_path)
    index = ["index", str(photos), "--encoder", "old", "--detector", "none"]
    assert run(index) == 0
    (tmp_path / "old").rename(tmp_path / "new")
    photo = str(photos / "Person 0" / "0000.png")
    capsys.readouterr()
    assert run(["query", photo]) == 6
    err = capsys.readouterr().err
    assert "facedb.gallery was made with encoder" in err
    assert "facedb query PHOTO --encoder FOLDER" in err
    assert run(["query", photo, "--encoder", "nowhere"]) == 6
    assert "was made with" not in capsys.readouterr().err
    assert run(["query", photo, "--encoder", "new"]) == 0
    assert "Person 0" in capsys.readouterr().out


def test_two_photos_are_compared_whatever_gallery_lies_there(
    photos: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["index", str(photos), "--detector", "none"]) == 0
    pair = [str(SAMPLE / "train" / "Mira_Solene" / f"0{number}.jpg") for number in (1, 2)]
    capsys.readouterr()
    # Of the gallery in sight the detector counts, unless another is named.
    assert run(["compare", *pair, "--detector", "bundled"]) == 0
    assert "the same person" in capsys.readouterr().out
    assert run(["compare", *pair, "--detector", "bundled", "-g", "facedb.gallery"]) == 6
    monkeypatch.setenv("FACEDB_GALLERY", "facedb.gallery")
    assert run(["compare", *pair, "--detector", "bundled"]) == 6
    capsys.readouterr()
    assert run(["compare", *pair, "-g", "typo"]) == 0
    assert "typo: there is no gallery here; going on without" in capsys.readouterr().err


def test_evaluate_says_where_there_is_no_gallery(
    photos: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["evaluate", str(photos), "--detector", "none"]) == 0
    assert "facedb.gallery: there is no gallery here; going on without" in capsys.readouterr().err


def test_whose_every_photo_was_left_out_is_told(gallery: str, photos: Path, capsys: Output) -> None:
    (photos / "Zoe").mkdir()
    (photos / "Zoe" / "broken.jpg").write_bytes(b"")
    assert run(["index", str(photos), "-g", gallery]) == 0
    capsys.readouterr()
    assert run(["people", "show", "Zoe", "-g", gallery]) == 5
    err = capsys.readouterr().err
    assert f"left out: {photos / 'Zoe' / 'broken.jpg'}: empty file" in err
