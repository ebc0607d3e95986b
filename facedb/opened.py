"""What a gallery is worked with, each opened when it is first needed."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

from facedb.arguments import folder_of_gallery
from facedb.encoder import Encoder, open_encoder
from facedb.errors import EncoderError, EncoderMismatch
from facedb.faces import WITHOUT_FILE, Detector, open_detector
from facedb.gallery import Gallery
from facedb.operating import Operating, operating
from facedb.pinning import gone_encoder, new_pin, other_detector, other_encoder
from facedb.settings import Settings
from facedb.store import Pin, holds_store
from facedb.typed import DEFAULT_GALLERY


class Opened:
    """Store and index, encoder, detector and threshold, as the settings and the gallery want them.

    Threads may ask at once.
    """

    def __init__(
        self, folder: str | os.PathLike[str] = DEFAULT_GALLERY, settings: Settings | None = None
    ) -> None:
        self.folder = folder_of_gallery(folder)
        self.settings = settings or Settings()
        self._lock = threading.RLock()
        self._gallery: Gallery | None = None
        self._encoder: Encoder | None = None
        self._detector: Detector | None = None
        self._operating: tuple[int, Operating] | None = None

    def close(self) -> None:
        """Let go of the gallery's files."""
        with self._lock:
            if self._gallery is not None:
                self._gallery.close()
            # Another gallery may be there next time.
            self._gallery = self._encoder = self._detector = self._operating = None

    @property
    def exists(self) -> bool:
        """Whether there is a gallery in the folder; GalleryError where this user may not look."""
        return holds_store(self.folder)

    @property
    def gallery(self) -> Gallery:
        """The gallery that is in the folder now.

        Raises:
            GalleryMissing: nobody was ever enrolled, or it is gone.
            EncoderMismatch: another was put in its place, made by another encoder or detector.
        """
        with self._lock:
            gallery = self._gallery
            if gallery is None or not gallery.store.in_place():
                self._gallery = gallery = self._opened(gallery)
            return gallery

    def _opened(self, before: Gallery | None) -> Gallery:
        gallery = Gallery.open(self.folder, self.settings.device)
        if before is None:
            return gallery
        try:
            # Kept where it raises, and so for ever: photos may have been encoded already.
            gallery.store.check_encoder(before.store.pin.made_by)
        except EncoderMismatch:
            gallery.close()
            raise
        before.close()
        self._operating = None
        return gallery

    @property
    def encoder(self) -> Encoder:
        """The encoder that was asked for, else the gallery's, else the bundled one.

        Raises:
            EncoderError: it cannot be opened.
            EncoderMismatch: the gallery holds templates of another.
        """
        with self._lock:
            if self._encoder is None:
                pin = self.gallery.store.pin if self.exists else None
                spec = self.settings.encoder or (pin.encoder if pin else "bundled")
                try:
                    encoder = open_encoder(spec, self.settings.device)
                except EncoderError as error:
                    if pin is None or self.settings.encoder is not None:
                        raise
                    raise gone_encoder(self.folder, pin, error) from error
                if pin is not None and pin.encoder_fingerprint != encoder.fingerprint:
                    raise other_encoder(self.folder, pin, encoder)
                self._encoder = encoder
            return self._encoder

    @property
    def detector(self) -> Detector:
        """The detector that was asked for, else the gallery's, FACEDB_DETECTOR's, the bundled one.

        Raises:
            DetectorError: it cannot be used.
            EncoderMismatch: the gallery's crops were cut by another.
        """
        with self._lock:
            if self._detector is None:
                pin = self.gallery.store.pin if self.exists else None
                spec = self._detector_spec(pin)
                detector = open_detector(spec, self.encoder.input_size)
                if pin is not None and pin.detector_fingerprint != detector.fingerprint:
                    raise other_detector(self.folder, pin, detector, spec)
                self._detector = detector
            return self._detector

    def _detector_spec(self, pin: Pin | None) -> str:
        usual = os.environ.get("FACEDB_DETECTOR") or "bundled"
        named = self.settings.detector
        if named is None and pin is None and self.encoder.alignment == "whole":
            return "whole"
        if named is not None or pin is None:
            return named or usual
        # Its file may have moved since; FACEDB_DETECTOR may know where to.
        gone = pin.detector not in WITHOUT_FILE and not os.path.exists(pin.detector)
        return usual if gone and os.environ.get("FACEDB_DETECTOR") else pin.detector

    @property
    def operating(self) -> Operating:
        """By which threshold it decides, and what is known of that; as of the last commit.

        Raises:
            InputError: the settings ask for an FPIR that was not measured.
        """
        return self.overridden(self._usual())

    def _usual(self) -> Operating:
        """What decides when the settings have no word in it."""
        with self._lock:
            store = self.gallery.store if self.exists else None
            revision = -1 if store is None else store.revision()
            if self._operating is None or self._operating[0] != revision:
                found = operating(store, self.encoder, self.settings.aggregation)
                self._operating = revision, found
            return self._operating[1]

    def overridden(self, found: Operating) -> Operating:
        """What decides when the settings have a word in it."""
        if self.settings.threshold is not None:
            return replace(found, threshold=self.settings.threshold)
        if self.settings.fpir is not None:
            return replace(found, threshold=found.at(self.settings.fpir))
        return found

    @property
    def threshold(self) -> float | None:
        """The largest distance that accepts, in [0, 2]; None when nobody calibrated one."""
        return self.operating.threshold

    def _make(self) -> None:
        """Make the gallery where there is none.

        Raises:
            EncoderMismatch: somebody else just made one, with another encoder or detector.
        """
        with self._lock:
            if self.exists:
                return
            encoder, detector = self.encoder, self.detector
            spec = self._detector_spec(None)
            pin = new_pin(encoder, detector, spec)
            if self._gallery is not None:  # whose folder is gone
                self._gallery.close()
            self._gallery = Gallery.create(
                self.folder, pin, self.settings.index, self.settings.device
            )
            # Another process may have made it first, with an encoder or detector of its own.
            made = self._gallery.store.pin
            if made.encoder_fingerprint != pin.encoder_fingerprint:
                raise other_encoder(self.folder, made, encoder)
            if made.detector_fingerprint != pin.detector_fingerprint:
                raise other_detector(self.folder, made, detector, spec)
