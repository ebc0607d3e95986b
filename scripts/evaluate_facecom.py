"""The FACECOM layout with detection: the bundled encoder beside two MobileFaceNets, by distortion.

Claim: how well photos of the recipe's own validation list, and distorted copies of them, are
recognised: by the very photo (copy detection), and across photos.
Method: a folder of `<person>/<photo>` and `<person>/distortion/<photo>_<kind>.jpg`, as
scripts/make_facecom.py builds it. Gallery: all clean photos. Same photo: the photo that a copy was
made of is enrolled. Across photos: it is not, and a probe counts when another of its person is.
Strangers are the same probes, their person held out of the gallery. The same figures as of
`facedb evaluate FOLDER`. A probe without a face is a miss; intervals are 95 %, by person.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from command import Script
from measuring import RESULTS, SHARED, circumstances, finish, table
from peers import PEERS, by_dlib, crops_of, detector_of, embedded, open_peer

from facedb.aggregation import DEFAULT_AGGREGATION
from facedb.encoder import Encoder
from facedb.evaluation.distortions import DistortionRow, distortion_matrix
from facedb.evaluation.samples import Eyes, read_samples
from facedb.evaluation.trial import enrolled_from
from facedb.faces import open_detector
from facedb.photos import walk_people
from facedb.unseen import CropsOnly


@click.command(cls=Script, help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--models", type=click.Path(path_type=Path), default=SHARED / "models")
@click.option("--detector", default="bundled", show_default=True, help="Of the bundled encoder.")
@click.option("--peer", "peers", multiple=True, default=PEERS, show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Scratch folder.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "evaluation-facecom.json")
def main(
    folder: Path, models: Path, detector: str, peers: tuple[str, ...], cache: Path, out: Path
) -> None:
    begun, opened = circumstances(0), open_detector(detector)
    entries = walk_people(folder).entries
    photos = [Path(entry.path) for entry in entries]
    # Names, digests and origins as `facedb evaluate` reads them; the vectors are the peers'.
    read = read_samples(entries, Eyes(CropsOnly(), _nothing()))
    figures: dict[str, Any] = {}
    for peer in peers:
        if peer == "dlib":
            seen = by_dlib(photos, cache, "facecom")
        else:
            crops, shown = crops_of(photos, detector_of(peer, opened, models), cache, "facecom")
            seen = embedded(crops, shown, open_peer(peer, models), cache, "facecom")
        samples = replace(read, vectors=seen.vectors, shown=seen.shown)
        enrolled = enrolled_from(samples.take(samples.kinds == ""))
        rows = distortion_matrix(enrolled, samples, DEFAULT_AGGREGATION)
        distorted = [row for row in rows if row.kind != "clean"]
        figures[peer] = {
            "people": len(enrolled.names),
            "photos": len(enrolled.attempts[0]),
            "rows": [asdict(row) for row in rows],
            "mean": {
                name: float(np.mean([getattr(row, name) for row in distorted]))
                for name in ("same_photo", "cross_photo", "dir_1", "dir_10")
            },
        }
        show(peer, rows)
        # After each peer: what takes an hour is not lost with the last of them.
        named = {"detector": opened.fingerprint, "aggregation": DEFAULT_AGGREGATION}
        finish({**begun, **named, **figures}, [], out)


def _nothing() -> Encoder:
    return Encoder(
        "nothing",
        "nothing",
        "nothing",
        1,
        None,
        "cpu",
        lambda crops: np.ones((len(crops), 1), "f4"),
    )


def show(peer: str, rows: tuple[DistortionRow, ...]) -> None:
    head = ("", "probes", "no face", "same photo", "across", "DIR 1 %", "DIR 10 %")
    lines = [
        (
            row.kind,
            row.probes,
            row.without_face,
            row.same_photo,
            row.cross_photo,
            row.dir_1,
            row.dir_10,
        )
        for row in rows
    ]
    table(peer, [head, *lines])


if __name__ == "__main__":
    main()
