"""FaceDB: photo -> faces -> embeddings -> gallery -> decision.

import facedb

with facedb.open("family.gallery") as db:
    db.index_folder("photos")
    for face in db.identify("party.jpg"):
        print(face.identity, face.candidates[0].distance)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING

from facedb.answers import answers, compared
from facedb.arguments import Paths, as_path, as_paths, check_fpir, check_question, folder_of_people
from facedb.describe import describe
from facedb.doubts import Doubts, doubts
from facedb.encoder import Encoder, open_encoder
from facedb.enrollment import barren, enroll_photos, index_folder
from facedb.errors import GalleryMissing, InputError
from facedb.faces import open_detector
from facedb.names import checked_name
from facedb.opened import Opened
from facedb.operating import shipped
from facedb.outcome import IndexReport
from facedb.people import People
from facedb.photos import PeopleWalk, PhotoLike, PhotoWalk, as_photo, walk_people, walk_photos
from facedb.photos.reasons import NO_FACE
from facedb.pinning import new_pin
from facedb.pipeline import Encoded, encode_photo, encode_photos
from facedb.reencode import ReencodeReport, reencode
from facedb.settings import Settings
from facedb.store import Measurements
from facedb.typed import DEFAULT_GALLERY
from facedb.types import Comparison, GalleryInfo, Identification, PhotoAnswer, Progress, Which

if TYPE_CHECKING:
    from facedb.evaluation.calibrate import CalibrationReport

__all__ = ["DEFAULT_GALLERY", "FaceDB", "PhotoLike", "Settings", "open"]


class FaceDB(Opened):
    """A gallery with the encoder and the detector it was made with.

    Nothing heavy is loaded before it is needed, and nothing is written before a photo can be
    enrolled. Threads may call `identify` at once, and so may processes forked from this one: what
    is loaded before the fork is shared. Fork while no other thread is using it.
    """

    def __enter__(self) -> FaceDB:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def people(self) -> People:
        """Who is enrolled: list, show, rename, merge, remove."""
        return People(self.gallery)

    def index_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        prune: bool = False,
        progress: Progress | None = None,
    ) -> IndexReport:
        """Enroll every photo of a folder that holds a sub-folder per person.

        Args:
            folder: nothing in it is moved or changed.
            prune: also remove the templates whose files below `folder` are gone.
            progress: called with photos done and photos to do.
        """
        top = folder_of_people(folder)
        if not self.exists and (report := self._make_for(walk_people(top), progress)) is not None:
            return report
        return index_folder(
            self.gallery,
            self.encoder,
            self.detector,
            top,
            threshold=lambda: self._usual().threshold,
            prune=prune,
            progress=progress,
        )

    def enroll(
        self,
        name: str,
        photos: Paths,
        progress: Progress | None = None,
    ) -> IndexReport:
        """Enroll photos of one person: files, or folders of them.

        Of several faces in a photo, the largest near the middle is taken.
        """
        name, paths = checked_name(name), list(as_paths(photos))
        if not self.exists and (report := self._make_for(walk_photos(paths), progress)) is not None:
            return report
        with ThreadPoolExecutor(1) as beside:
            if any(map(os.path.exists, paths)):
                beside.submit(self.gallery.load)  # doubts will ask it
            return enroll_photos(
                self.gallery,
                self.encoder,
                self.detector,
                name,
                paths,
                threshold=lambda: self._usual().threshold,
                progress=progress,
            )

    def doubts(self, name: str | None = None) -> Doubts:
        """Which enrolled photos are worth a look: poor, of several faces, or like somebody else.

        Args:
            name: only this person's.

        Raises:
            UnknownIdentity.
        """
        store = self.gallery.store
        templates = store.templates() if name is None else self.people.show(name).templates
        return doubts(self.gallery, templates, self._usual().threshold)

    def remove(self, name: str, photos: Paths | None = None) -> int:
        """Remove a person for good, or some of their photos; returns how many templates went.

        Raises:
            UnknownIdentity, InputError (one of `photos` is none of theirs; nothing is removed).
        """
        if photos is None:
            return self.people.remove(name).templates
        return self.people.remove_photos(name, as_paths(photos)).templates

    def identify(
        self,
        photo: PhotoLike,
        k: int = 5,
        faces: Which = "all",
        threshold: float | None = None,
    ) -> list[Identification]:
        """Who is in a photo.

        Args:
            photo: a file, its bytes or a stream of them, uint8[H, W, 3] RGB pixels, or a Photo.
            k: how many identities to name, nearest first.
            faces: all of them, or the one that counts: the largest near the middle.
            threshold: the largest distance that accepts, instead of the calibrated one.

        Returns:
            One Identification a face, the one that counts first; none for a photo without faces.

        Raises:
            PhotoError: the photo cannot be read.
        """
        check_question(k, faces, threshold)
        _ = self.gallery
        encoded = encode_photo(as_photo(photo), self.detector, self.encoder, faces)
        return list(self._answers([encoded], k, threshold)[0].faces)

    def identify_photos(
        self,
        paths: Paths,
        k: int = 5,
        faces: Which = "all",
        threshold: float | None = None,
    ) -> Iterator[PhotoAnswer]:
        """Who is in many photo files; one answer a file, in order. Bad files do not stop it.

        It works in blocks: of paths that come slowly, some hundred are read before the first
        answer. Where one is to be answered before the next is known, call it for each.

        Raises:
            GalleryMissing, InputError: at the call, before the first answer is asked for.
        """
        check_question(k, faces, threshold)
        _ = self.gallery  # missing, it is the first thing to say
        return self._identified(as_paths(paths), k, faces, threshold)

    def _identified(
        self, paths: Iterator[str], k: int, faces: Which, threshold: float | None
    ) -> Iterator[PhotoAnswer]:
        with ThreadPoolExecutor(1) as beside:
            beside.submit(self.gallery.load)
            encoded = encode_photos(paths, self.detector, self.encoder, faces)
            while block := list(islice(encoded, 64)):
                yield from self._answers(block, k, threshold)

    def compare(self, one: PhotoLike, other: PhotoLike) -> Comparison:
        """Whether the faces that count in two photos are of one person; needs no gallery.

        The threshold is the encoder's for a gallery of one person, not the gallery's.

        Raises:
            InputError: a photo shows no face.
        """
        _ = self.detector  # missing, it is the first thing to say
        return compared(
            self._largest(one), self._largest(other), self.overridden(shipped(self.encoder, 1))
        )

    def calibrate(
        self,
        strangers: str | os.PathLike[str] | None,
        fpir: float = 0.01,
        *,
        keep: bool = False,
        progress: Progress | None = None,
    ) -> CalibrationReport:
        """Find the threshold at which at most `fpir` of strangers are accepted, and decide by it.

        Args:
            strangers: a folder of photos of people who are not enrolled, a folder per person or
                loose photos of different people; None holds the enrolled out in turn.
            fpir: in (0, 1); it needs 3 / fpir different strangers.
            keep: keep the strangers' embeddings in the gallery, so that doing it again is quick.

        Raises:
            InputError: the strangers are too few, nobody is enrolled, or `fpir` is no such share.
        """
        from facedb.evaluation.calibrate import calibrate
        from facedb.evaluation.samples import Eyes

        check_fpir(fpir)
        folder, eyes = None, None
        if strangers is not None:
            kept = Measurements(self.gallery.store) if keep else None
            folder, eyes = as_path(strangers), Eyes(self.detector, self.encoder, kept)
        return calibrate(self.gallery, eyes, folder, fpir, self.settings.aggregation, progress)

    def forget_calibration(self) -> bool:
        """Decide by the encoder's own threshold again; whether there was a calibration."""
        return Measurements(self.gallery.store).drop_operating_points() > 0

    def info(self) -> GalleryInfo:
        """What the gallery holds and was made with."""
        return describe(self.gallery, self.encoder, self.operating)

    def reencode(
        self, *, drop_missing: bool = False, progress: Progress | None = None
    ) -> ReencodeReport:
        """Make every template anew by the encoder and detector of the settings.

        Without an encoder in the settings the bundled one is taken; without a detector, the
        gallery's. The old templates answer until all new ones are there.

        Args:
            drop_missing: drop templates whose photo is gone, has changed, or shows no face that can
                be made out.

        Raises:
            InputError: there are such templates, and they are not to be dropped.
        """
        encoder = open_encoder(self.settings.encoder or "bundled", self.settings.device)
        store = self.gallery.store
        spec = self.settings.detector or _suiting(encoder, store.pin.detector)
        detector = open_detector(spec, encoder.input_size)
        report = reencode(
            store,
            encoder,
            detector,
            new_pin(encoder, detector, spec),
            drop_missing=drop_missing,
            progress=progress,
        )
        self.close()
        with self._lock:
            self._encoder, self._detector = encoder, detector
        self.gallery.rebuild()
        return report

    def _largest(self, photo: PhotoLike) -> Encoded:
        loaded = as_photo(photo)
        encoded = encode_photo(loaded, self.detector, self.encoder, "largest")
        if not encoded.faces:
            raise InputError(f"{loaded.path}: {NO_FACE}")
        return encoded

    def _answers(
        self, encoded: list[Encoded], k: int, threshold: float | None
    ) -> list[PhotoAnswer]:
        try:
            return self._found(encoded, k, threshold)
        except GalleryMissing:  # another was put in its place meanwhile, or none
            return self._found(encoded, k, threshold)

    def _found(self, encoded: list[Encoded], k: int, threshold: float | None) -> list[PhotoAnswer]:
        by = self.operating if threshold is None else replace(self.operating, threshold=threshold)
        return answers(encoded, self.gallery, by, self.settings.aggregation, k)

    def _make_for(
        self, walk: PeopleWalk | PhotoWalk, progress: Progress | None
    ) -> IndexReport | None:
        """Make the gallery for these photos; if none can be enrolled, the report, and no gallery.

        Removing an empty one would be no way: another process may be enrolling into it.
        """
        report = barren(self.encoder, self.detector, walk, progress)
        if report is None:
            self._make()
        return report


def _suiting(encoder: Encoder, detector: str) -> str:
    """What to cut an encoder's crops with, where the gallery's were cut with `detector`."""
    if encoder.alignment == "whole":
        return "whole"
    return os.environ.get("FACEDB_DETECTOR", "") if detector == "whole" else detector


def open(
    folder: str | os.PathLike[str] = DEFAULT_GALLERY, settings: Settings | None = None
) -> FaceDB:
    """Open the gallery in `folder`; it is made when the first photo is enrolled."""
    return FaceDB(folder, settings)
