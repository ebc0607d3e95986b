"""A gallery answers like brute force over its store, whatever happened to its index file."""

from __future__ import annotations

import csv
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray
from vectors import (
    DIM,
    PIN,
    add,
    assert_equals_brute_force,
    brute_force,
    filled,
    people,
    stored,
    unit,
)

from facedb.aggregation import AGGREGATIONS, Aggregation
from facedb.answers import answers, nearest_people
from facedb.decision import rank
from facedb.errors import (
    BadEmbedding,
    EncoderMismatch,
    FacedbError,
    GalleryBusy,
    GalleryDamaged,
    GalleryError,
    GalleryFull,
    GalleryMissing,
    GalleryReadOnly,
    InputError,
    UnknownIdentity,
)
from facedb.export import export
from facedb.gallery import Gallery
from facedb.index.faiss import build, load
from facedb.lock import ReadWriteLock
from facedb.operating import Operating
from facedb.people import People
from facedb.pipeline import Encoded
from facedb.store import FILE_NAME, NewTemplate, Pin, State, Store, StoredTemplate
from facedb.types import Face

TESTS = Path(__file__).parent


@pytest.fixture
def large_files(monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    """Where `large`, every index file counts as too large to be read whole at each opening."""
    if large:
        monkeypatch.setattr("facedb.snapshot.VERIFIED_BYTES", 0)


def index_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("index-*"))


@pytest.mark.parametrize(("count", "each", "k"), [(40, 1, 5), (30, 8, 5), (3, 50, 2), (5, 1, 9)])
def test_search_equals_brute_force(tmp_path: Path, count: int, each: int, k: int) -> None:
    gallery = filled(tmp_path / "g", count, each)
    assert_equals_brute_force(gallery, k)


@pytest.mark.parametrize("rule", AGGREGATIONS)
def test_people_in_pieces_of_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Aggregation
) -> None:
    gallery = filled(tmp_path / "g", 40, 5)
    probes = people(40, 5, seed=4)[::9]
    whole = nearest_people(gallery, probes, 6, rule)
    monkeypatch.setattr("facedb.view._RESCORED", 7)
    monkeypatch.setattr("facedb.answers._BLOCK", 3)
    pieces = nearest_people(gallery, probes, 6, rule)
    assert pieces.template_ids.tolist() == whole.template_ids.tolist()
    np.testing.assert_allclose(pieces.distances, whole.distances, atol=1e-12)
    assert_equals_brute_force(gallery)


def test_many_templates_of_one_person_do_not_hide_the_next(tmp_path: Path) -> None:
    # 500 templates of one person are nearer than anybody else: k counts identities.
    random = np.random.default_rng(3)
    near = unit(np.eye(1, DIM) + 0.01 * random.normal(size=(500, DIM)))
    far = unit(random.normal(size=(20, DIM)))
    gallery = Gallery.create(tmp_path / "g", PIN)
    add(gallery, near, ["crowd"] * 500)
    add(gallery, far, [f"p{number}" for number in range(20)], "far")
    probe = unit(np.eye(1, DIM))
    found = rank(gallery.search(probe, 4), 4)
    expected = brute_force(gallery, probe[0], 4)
    assert found.template_ids[0].tolist() == [item[0] for item in expected]
    assert len(set(found.identity_ids[0].tolist())) == 4


@pytest.mark.parametrize("probes", [1, 20])
def test_equal_distances_come_in_order_of_template_id(tmp_path: Path, probes: int) -> None:
    same = np.repeat(unit(np.ones((1, DIM))), 50, axis=0)
    gallery = Gallery.create(tmp_path / "g", PIN)
    add(gallery, same, [f"twin{number:02}" for number in range(50)])
    found = rank(gallery.search(same[:probes], 3), 3)
    assert found.template_ids.tolist() == [[1, 2, 3]] * probes


def test_an_index_that_errs_proposes_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It reckons in half precision, in which all of these are about as near.
    half = pytest.importorskip("facedb.index.torch", reason="torch is not installed").TorchIndex
    monkeypatch.setattr(
        "facedb.gallery.search_cache",
        lambda index, _: half(index.all_ids(), index.flat_rows(), "cpu"),
    )
    crowd = unit(1 + 3e-4 * np.random.default_rng(3).normal(size=(300, DIM)))
    gallery = Gallery.create(tmp_path / "g", PIN)
    add(gallery, crowd, [f"p{number}" for number in range(300)])
    assert_equals_brute_force(gallery)


def test_who_is_nearest_by_the_mean_alone_is_found(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", PIN)
    here, aside, up = np.eye(3, DIM)
    add(gallery, unit(np.stack([here + aside, here - aside, here + 0.9 * up])), ["A", "A", "B"])
    found = nearest_people(gallery, unit(here[None]), 1, "mean")
    assert found.identity_ids.tolist() == [[1]]


def test_who_has_one_photo_is_at_its_exact_distance(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", PIN)
    add(gallery, people(31, 1), ["P0", *(f"P{number}" for number in range(30))])
    probes = people(200, 1, seed=2)
    exact = nearest_people(gallery, probes, 30, "nearest")
    found = nearest_people(gallery, probes, 30, "nearest-or-mean")
    alone = (exact.identity_ids > 1) & (exact.identity_ids == found.identity_ids)
    assert alone.any()
    np.testing.assert_array_equal(found.distances[alone], exact.distances[alone])


def test_batch_equals_one_by_one(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "g", 300, 2)
    probes = unit(np.random.default_rng(5).normal(size=(1500, DIM)))
    together = rank(gallery.search(probes, 5), 5)
    for row in range(0, 1500, 101):
        alone = rank(gallery.search(probes[row : row + 1], 5), 5)
        assert alone.template_ids[0].tolist() == together.template_ids[row].tolist()
        np.testing.assert_array_equal(alone.distances[0], together.distances[row])


def test_all_templates_of_people_whether_asked_for_seldom_or_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(tmp_path / "g", 9, 3)
    changes = {
        # From here on the tables are in memory.
        20: lambda: People(gallery).remove("person004"),
        40: lambda: People(gallery).merge("person002", "person001"),
        60: lambda: add(gallery, people(1, 2, seed=5), ["person008", "person000"], "late"),
    }
    wanted = np.array([1, 2, 3, 5, 8, 9, 77])
    for turn in range(100):
        changes.get(turn, lambda: None)()
        if turn == 80:
            # A large index file is not read whole to see whether it is sound: the store counts.
            monkeypatch.setattr("facedb.snapshot.VERIFIED_BYTES", 0)
            gallery.publish()
            gallery = Gallery.open(tmp_path / "g")
        gallery.search(people(1, 1, seed=turn), 2)
        everything = sorted(stored(gallery).items())
        expected = [
            (place, vector)
            for place, person in enumerate(wanted)
            for _, (owner, vector) in everything
            if owner == person
        ]
        places, vectors = gallery.vectors_of(wanted)
        assert places.tolist() == [place for place, _ in expected]
        np.testing.assert_array_equal(vectors, np.array([vector for _, vector in expected]))


def test_a_person_enrolled_while_somebody_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(tmp_path / "g", 9, 3)
    other = Gallery.open(tmp_path / "g")
    for turn in range(16):
        gallery.search(people(1, 1, seed=turn), 2)
    read = gallery.store.identity_ids

    def enroll_meanwhile() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        # Between the index and the tables of everything, which therefore know of more.
        add(other, people(1, 2, seed=5), ["person000", "new"], "meanwhile")
        return read()

    monkeypatch.setattr(gallery.store, "identity_ids", enroll_meanwhile)
    gallery.search(people(1, 1, seed=0), 2)
    places, vectors = gallery.vectors_of(np.array([1, 2, 10]))
    assert places.tolist() == [0, 0, 0, 0, 1, 1, 1, 2]
    expected = [vector for owner, vector in stored(other).values() if owner in (1, 2, 10)]
    assert sorted(map(tuple, vectors.tolist())) == sorted(map(tuple, np.array(expected).tolist()))


@pytest.mark.parametrize(
    ("read", "large"),
    # The vectors of a large index file are not trusted: they are read from the store.
    [("owners_of", False), ("vectors_at", True)],
)
@pytest.mark.usefixtures("large_files")
def test_a_person_removed_while_somebody_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    filled(tmp_path / "g", 4, 2).close()
    gallery = Gallery.open(tmp_path / "g")
    other, left = People(Gallery.open(tmp_path / "g")), ["person001"]
    real = getattr(gallery.store, read)

    def removed_meanwhile(ids: list[int]) -> object:
        if left:
            other.remove(left.pop())
        return real(ids)

    monkeypatch.setattr(gallery.store, read, removed_meanwhile)
    found = gallery.search(people(4, 2)[2:3], 4)
    assert left == []
    assert not {3, 4} & set(found.template_ids[0].tolist())


def test_more_numbers_than_one_statement_takes(tmp_path: Path) -> None:
    store = filled(tmp_path / "g", 4, 2).store
    assert sorted(store.owners_of(range(300_000))) == list(range(1, 9))


def test_empty_gallery(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", PIN)
    assert gallery.search(unit(np.ones((3, DIM))), 5).distances.shape == (3, 0)
    assert not gallery.settle()
    assert gallery.check() == []


def test_probe_of_another_dimension(tmp_path: Path) -> None:
    with pytest.raises(BadEmbedding, match="16 dimensions"):
        filled(tmp_path / "g").search(np.ones((1, 8), dtype=np.float32), 5)


def test_a_probe_that_is_not_a_number(tmp_path: Path) -> None:
    with pytest.raises(BadEmbedding, match="not finite"):
        filled(tmp_path / "g").search(np.full((1, DIM), np.nan, dtype=np.float32), 5)


def test_a_merge_between_two_reads_of_one_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(tmp_path / "g", 3, 2)
    other = People(Gallery.open(tmp_path / "g"))
    read, left = gallery.vectors_of, ["person001"]

    def merged_meanwhile(ids: NDArray[np.int64]) -> object:
        if left:
            other.merge(left.pop(), "person000")
        return read(ids)

    monkeypatch.setattr(gallery, "vectors_of", merged_meanwhile)
    crop = np.zeros((112, 112, 3), dtype=np.uint8)
    face = Face((0.0, 0.0, 112.0, 112.0), np.zeros((5, 2), dtype=np.float32), 1.0, crop)
    photo = Encoded("probe.png", "0" * 64, None, (face,), 1, people(3, 2)[:1])
    (answer,) = answers([photo], gallery, Operating(None), "nearest-or-mean", 5)
    assert [found.identity for found in answer.faces[0].candidates] == ["person000", "person002"]


def test_a_snapshot_published_between_two_reads_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(tmp_path / "g", 9, 3)
    assert_equals_brute_force(gallery)
    other = Gallery.open(tmp_path / "g")
    state, left = gallery.store.state, ["person004"]

    def settled_meanwhile() -> State:
        found = state()
        if left:
            People(other).remove(left.pop())
        return found

    add(gallery, people(1, 1, seed=6), ["new"], "new")
    monkeypatch.setattr(gallery.store, "state", settled_meanwhile)
    assert_equals_brute_force(gallery)
    gallery.publish()
    assert gallery.check() == []
    left += ["person005"]  # while the index file is checked
    assert gallery.check() == []


def test_a_gallery_without_a_snapshot_is_caught_up_and_not_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create(tmp_path / "g", PIN)
    reader = Gallery.open(tmp_path / "g")
    built = []
    monkeypatch.setattr("facedb.gallery.build", lambda *given: built.append(1) or build(*given))
    for turn in range(5):
        add(gallery, people(3, 1, seed=turn), ["a", "b", "c"], f"{turn}")
        assert_equals_brute_force(reader)
    assert len(built) == 1


def test_the_view_is_dropped_between_its_making_and_its_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(tmp_path / "g")
    refresh, left = gallery._refresh, [1]

    def rebuilt_meanwhile() -> None:
        refresh()
        if left:
            left.pop()
            gallery._view = None

    monkeypatch.setattr(gallery, "_refresh", rebuilt_meanwhile)
    assert_equals_brute_force(gallery)


def test_an_interrupted_writer_holds_nobody_back(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = ReadWriteLock()

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lock._condition, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt), lock.write():
            pass
    entered = threading.Event()

    def reader() -> None:
        with lock.read():
            entered.set()

    threading.Thread(target=reader, daemon=True).start()
    assert entered.wait(10)


def made_anew(gallery: Gallery, pin: Pin, drop: list[int]) -> None:
    """Give each template another vector, but for those to drop."""
    ids = [number for number in gallery.store.identity_ids()[0].tolist() if number not in drop]
    vectors = people(len(ids), 1, seed=7)
    with gallery.writing() as writer:
        writer.put_reencoded(
            pin.made_by,
            {
                number: NewTemplate("", "", (1.0, 2.0, 3.0, 4.0), 0.9, vector)
                for number, vector in zip(ids, vectors, strict=True)
            },
        )
        assert writer.change_encoder(pin, drop)


def test_re_encoding_by_the_same_encoder_while_somebody_has_the_gallery_open(
    tmp_path: Path,
) -> None:
    gallery = filled(tmp_path / "g", 4, 3)
    assert_equals_brute_force(gallery)
    other = Gallery.open(tmp_path / "g")
    made_anew(other, PIN, [5])
    assert_equals_brute_force(gallery)
    add(other, people(1, 1, seed=8), ["late"], "late")
    assert_equals_brute_force(gallery)
    People(other).remove("person003")  # before anybody published the new vectors
    assert_equals_brute_force(gallery)
    gallery.publish()
    assert gallery.check() == []
    assert_equals_brute_force(Gallery.open(tmp_path / "g"))


def test_ids_are_never_used_again(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "g", 4, 2)
    People(gallery).remove("person003")
    add(gallery, people(1, 3, seed=8), ["late", "late", "person000"], "late")
    assert gallery.store.identity_ids()[0].tolist() == [1, 2, 3, 4, 5, 6, 9, 10, 11]
    assert_equals_brute_force(gallery)
    assert gallery.check() == []


@pytest.mark.parametrize(
    ("harm", "large"),
    [
        *((harm, False) for harm in ("missing", "torn", "flipped", "foreign", "older", "empty")),
        ("foreign", True),
        ("older", True),
    ],
)
@pytest.mark.usefixtures("large_files")
def test_bad_index_file_is_set_aside_and_rebuilt(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "g"
    filled(folder).close()
    (file,) = index_files(folder)
    good = file.read_bytes()
    match harm:
        case "missing":
            file.unlink()
        case "torn":
            file.write_bytes(good[: len(good) // 2])
        case "flipped":
            middle = len(good) // 2
            file.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
        case "foreign":
            filled(tmp_path / "other", seed=2).close()
            shutil.copy(index_files(tmp_path / "other")[0], file)
        case "older":
            gallery = Gallery.open(folder)
            # As many as before, so that the files are of one size.
            People(gallery).remove("person000")
            add(gallery, people(1, 3, seed=3), ["new"] * 3, "new")
            gallery.publish()
            gallery.close()
            (file,) = index_files(folder)
            file.write_bytes(good)
        case "empty":
            file.write_bytes(b"")
    with caplog.at_level(logging.WARNING, "facedb"):
        gallery = Gallery.open(folder)
        assert_equals_brute_force(gallery)
    assert len(caplog.records) == 1
    assert "rebuilding it from the store" in caplog.text
    assert gallery.check() == []
    gallery.close()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "facedb"):
        assert_equals_brute_force(Gallery.open(folder))
    assert not caplog.records


def test_a_lagging_snapshot_is_caught_up(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    filled(folder, 30, 3).close()
    before = index_files(folder)
    gallery = Gallery.open(folder)
    add(gallery, people(5, 2, seed=4), [f"new{number // 2}" for number in range(10)], "new")
    assert not gallery.settle()
    assert index_files(folder) == before
    assert_equals_brute_force(gallery)
    gallery.close()
    assert_equals_brute_force(Gallery.open(folder))
    assert gallery.check() == []


def test_a_slow_publisher_does_not_replace_a_later_index_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(tmp_path / "g")
    other, left = Gallery.open(tmp_path / "g"), [1]

    def meanwhile(step: str) -> None:
        if step == "snapshot: renamed" and left:
            left.pop()
            add(other, people(1, 1, seed=5), ["late"], "late")
            other.publish()

    monkeypatch.setattr("facedb.gallery.on_step", meanwhile)
    gallery.publish()
    snapshot = gallery.store.state().snapshot
    assert snapshot is not None
    assert snapshot.revision == gallery.store.revision()
    assert [file.name for file in index_files(tmp_path / "g")] == [snapshot.file]
    assert gallery.check() == []


def test_rebuild_as_another_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facedb.index.faiss.IVF_FROM", 90)
    gallery = filled(tmp_path / "g", 30, 3)
    gallery.rebuild("ivf")
    (file,) = index_files(tmp_path / "g")
    assert load(str(file)).kind == "ivf"


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.usefixtures("large_files")
def test_check_finds_a_wrong_vector(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "g")
    (file,) = index_files(tmp_path / "g")
    data = bytearray(file.read_bytes())
    data[600] ^= 64
    file.write_bytes(data)
    assert any("checksum" in line for line in gallery.check())
    gallery.rebuild()
    assert gallery.check() == []


def test_check_finds_a_vector_that_is_not_of_length_1(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "g")
    add(gallery, 2 * people(1, 1, seed=5), ["long"], "long")
    assert gallery.check() == ["the store holds a vector that is not of length 1"]


def test_check_compares_the_vectors_themselves(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "g")
    with sqlite3.connect(tmp_path / "g" / FILE_NAME) as store:
        store.execute("UPDATE template SET vector = (SELECT vector FROM template WHERE id = 9)")
    store.close()
    assert gallery.check() == ["the index file holds other vectors than the store"]


def test_removal_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    gallery = filled(folder, 30, 3)
    before = gallery.store.names()
    secret = people(1, 1, seed=77)
    add(gallery, secret, ["Private Before"], "private")
    People(gallery).rename("Private Before", "Someone Private")
    gallery.publish()
    needle = secret.tobytes()

    def traces() -> int:
        text = (b"Private Before", b"Someone Private", b"private0")
        contents = [file.read_bytes() for file in folder.iterdir()]
        return sum(data.count(word) for data in contents for word in (needle, *text))

    assert traces() >= 3
    removal = People(gallery).remove("Someone Private")
    assert (removal.name, removal.templates) == ("Someone Private", 1)
    assert traces() == 0
    assert gallery.store.names() == before
    assert not gallery.settle()  # it is done already
    assert gallery.check() == []
    assert_equals_brute_force(gallery)
    with pytest.raises(UnknownIdentity, match="Someone Private"):
        People(gallery).show("Someone Private")
    gallery.close()
    assert traces() == 0


def test_rename_keeps_the_old_name_as_an_alias(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "g", 3, 2)
    people_of, revision = People(gallery), gallery.store.revision()
    person = people_of.rename("person001", "Ada")
    assert (person.name, person.aliases, person.templates) == ("Ada", ("person001",), 2)
    assert gallery.store.revision() == revision + 1
    add(gallery, people(1, 1, seed=5), ["person001"], "more")
    assert people_of.show("person001").person.templates == 3
    assert [person.name for person in people_of.list()] == ["Ada", "person000", "person002"]
    assert people_of.rename("Ada", "person001").aliases == ("Ada",)


def test_merge_makes_two_people_one(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "g", 3, 2)
    person = People(gallery).merge("person000", "person002")
    assert (person.name, person.aliases, person.templates) == ("person002", ("person000",), 4)
    assert_equals_brute_force(gallery)
    add(gallery, people(1, 1, seed=6), ["person000"], "more")
    assert People(gallery).show("person002").person.templates == 5
    person = People(gallery).merge("person002", "person001")
    assert (person.aliases, person.templates) == (("person000", "person002"), 7)
    assert People(gallery).show("person000").person == person


@pytest.mark.parametrize(
    ("meanwhile", "change", "error"),
    [
        (("remove", "person000"), ("remove", "person000"), UnknownIdentity),
        (("remove", "person000"), ("rename", "person000", "Ada"), UnknownIdentity),
        (("rename", "person001", "Ada"), ("rename", "person000", "Ada"), InputError),
        (("remove", "person000"), ("merge", "person000", "person001"), UnknownIdentity),
        (("remove", "person001"), ("merge", "person000", "person001"), UnknownIdentity),
        (("merge", "person000", "person001"), ("merge", "person000", "person001"), InputError),
        (("merge", "person000", "person001"), ("remove", "person000"), None),
    ],
)
def test_two_who_change_the_same_person_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: tuple[str, ...],
    change: tuple[str, ...],
    error: type[FacedbError] | None,
) -> None:
    gallery = filled(tmp_path / "g", 3, 2)
    other, left = People(Gallery.open(tmp_path / "g")), [meanwhile]

    def first(step: str) -> None:
        if step == "write: before the transaction" and left:
            name, *rest = left.pop()
            getattr(other, name)(*rest)

    monkeypatch.setattr("facedb.gallery.on_step", first)
    name, *rest = change
    if error is None:
        assert getattr(People(gallery), name)(*rest).templates == 4
        assert [person.name for person in People(gallery).list()] == ["person002"]
    else:
        with pytest.raises(error):
            getattr(People(gallery), name)(*rest)
    assert_equals_brute_force(gallery)


def test_another_process_sees_each_commit(tmp_path: Path) -> None:
    reader, writer = filled(tmp_path / "g"), Gallery.open(tmp_path / "g")
    assert_equals_brute_force(reader)
    add(writer, people(2, 1, seed=4), ["x", "y"], "new")
    assert_equals_brute_force(reader)
    People(writer).remove("person007")
    assert_equals_brute_force(reader)
    writer.publish()
    add(writer, people(1, 1, seed=41), ["z"], "newer")
    assert_equals_brute_force(reader)


def test_whoever_comes_while_a_gallery_is_made_finds_none_or_a_whole_one(tmp_path: Path) -> None:
    def wait_for(folder: Path) -> Pin:
        while True:
            try:
                store = Store.open(folder)
            except GalleryMissing:
                continue
            with store.reading():
                return store.pin

    def make(folder: Path) -> Pin:
        with closing(Gallery.create(folder, PIN)) as gallery:
            return gallery.store.pin

    with ThreadPoolExecutor(4) as pool:
        for n in range(30):
            folder = tmp_path / str(n)
            waiting = [pool.submit(wait_for, folder) for _ in range(2)]
            making = [pool.submit(make, folder) for _ in range(2)]
            assert {future.result() for future in waiting + making} == {PIN}
            assert {file.name.partition("-")[0] for file in folder.iterdir()} == {FILE_NAME}


@pytest.mark.parametrize("links", [True, False])
def test_making_a_gallery_where_there_is_one_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:  # as on a memory stick

        def refused(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("os.link", refused)
    first = Gallery.create(tmp_path / "g", PIN)
    add(first, people(1, 1), ["Ada"])
    again = Gallery.create(tmp_path / "g", PIN)
    assert again.store.state().uuid == first.store.state().uuid
    assert [person.name for person in again.store.people()] == ["Ada"]
    (tmp_path / "h" / FILE_NAME).mkdir(parents=True)
    if links:
        with pytest.raises(GalleryError, match="is in the way"):
            Gallery.create(tmp_path / "h", PIN)


def test_two_writers_and_several_readers_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    filled(folder, 50, 2).close()
    failures: list[BaseException] = []
    stop = threading.Event()

    def write(name: str) -> None:
        try:
            gallery = Gallery.open(folder)
            for turn in range(15):
                add(gallery, people(3, 1, seed=turn), [f"{name}{turn}"] * 3, f"{name}{turn}")
                if turn % 5 == 4:
                    People(gallery).remove(f"{name}{turn - 1}")
            gallery.close()
        except BaseException as error:
            failures.append(error)

    shared = Gallery.open(folder)

    def read() -> None:
        try:
            probe = people(1, 1, seed=2)
            while not stop.is_set():
                found = rank(shared.search(probe, 5), 5)
                assert np.all(np.diff(found.distances[0]) >= 0)
                assert len(set(found.identity_ids[0].tolist())) == 5
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert failures == []
    assert shared.store.count() == 100 + 2 * (45 - 9)
    assert_equals_brute_force(shared)
    assert shared.check() == []


def test_many_who_wait_to_write_hold_no_reader_back(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "g", 5, 2)
    arrived = threading.Barrier(21)
    failures: list[BaseException] = []

    def write(name: str) -> None:
        arrived.wait()
        try:
            add(gallery, people(1, 1, seed=4), [name], name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(f"n{number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    other = sqlite3.connect(tmp_path / "g" / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    arrived.wait()
    for _ in range(10):
        assert_equals_brute_force(gallery)
    waiting = [thread.is_alive() for thread in threads]
    other.execute("COMMIT")
    for thread in threads:
        thread.join()
    assert (all(waiting), failures) == (True, [])
    assert gallery.store.count() == 30


def test_a_writer_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = filled(tmp_path / "g", 5, 2)
    monkeypatch.setattr("facedb.store.store.BUSY_SECONDS", 0.0)
    with (
        gallery.writing(),
        ThreadPoolExecutor(1) as beside,
        pytest.raises(GalleryBusy, match="try again"),
    ):
        beside.submit(add, gallery, people(1, 1, seed=4), ["x"], "x").result()


def test_export_beside_a_removal_holds_the_same_rows_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(tmp_path / "g", 4, 2)
    read, other = gallery.store.templates, People(Gallery.open(tmp_path / "g"))

    def removed_meanwhile() -> Iterator[StoredTemplate]:
        other.remove("person002")
        return read()

    monkeypatch.setattr(gallery.store, "templates", removed_meanwhile)
    report = export(gallery.store, str(tmp_path / "out"))
    with np.load(report.vectors) as arrays, open(report.metadata, encoding="utf-8") as stream:
        ids = arrays["template_ids"].tolist()
        assert ids == [int(row["template_id"]) for row in csv.DictReader(stream)]
        assert ids == [1, 2, 3, 4, 7, 8]
        kept = [vector for _, vector in stored(gallery).values()]
        np.testing.assert_array_equal(arrays["vectors"], np.array(kept))
    assert report.templates == 6


def kill_steps() -> list[str]:
    run = subprocess.run(
        [sys.executable, TESTS / "killed.py", "--list"], capture_output=True, text=True, check=True
    )
    return run.stdout.splitlines()


@pytest.mark.parametrize("step", kill_steps())
def test_killed_at_each_step_of_a_write(tmp_path: Path, step: str) -> None:
    folder = tmp_path / "g"
    gallery = filled(folder)
    revision = gallery.store.revision()
    gallery.close()
    run = subprocess.run([sys.executable, TESTS / "killed.py", folder, step], check=False)
    assert run.returncode == -9
    gallery = Gallery.open(folder)
    names = {person.name for person in gallery.store.people()}
    # Whole or not at all: "new" comes with all three templates, or "person004" is still there.
    assert gallery.store.revision() >= revision
    if "new" in names:
        assert People(gallery).show("new").person.templates == 3
    assert_equals_brute_force(gallery)
    gallery.settle()
    assert gallery.check() == []
    assert len(index_files(folder)) == 1


def test_a_stray_file_is_deleted_even_where_nobody_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    gallery = Gallery.create(folder, PIN)
    (folder / "index-000000000007-0badcafe.faiss.tmp").write_bytes(b"half an index")
    assert not gallery.settle()
    assert index_files(folder) == []


def test_gallery_of_another_encoder_since_opened(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "g")
    gallery.search(people(1, 1), 1)
    other = Store.open(tmp_path / "g")
    with other.writing() as writer:
        pin = replace(PIN, encoder_fingerprint="0" * 64)
        assert writer.change_encoder(pin, gallery.store.identity_ids()[0].tolist())
    with pytest.raises(EncoderMismatch, match="open it again"):
        gallery.search(people(1, 1), 1)
    with pytest.raises(EncoderMismatch, match="open it again"):
        add(gallery, people(1, 1), ["late"], "late")


def test_gallery_of_another_encoder_since_opened_and_published(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "g", 4, 3)
    gallery.search(people(1, 1), 1)
    other = Gallery.open(tmp_path / "g")
    made_anew(other, replace(PIN, encoder_fingerprint="0" * 64), [])
    Gallery.open(tmp_path / "g").publish()
    with pytest.raises(EncoderMismatch, match="open it again"):
        gallery.search(people(1, 1), 1)


def fill(gallery: Gallery) -> None:
    for turn in range(50):
        add(gallery, people(100, 1, seed=turn), [f"n{turn}"] * 100, f"n{turn}-")


def test_disk_full_keeps_what_was_committed(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "g", 5, 2)
    gallery.close()

    def small(connection: object, record: object) -> None:
        connection.execute("PRAGMA max_page_count = 20")  # type: ignore[attr-defined]

    sa.event.listen(sa.Pool, "connect", small)
    try:
        gallery = Gallery.open(tmp_path / "g")
        with pytest.raises(GalleryFull, match="what was committed before is kept"):
            fill(gallery)
        gallery.close()
    finally:
        sa.event.remove(sa.Pool, "connect", small)
    gallery = Gallery.open(tmp_path / "g")
    assert (gallery.store.count() - 10) % 100 == 0
    assert_equals_brute_force(gallery)
    add(gallery, people(1, 1, seed=99), ["room again"], "room")


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_room_for_the_index_file_after_a_removal(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    filled(folder, 10_000, 2).close()
    gallery = Gallery.open(folder)
    before = index_files(folder)
    with room_for(1 << 20), pytest.raises(GalleryFull, match=r"removed.*facedb gallery rebuild"):
        People(gallery).remove("person042")
    assert gallery.store.count() == 19_998
    assert index_files(folder) == before
    assert_equals_brute_force(gallery, probes=2)
    gallery.rebuild()
    assert gallery.check() == []
    assert not set(before) & set(index_files(folder))


@pytest.mark.parametrize("size", [20_000, 60_000])
def test_no_room_for_the_log(tmp_path: Path, size: int) -> None:
    # The least is no room for the file that readers share, the next none for the log itself.
    filled(tmp_path / "g", 5, 2).close()
    with room_for(size), pytest.raises(GalleryFull, match="what was committed before is kept"):
        fill(Gallery.open(tmp_path / "g"))
    assert_equals_brute_force(Gallery.open(tmp_path / "g"))


def test_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "g", 5, 2).close()
    monkeypatch.chdir(tmp_path)
    gallery = Gallery.open(Path("g"))
    monkeypatch.chdir("/")
    with gallery.store.reading():  # so that the next takes a new connection
        assert gallery.store.count() == 10


def test_missing_and_foreign_stores(tmp_path: Path) -> None:
    with pytest.raises(GalleryMissing, match="facedb index DIR"):
        Gallery.open(tmp_path / "nothing")
    folder = tmp_path / "g"
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(b"this is not a database, however long it may be" * 100)
    with pytest.raises(GalleryDamaged, match="not a database"):
        Gallery.open(folder)
    (folder / FILE_NAME).write_bytes(b"")
    with pytest.raises(GalleryDamaged, match="index again"):
        Gallery.open(folder)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root to become nobody")
@pytest.mark.parametrize("writer_open", [False, True])
def test_query_by_a_user_who_may_not_write(writer_open: bool) -> None:
    # Not below tmp_path, which other users may not enter.
    folder = Path("/tmp") / f"facedb-readonly-{os.getpid()}-{writer_open}"
    gallery = filled(folder)
    try:
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644)
        if writer_open:
            add(gallery, people(1, 1, seed=5), ["late"], "late")
        else:
            gallery.close()
        code = (
            "import os, sys\n"
            f"sys.path[:0] = {[str(TESTS), *sys.path]!r}\n"
            "from pathlib import Path\n"
            "from facedb.gallery import Gallery\n"
            "from facedb.errors import GalleryReadOnly\n"
            "from vectors import add, assert_equals_brute_force, people\n"
            "import facedb.decision, numpy.random, numpy.testing\n"
            "import sqlalchemy.dialects.sqlite.pysqlite\n"
            # The interpreter's own files may lie where only root can read.
            "os.setgid(65534); os.setuid(65534)\n"
            f"gallery = Gallery.open(Path({str(folder)!r}))\n"
            "assert_equals_brute_force(gallery)\n"
            "print(gallery.store.count())\n"
            "try:\n    add(gallery, people(1, 1), ['x'])\n"
            "except GalleryReadOnly as error:\n    print(error)\n"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert run.stdout.splitlines()[0] == ("91" if writer_open else "90")
        assert "can be queried" in run.stdout
    finally:
        gallery.close()
        shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root to become nobody")
def test_a_user_who_may_not_write_sees_each_commit_while_the_gallery_is_open() -> None:
    folder = Path("/tmp") / f"facedb-readonly-{os.getpid()}-commits"
    filled(folder).close()
    try:
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644)
        code = (
            "import os, sys\n"
            f"sys.path[:0] = {[str(TESTS), *sys.path]!r}\n"
            "from pathlib import Path\n"
            "from facedb.gallery import Gallery\n"
            "from vectors import assert_equals_brute_force\n"
            "import facedb.decision, numpy.random, numpy.testing\n"
            "import sqlalchemy.dialects.sqlite.pysqlite\n"
            "os.setgid(65534); os.setuid(65534)\n"
            f"gallery = Gallery.open(Path({str(folder)!r}))\n"
            "for _ in sys.stdin:\n"
            "    assert_equals_brute_force(gallery)\n"
            "    print(*[person.name for person in gallery.store.people()], flush=True)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as reader:

            def names() -> set[str]:
                assert reader.stdin is not None
                assert reader.stdout is not None
                reader.stdin.write("\n")
                reader.stdin.flush()
                return set(reader.stdout.readline().split())

            before = names()
            gallery = Gallery.open(folder)
            add(gallery, people(1, 1, seed=5), ["late"], "late")
            assert names() - before == {"late"}
            People(gallery).remove("person004")
            assert before - names() == {"person004"}
            gallery.close()
            gallery = Gallery.open(folder)
            People(gallery).remove("late")
            gallery.close()
            assert before - names() == {"person004"}
            People(Gallery.open(folder)).remove("person005")
            assert before - names() == {"person004", "person005"}
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root to become nobody")
def test_a_folder_that_this_user_may_not_enter(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    filled(folder).close()
    folder.chmod(0o700)
    code = (
        "import os, sys\n"
        f"sys.path[:0] = {[str(TESTS), *sys.path]!r}\n"
        "from pathlib import Path\n"
        "from facedb.errors import GalleryError\n"
        "from facedb.identify import FaceDB\n"
        "from facedb.gallery import Gallery\n"
        "from vectors import PIN\n"
        f"folder = Path({str(folder)!r})\n"
        "db = FaceDB(folder)\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "for ask in (\n"
        "    lambda: db.exists, lambda: db.people, lambda: db.info(), lambda: db.threshold,\n"
        "    lambda: db.identify('x.jpg'), lambda: db.enroll('Ada', 'x.jpg'),\n"
        "    lambda: Gallery.create(folder, PIN), lambda: db.compare('x.jpg', 'x.jpg'),\n"
        "):\n"
        "    try:\n        ask()\n"
        "    except GalleryError as error:\n        print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    words = f"{folder}: this user may not enter this folder"
    assert [line.startswith(words) and "-g" in line for line in run.stdout.splitlines()] == [
        True
    ] * 8


def test_read_only_store_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    filled(folder).close()
    store = Store.open(folder)
    store.writable = False
    with pytest.raises(GalleryReadOnly, match="can be queried"), store.writing():
        pass
