"""A run folder's figures, and its report: one HTML file that needs nothing beside it.

What is read: metrics.json, recipe.json, log.csv, steps.csv, embeddings.npz, and of the encoder
bundle its card.
"""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Sequence
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np

from facedb.errors import DependencyMissing, InputError
from facedb.training.geometry import Embedded, validation_pairs
from facedb.training.recipes import Recipe
from facedb.training.validation import LESS_IS_BETTER

try:
    from facedb.training.figures import Columns, distance_box_plot, training_curves, tsne
    from facedb.training.sheet import neighbour_sheet
except ModuleNotFoundError as error:
    raise DependencyMissing(
        f"figures need {error.name}; from a clone: pip install '.[cpu,train]'"
    ) from error

SEEN: Final = "People seen in training"
_CURVES, _DISTANCES, _TSNE, _SHEET = "curves", "distances", "tsne", "neighbours"
_CAPTIONS: Final = {
    _CURVES: "How the training went.",
    _DISTANCES: "Distances of 1,000 pairs, or all there are, half of one person and half of two. "
    "Boxes span the quartiles, whiskers reach 1.5 times as far; what lies beyond is an outlier. "
    "Left, the mated pairs are any two pictures of a person; right, pictures of two photos.",
    _TSNE: "The embeddings in the plane (t-SNE). A person's pictures should lie together, and "
    "apart from all others; the silhouette says by how much, from -1 to 1.",
    _SHEET: "Probes on the left, and the five clean pictures nearest to each, its own photo left "
    "out: the right person in green with a tick, a wrong one in orange with a cross.",
}
_PAIRS: Final = {
    "pair_accuracy": (
        "Pair accuracy",
        "Share of pairs told right when a distance below 0.5 means one person; 50 % is guessing.",
    ),
    "auc": (
        "AUC",
        "How often a pair of one person is nearer than a pair of two; 50 % is guessing.",
    ),
    "eer": (
        "EER",
        "The error where wrongly accepted and wrongly refused are equal; less is better.",
    ),
    "tar_at_far_1e-2": (
        "TAR at FAR 1 %",
        "Share of pairs of one person accepted where 1 % of pairs of two people are.",
    ),
    "tar_at_far_1e-3": ("TAR at FAR 0.1 %", "The same where 0.1 % of pairs of two people are."),
}
_RANKS: Final = {
    "same_photo_rank1": (
        "Rank-1, same photo",
        "Share of distorted pictures whose nearest clean one shows the person; their own photo is "
        "among those, so a copy detector is good at it.",
    ),
    "cross_photo_rank1": (
        "Rank-1, across photos",
        "The same with the own photo left out: this is recognising a person.",
    ),
}
_CROSS: Final = "cross_photo_"
_GROUPS: Final = {
    "Pairs as published: mated ones may be two versions of one photo": _PAIRS,
    "Pairs across photos: mated ones are two photos of a person": {
        _CROSS + name: words for name, words in _PAIRS.items()
    },
    "Who is nearest": _RANKS,
}
_ACROSS: Final = ("same photo", "across photos")
_CSS: Final = """
:root{color-scheme:light;--ink:#1d2126;--pale:#5b6470;--line:#d9dce0;--good:#00734f}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;color:var(--ink);background:#fff;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans","DejaVu Sans",sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .3rem}
h2{font-size:1.2rem;margin:2.4rem 0 .6rem}
p{margin:.4rem 0;max-width:46rem}
.pale,small{color:var(--pale)}
small{display:block;font-size:.85rem;line-height:1.35}
.note{border-left:4px solid #d55e00;background:#fdf3ec;padding:.6rem .9rem;margin:1rem 0}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.4rem .9rem .4rem 0;
border-bottom:1px solid var(--line)}
th{font-weight:600}
.number{text-align:right;padding-right:0;padding-left:.9rem;white-space:nowrap;
font-variant-numeric:tabular-nums}
.group th{padding-top:1.2rem;border-bottom:2px solid var(--ink)}
b{color:var(--good)}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:#f3f4f5;
padding:.1em .3em;overflow-wrap:anywhere}
figure{margin:1.2rem 0 2rem;break-inside:avoid}
div{overflow-x:auto}
img{width:100%;min-width:40rem;height:auto;display:block}
figcaption{color:var(--pale);font-size:.9rem;margin-top:.5rem;max-width:46rem}
@media print{body{max-width:none;padding:0;font-size:10pt}tr{break-inside:avoid}
h2{break-after:avoid}img{max-height:23cm;width:auto;min-width:0;max-width:100%}}
@media (max-width:34rem){table{font-size:.8rem}.number{padding-left:.4rem}}
"""


def draw_all(run: Path, faces: bool = True) -> list[Path]:
    """Draw the figures of a run folder into its `figures/`.

    Args:
        run: a folder that `facedb train` has finished.
        faces: whether to show photographs; without, the neighbour sheet is left out.

    Returns:
        The files.

    Raises:
        InputError: a file of the run is not there.
    """
    note = SEEN if _json(run, "metrics.json")["seen_in_training"] else ""
    files = {name: run / "figures" / f"{name}.png" for name in _CAPTIONS}
    files[_CURVES].parent.mkdir(exist_ok=True)
    seen = read_embedded(run)
    who = seen.embeddings, seen.labels, seen.photos
    sets = {
        "Any two pictures, as published": validation_pairs(*who),
        "Two photos": validation_pairs(*who, cross_photo=True),
    }
    training_curves(_columns(run, "log.csv"), _columns(run, "steps.csv"), files[_CURVES], note)
    distance_box_plot(sets, files[_DISTANCES], note=note)
    tsne(seen.embeddings, seen.labels, seen.names, files[_TSNE], note=note)
    if faces:
        neighbour_sheet(seen, files[_SHEET], note=note)
    else:
        files.pop(_SHEET).unlink(missing_ok=True)
    return list(files.values())


def write_report(run: Path, faces: bool = True) -> Path:
    """Write `report.html` from what lies in a run folder, with the figures drawn already.

    Args:
        run: a folder that `facedb train` has finished.
        faces: whether to show photographs; without, the neighbour sheet is left out.

    Returns:
        The file.

    Raises:
        InputError: a file of the run is not there.
    """
    metrics, recipe = _json(run, "metrics.json"), _json(run, "recipe.json")
    name = escape(run.resolve().name)
    parts = [
        f"<h1>Training run: {name}</h1>",
        _summary(metrics, recipe, _columns(run, "log.csv")),
        "<h2>What it is worth</h2>",
        _headline(metrics),
        "<h2>By distortion</h2>",
        _distortions(metrics),
        "<h2>Figures</h2>",
        _figures(run, faces),
        "<h2>Data</h2>",
        _data(run, metrics),
        "<h2>Recipe</h2>",
        _recipe(recipe),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Training run {name}</title><style>{_CSS}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    part = run / "report.html.part"
    part.write_text(page, encoding="utf-8")
    return part.replace(run / "report.html")


def read_embedded(run: Path) -> Embedded:
    """The validation pictures of a run, from its `embeddings.npz`.

    Raises:
        InputError: the file is not there.
    """
    with np.load(_file(run, "embeddings.npz"), allow_pickle=False) as data:
        return Embedded(
            data["embeddings"],
            data["labels"].astype(np.int64),
            data["photos"].astype(np.int64),
            tuple(data["kinds"].tolist()),
            tuple(data["paths"].tolist()),
            tuple(data["names"].tolist()),
        )


def _summary(metrics: dict[str, Any], recipe: dict[str, Any], log: Columns) -> str:
    select = recipe["select"]
    best = int(np.nanargmax(log[select]))
    waiting = float(np.nanmean(log["waiting"]))
    words = (
        f"{escape(str(recipe['network']))}, loss {escape(str(recipe['loss']))}, "
        f"{recipe['size']} px, {recipe['dim']} numbers. The best of {len(log['epoch'])} epochs by "
        f"{escape(select)}: epoch {int(log['epoch'][best])}, {_percent(log[select][best])}. "
        f"{float(np.nanmedian(log['images_per_second'])):,.0f} pictures a second, "
        f"{_percent(waiting)} of the time waiting for data. The epoch was picked by "
        f"{escape(select)} on these same pictures, which flatters what follows a little."
    )
    return f'<p class="pale">{words}</p>{_seen(metrics)}'


def _seen(metrics: dict[str, Any]) -> str:
    if not metrics["seen_in_training"]:
        return ""
    return (
        f'<p class="note"><strong>{SEEN}.</strong> Some validation people are among those '
        "trained on: these figures say how well people seen in training are told apart, and "
        "nothing about strangers.</p>"
    )


def _headline(metrics: dict[str, Any]) -> str:
    encoder, beside, verdict = metrics["encoder"], _beside(metrics), metrics.get("verdict")
    rows = ["<tr><th></th>" + _numbers(["encoder", *beside], "th") + "</tr>"]
    for title, group in _GROUPS.items():
        rows.append(f'<tr class="group"><th colspan="{len(beside) + 2}">{title}</th></tr>')
        for name, (label, meaning) in group.items():
            others = [figures[name] for figures in beside.values()]
            cells = [_percent(value) for value in (encoder[name], *others)]
            if all(_beats(name, encoder[name], other) for other in others):
                cells[0] = f"<b>{cells[0]}</b>"
            rows.append(f"<tr><td>{label}<small>{meaning}</small></td>{_numbers(cells)}</tr>")
    return (
        f"<p>{metrics['n']:,} validation pictures of {metrics['people']:,} people. The thumbnail "
        "is the baseline: the picture in 16 x 16 grey pixels, which knows nothing of faces. "
        + ("Before is the encoder that training began from. " if "begun" in metrics else "")
        + "Bold where the encoder is better than what stands beside it; a dash where these "
        "pictures cannot tell.</p>"
        + (f'<p class="note">{escape(verdict)}</p>' if verdict else "")
        + _table(rows)
    )


def _beside(metrics: dict[str, Any], what: str = "") -> dict[str, Any]:
    """Name -> figures of what the encoder is compared with; `what` is "" or "_by_distortion"."""
    names = {"before": "begun", "thumbnail": "thumbnail"}
    return {name: metrics[key + what] for name, key in names.items() if key + what in metrics}


def _beats(name: str, encoder: float | None, other: float | None) -> bool:
    if encoder is None or other is None:
        return False
    return encoder < other if name in LESS_IS_BETTER else encoder > other


def _distortions(metrics: dict[str, Any]) -> str:
    compared = {"encoder": metrics["by_distortion"], **_beside(metrics, "_by_distortion")}
    span = f'<th class="number" colspan="{len(compared)}">'
    rows = ["<tr><th></th>" + "".join(f"{span}{words}</th>" for words in _ACROSS) + "</tr>"]
    rows.append("<tr><th></th>" + _numbers([*compared] * len(_ACROSS), "th") + "</tr>")
    for kind in sorted(compared["encoder"], key=lambda kind: (kind != "clean", kind)):
        tables = compared.values()
        cells = [_percent(by.get(kind, {}).get(n)) for n in _RANKS for by in tables]
        rows.append(f"<tr><td>{escape(kind)}</td>{_numbers(cells)}</tr>")
    return "<p>Rank-1 of the pictures of each kind among the clean ones.</p>" + _table(rows)


def _figures(run: Path, faces: bool) -> str:
    shown = []
    for name, caption in _CAPTIONS.items():
        file = run / "figures" / f"{name}.png"
        if not file.exists() or (name == _SHEET and not faces):
            continue
        data = base64.b64encode(file.read_bytes()).decode()
        shown.append(
            f'<figure><div><img alt="{name}" src="data:image/png;base64,{data}"></div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return "\n".join(shown)


def _data(run: Path, metrics: dict[str, Any]) -> str:
    seen, log = read_embedded(run), _columns(run, "log.csv")
    photos = np.unique(np.stack([seen.labels, seen.photos]), axis=1)
    several = int((np.bincount(photos[0]) > 1).sum())
    rows = {
        "Validated on": f"{metrics['n']:,} pictures, {photos.shape[1]:,} photos with their "
        f"versions, of {metrics['people']:,} people, {several:,} of them with two photos or more",
        "Kinds": ", ".join(escape(kind) for kind in sorted(set(seen.kinds))),
        "Positives across photos": f"{_percent(float(np.nanmean(log['crossing'])))} of the pairs "
        "of one person in training showed two photos, the others two versions of one",
    }
    card = run / "encoder" / "encoder.json"
    if card.exists():
        training = json.loads(card.read_text(encoding="utf-8"))["training"]
        rows = {"Trained on": escape(training["data"]), **rows, "Terms": escape(training["terms"])}
    lines = [f"<tr><th>{name}</th><td>{words}</td></tr>" for name, words in rows.items()]
    return _table(lines)


def _recipe(recipe: dict[str, Any]) -> str:
    meaning = {entry.name: entry.metadata["help"] for entry in fields(Recipe)}
    rows = [
        f"<tr><td><code>{escape(name)}</code><small>{escape(meaning.get(name, ''))}</small></td>"
        f"<td>{escape(str(value)) or '&ndash;'}</td></tr>"
        for name, value in recipe.items()
    ]
    return _table(rows)


def _table(rows: Sequence[str]) -> str:
    return "<div><table>\n" + "\n".join(rows) + "\n</table></div>"


def _numbers(cells: Sequence[str], tag: str = "td") -> str:
    return "".join(f'<{tag} class="number">{cell}</{tag}>' for cell in cells)


def _percent(share: float | None) -> str:
    return "&ndash;" if share is None else f"{100 * share:.1f} %"


def _columns(run: Path, name: str) -> Columns:
    with _file(run, name).open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    table = np.array([[float(cell or "nan") for cell in row] for row in rows], dtype=np.float64)
    return dict(zip(header, table.reshape(-1, len(header)).T, strict=True))


def _json(run: Path, name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(_file(run, name).read_text(encoding="utf-8"))
    return read


def _file(run: Path, name: str) -> Path:
    file = run / name
    if not file.exists():
        raise InputError(f"{file}: not there; facedb train writes it when a run ends")
    return file
