"""How far encoders agree with their teacher, on faces they learned from and on other people's.

Claim: what an encoder lacks is people, as much as it lacks steps.
Method: the mean cosine of its embedding and the teacher's, of clean crops: drawn from those that it
was trained on, and of all the people held out. Every encoder ever bundled, and more bundles, whose
distance to the first of them is measured crop by crop, which errs less than two means do.

    python scripts/measure_agreement.py runs/celeba --more runs/best/encoder
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from command import Script
from evaluate_line import bundles_of_history
from measuring import RESULTS, TEACHER, circumstances, finish, rounded, table, unit
from numpy.typing import NDArray

from facedb.encoder import Encoder, open_encoder
from facedb.faces import open_detector
from facedb.photos import walk_people
from facedb.training.data import read_faces
from facedb.training.teacher import embed, open_teacher
from facedb.types import Embeddings, Pixels

SIDE = 112


def crops_of(folder: Path, most: int, seed: int) -> Pixels:
    """uint8[n, SIDE, SIDE, 3] of aligned crops, drawn where there are more than `most`."""
    faces = read_faces(walk_people(folder).entries, open_detector("none", SIDE), SIDE)
    return faces.crops[np.random.default_rng(seed).permutation(len(faces))[:most]]


def cosines(encoder: Encoder, crops: Pixels, said: Embeddings) -> NDArray[np.float64]:
    """float64[n], to what the teacher said of each crop."""
    found: NDArray[np.float64] = (unit(embed(encoder, crops)) * said).sum(axis=1, dtype=np.float64)
    return found


def agreement(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean, standard error and tenth percentile."""
    return {
        "crops": len(values),
        "mean": rounded(float(values.mean())),
        "standard_error": rounded(float(values.std(ddof=1) / len(values) ** 0.5)),
        "p10": rounded(float(np.percentile(values, 10))),
    }


@click.command(cls=Script, help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--teacher", type=click.Path(path_type=Path), default=TEACHER)
@click.option("--more", multiple=True, type=click.Path(path_type=Path, exists=True))
@click.option("--most", default=1500, show_default=True, help="Crops that it was trained on.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "agreement.json")
def main(
    data: Path, teacher: Path, more: tuple[Path, ...], most: int, seed: int, out: Path
) -> None:
    result = circumstances(seed) | {"teacher": teacher.name}
    asked = open_teacher(str(teacher)).encoder
    crops = {
        "trained": crops_of(data / "train", most, seed),
        "held_out": crops_of(data / "val", 10**6, seed),
    }
    said = {name: unit(embed(asked, some)) for name, some in crops.items()}
    rows: list[tuple[object, ...]] = [("cosine to the teacher", *crops, "apart")]
    result["encoders"] = []
    first: dict[str, NDArray[np.float64]] = {}
    with TemporaryDirectory() as folder:
        for bundle in (*bundles_of_history(Path(folder)), *more):
            encoder = open_encoder(str(bundle))
            name = encoder.name if bundle not in more else bundle.parent.name
            found = {part: cosines(encoder, crops[part], said[part]) for part in crops}
            row = {part: agreement(values) for part, values in found.items()}
            means = [row[part]["mean"] for part in crops]
            result["encoders"].append({"encoder": name} | row)
            if first:
                apart = {part: agreement(found[part] - first[part]) for part in crops}
                result["encoders"][-1] |= {"above_the_first_of_more": apart}
            elif bundle in more:
                first = found
            rows.append((name, *(f"{mean:.3f}" for mean in means), f"{means[0] - means[1]:.3f}"))
    table("agreement", rows)
    finish(result, [], out)


if __name__ == "__main__":
    main()
