"""Does a gallery survive being killed at any moment? Kills a writer many times and looks.

Claim: whenever the writer dies, the gallery opens, answers like brute force over its store, has
lost nothing that was committed and kept nothing half-done.

One small gallery lives through all kills. Each time a forked process adds, removes, renames,
merges, publishes, settles and rebuilds in a random order until SIGKILL: half of the times it kills
itself at a named step drawn at random (`facedb.gallery.on_step`), else it is killed a random time
after it has opened the gallery, or while it does. It writes down what it begins and what it has
finished. Then another forked process opens the gallery and looks:

- search equals brute force over the store, before and after `settle`;
- `check` finds nothing, and the one index file there is the registered one;
- the revision is the last one written down or, where a write was under way, the next one, and the
  templates are those of that write, whole or not at all;
- no template id comes back, and none becomes another photo's;
- of templates that were removed no vector and no photo digest is left in any file, once the
  gallery was settled and closed.

A kill of a process is not a power cut: what the system had accepted is not lost here.

    python scripts/crash_test.py --kills 1000
"""

from __future__ import annotations

import os

# Forked processes must not inherit a pool of threads that exists in their parent only.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import logging
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import click
from command import Script
from measuring import RESULTS, ROOT, circumstances, finish, table

import facedb.gallery
from facedb.gallery import Gallery
from facedb.people import People

sys.path.insert(0, str(ROOT / "tests"))

from vectors import PIN, add, assert_equals_brute_force, people, stored

LEAST, MOST = 40, 80  # templates
LONGEST = 0.15  # seconds before a kill that is not at a step
HUNG = 120.0
AFTER_OPENING, WHILE_OPENING = "at a random time", "at a random time, opening"

Send: TypeAlias = Callable[[dict[str, Any]], None]


def in_child(journal: Path, work: Callable[[Send], None]) -> int:
    """Fork a process that does `work`, given a function that writes a line; returns its pid."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    child = os.fork()
    if child:
        os.close(descriptor)
        return child

    def send(message: dict[str, Any]) -> None:
        os.write(descriptor, json.dumps(message).encode() + b"\n")

    try:
        work(send)
    except BaseException:
        send({"error": traceback.format_exc()})
    finally:
        os._exit(0)


def read(journal: Path) -> list[dict[str, Any]]:
    """What a child wrote down; a last line that was cut short does not count."""
    return [json.loads(line) for line in journal.read_bytes().split(b"\n")[:-1]]


class Writer:
    """Random operations on the gallery, each written down before and after."""

    def __init__(self, folder: Path, seed: int, send: Send) -> None:
        self._gallery = Gallery.open(folder, "cpu")
        self._people = People(self._gallery)
        self._random = random.Random(seed)
        self._send = send
        self._serial = seed * 1000
        self._done("open")

    def run(self) -> None:
        """Until it is killed."""
        while True:
            count = self._gallery.store.count()
            if not count:
                self.add()
            works = [self.rename, self.merge, self.publish, self.rebuild, self.settle]
            works += [self.add] * (3 if count < MOST else 0)
            works += [self.remove] * (3 if count > LEAST else 0)
            self._random.choice(works)()

    def all_once(self) -> None:
        for work in (self.add, self.rename, self.merge, self.remove, self.publish, self.rebuild):
            work()

    def add(self) -> None:
        self._serial += 1
        size = self._random.randint(1, 6)
        new = f"person{self._serial:09}"
        known = [person.name for person in self._people.list()]
        name = self._random.choice([new, new, self._random.choice(known)] if known else [new])
        self._begin("add", size)
        vectors = people(1, size, self._serial)
        add(self._gallery, vectors, [name] * size, f"photo{self._serial:09}.")
        self._done("add")

    def remove(self) -> None:
        person = self._anybody()
        self._begin("remove", -person.templates)
        self._people.remove(person.name)
        self._done("remove")

    def rename(self) -> None:
        self._serial += 1
        self._begin("rename", 0)
        self._people.rename(self._anybody().name, f"renamed{self._serial:09}")
        self._done("rename")

    def merge(self) -> None:
        known = self._people.list()
        if len(known) < 4:
            self.add()
            return
        one, other = self._random.sample(known, 2)
        self._begin("merge", 0)
        self._people.merge(one.name, other.name)
        self._done("merge")

    def publish(self) -> None:
        self._without_a_revision("publish", self._gallery.publish)

    def rebuild(self) -> None:
        self._without_a_revision("rebuild", self._gallery.rebuild)

    def settle(self) -> None:
        self._without_a_revision("settle", self._gallery.settle)

    def _without_a_revision(self, name: str, work: Callable[[], object]) -> None:
        self._begin(name, None)
        work()
        self._done(name)

    def _anybody(self) -> Any:
        return self._random.choice(self._people.list())

    def _begin(self, name: str, more: int | None) -> None:
        self._send({"begin": name, "more": more})

    def _done(self, name: str) -> None:
        store = self._gallery.store
        self._send({"done": name, "revision": store.revision(), "photos": photos(self._gallery)})


def photos(gallery: Gallery) -> dict[str, str]:
    """Template id, as JSON wants its keys, -> digest of its photo."""
    return {str(found.template_id): found.sha256 for found in gallery.store.templates()}


def look(folder: Path, send: Send) -> None:
    """Open the gallery, compare it with brute force over its store, say what was found."""
    warnings = _Warnings()
    logging.getLogger("facedb").addHandler(warnings)
    gallery = Gallery.open(folder, "cpu")
    found = {"revision": gallery.store.revision(), "photos": photos(gallery)}
    # As the store and the index file hold them: 4 bytes a number.
    vectors = {
        str(number): vector.astype("<f4").tobytes().hex()
        for number, (_, vector) in stored(gallery).items()
    }
    wrong = compare(gallery, "opened")
    gallery.settle()
    wrong += compare(gallery, "settled") + gallery.check() + files_wrong(gallery)
    gallery.close()
    send(found | {"vectors": vectors, "wrong": wrong, "warnings": warnings.lines})


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def compare(gallery: Gallery, when: str) -> list[str]:
    try:
        assert_equals_brute_force(gallery, k=5, probes=6)
    except AssertionError as error:
        return [f"search differs from brute force when {when}: {error}"]
    return []


def files_wrong(gallery: Gallery) -> list[str]:
    """Whether the registered index file is the only one."""
    snapshot = gallery.store.state().snapshot
    there = sorted(file.name for file in gallery.folder.glob("index-*"))
    wanted = [snapshot.file] if snapshot else []
    return [] if there == wanted else [f"index files {there} instead of {wanted}"]


@dataclass
class Known:
    """What the gallery must hold, from all that was written down and seen."""

    revision: int = 0
    last_id: int = 0
    photos: dict[str, str] = field(default_factory=dict[str, str])
    vectors: dict[str, str] = field(default_factory=dict[str, str])
    gone: set[str] = field(default_factory=set[str])

    def take(self, revision: int, photos: dict[str, str]) -> list[str]:
        """Take in a state of the gallery; what in it cannot be."""
        wrong = [
            f"template {number} became the photo {photo}"
            for number, photo in photos.items()
            if int(number) <= self.last_id and self.photos.get(number) != photo
        ]
        if revision < self.revision:
            wrong.append(f"the revision fell from {self.revision} to {revision}")
        for number in self.photos.keys() - photos.keys():
            self.gone |= {self.photos[number], self.vectors.get(number, self.photos[number])}
        self.revision, self.photos = revision, photos
        self.last_id = max([self.last_id, *map(int, photos)])
        return wrong

    def judge(self, found: dict[str, Any], under_way: dict[str, Any] | None) -> list[str]:
        """What is wrong with what a look found after a kill in this operation."""
        more = under_way["more"] if under_way else None
        wrong: list[str] = []
        if found["revision"] == self.revision:
            if found["photos"] != self.photos:
                wrong.append("other templates than were written down")
        elif found["revision"] != self.revision + 1 or more is None:
            wrong.append(f"revision {found['revision']} where {self.revision} was written down")
        elif len(found["photos"]) != len(self.photos) + more:
            wrong.append(f"{len(found['photos'])} templates, not {len(self.photos)} and {more}")
        return wrong


@dataclass
class Tally:
    """What happened over all kills."""

    kills: Counter[str] = field(default_factory=Counter[str])
    killed_in: Counter[str] = field(default_factory=Counter[str])
    committed: Counter[str] = field(default_factory=Counter[str])
    operations: Counter[str] = field(default_factory=Counter[str])
    rebuilt: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class Trial:
    """One gallery, killed again and again."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self._folder = scratch / "g"
        self._journal = scratch / "journal"
        self._random = random.Random(seed)
        self._seed = seed
        self._known = Known()
        self.tally = Tally()
        make(self._folder)
        self.steps = self._steps(scratch)
        self._look("before any kill", [])

    def kill_once(self, number: int) -> None:
        """Let a writer run until it is killed; look at what it has left."""
        where = self._killed(self._seed * 100_000 + number)
        messages = read(self._journal)
        wrong = [message["error"] for message in messages if "error" in message]
        under_way: dict[str, Any] | None = None
        for message in messages:
            if "begin" in message:
                under_way = message
            elif "done" in message:
                under_way = None
                self.tally.operations[message["done"]] += 1
                wrong += self._known.take(message["revision"], message["photos"])
        self.tally.kills[where] += 1
        name = under_way["begin"] if under_way else "open" if not messages else "between two"
        self.tally.killed_in[name] += 1
        before = self._known.revision
        self._look(f"kill {number}, {where}, in {under_way}", wrong, under_way)
        self.tally.committed[name] += self._known.revision > before

    def _killed(self, seed: int) -> str:
        draw = self._random.random()
        if draw < 0.5:
            return self._killed_at(self._random.choice(self.steps), seed)
        child = in_child(self._journal, lambda send: Writer(self._folder, seed, send).run())
        started = time.monotonic()
        while draw < 0.9 and not self._journal.stat().st_size:
            if time.monotonic() - started > HUNG:
                break
            time.sleep(0.001)
        time.sleep(self._random.uniform(0, LONGEST if draw < 0.9 else LONGEST / 5))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return AFTER_OPENING if draw < 0.9 else WHILE_OPENING

    def _killed_at(self, step: str, seed: int) -> str:
        turns = [self._random.randint(1, 3)]

        def stop(name: str) -> None:
            turns[0] -= name == step
            if not turns[0]:
                os.kill(os.getpid(), signal.SIGKILL)

        def work(send: Send) -> None:
            facedb.gallery.on_step = stop
            signal.alarm(int(HUNG))
            Writer(self._folder, seed, send).run()

        child = in_child(self._journal, work)
        status = os.waitpid(child, 0)[1]
        return step if os.WTERMSIG(status) == signal.SIGKILL else f"never came to: {step}"

    def _look(self, when: str, wrong: list[str], under_way: dict[str, Any] | None = None) -> None:
        os.waitpid(in_child(self._journal, lambda send: look(self._folder, send)), 0)
        found = (read(self._journal) or [{"error": "the look ended without a word"}])[-1]
        if "error" in found:
            wrong.append(found["error"])
        else:
            if self._known.photos:
                wrong += self._known.judge(found, under_way)
            wrong += found["wrong"] + self._known.take(found["revision"], found["photos"])
            self._known.vectors = found["vectors"]
            wrong += self._traces()
            self.tally.rebuilt += any("rebuilding" in line for line in found["warnings"])
        if wrong:
            self.tally.failures.append({"when": when, "wrong": wrong})
            click.echo(f"{when}: {wrong}", err=True)

    def _traces(self) -> list[str]:
        """What is left in the files of templates that are gone."""
        files = {file.name: file.read_bytes() for file in self._folder.iterdir()}
        words = {word: searched(word) for word in self._known.gone}
        self._known.gone = set()
        return [
            f"{name} still holds {word} of a removed template"
            for word, needle in words.items()
            for name, content in files.items()
            if needle in content
        ]

    def _steps(self, scratch: Path) -> list[str]:
        """The named steps that the operations come by, in their order."""
        make(scratch / "dry")
        steps: dict[str, None] = {}

        def work(send: Send) -> None:
            facedb.gallery.on_step = lambda step: send({"step": step})
            Writer(scratch / "dry", 1, send).all_once()

        os.waitpid(in_child(self._journal, work), 0)
        for message in read(self._journal):
            if "step" in message:
                steps[message["step"]] = None
        return list(steps)


def searched(word: str) -> bytes:
    """A digest is text, a vector was hex."""
    return word.encode() if word.startswith(("photo", "first")) else bytes.fromhex(word)


def make(folder: Path) -> None:
    """A gallery of 60 templates, made by this process and closed again."""
    gallery = Gallery.create(folder, PIN, device="cpu")
    names = [f"person{number:03}" for number in range(20) for _ in range(3)]
    add(gallery, people(20, 3), names, "first.")
    gallery.settle()
    gallery.close()


@click.command(cls=Script, help=__doc__)
@click.option("--kills", default=1000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "crash.json")
def main(kills: int, seed: int, out: Path) -> None:
    result = circumstances(seed) | {"kills": kills}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        trial = Trial(Path(scratch), seed)
        for number in range(1, kills + 1):
            trial.kill_once(number)
            if number % 100 == 0:
                click.echo(f"{number} kills, {len(trial.tally.failures)} failures", err=True)
    tally = trial.tally
    unreached = [step for step in trial.steps if not tally.kills[step]]
    result |= {"seconds": round(time.monotonic() - started), "failed": len(tally.failures)}
    result |= vars(tally) | {"steps_never_killed_at": unreached}
    table("kills", [("where", "kills"), *tally.kills.most_common()])
    table(
        "operations",
        [("", "killed in", "of these committed", "finished")]
        + [
            (name, tally.killed_in[name], tally.committed[name], tally.operations[name])
            for name in sorted(tally.killed_in | tally.operations)
        ],
    )
    click.echo(f"\n{kills} kills, {len(tally.failures)} failures, {tally.rebuilt} rebuilt")
    finish(result, [], out)
    sys.exit(1 if tally.failures else 0)


if __name__ == "__main__":
    main()
