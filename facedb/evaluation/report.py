"""An evaluation as one HTML page: no network, no scripts, good on a screen and on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from facedb.errors import InputError
from facedb.evaluation.charts import (
    BLUE,
    ORANGE,
    Axis,
    Curve,
    heat_table,
    histogram,
    line_chart,
    percent,
)
from facedb.evaluation.curves import cmc, det
from facedb.evaluation.intervals import Interval
from facedb.evaluation.lfw import LfwFigures, OpenSetFigures
from facedb.evaluation.mistakes import mistakes_html
from facedb.evaluation.protocol import EvaluationReport
from facedb.evaluation.trial import Trial

_STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1020px;padding:28px 20px 60px;background:#fff;color:#1d2126;
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
h1{font-size:26px;line-height:1.2;margin:0 0 4px}h2{font-size:18px;margin:34px 0 10px}
p{margin:6px 0;max-width:70ch}.pale{color:#5b6470}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:6px 14px 6px 0;text-align:right;border-bottom:1px solid #d5d8dc;font-weight:normal}
thead th{color:#5b6470;font-size:13px;vertical-align:bottom}
th[scope=row],td.words{text-align:left}td.value{font-weight:600}
td,th[scope=row]{white-space:nowrap}td.words{white-space:normal}
.heat th,.heat td{padding:7px 12px}.heat td{border:2px solid #fff}.heat .none{color:#5b6470}
.scroll{overflow-x:auto}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:22px}
figure{margin:0;break-inside:avoid}svg{width:100%;height:auto;display:block}
figcaption{font-weight:600;margin-bottom:4px}
.mistakes{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:18px}
.mistake{break-inside:avoid;font-size:13px}.pair{display:flex;gap:6px;margin-bottom:4px}
.pair img,.gone{width:112px;height:112px;border-radius:6px;background:#e9ebee}
.gone{display:flex;align-items:center;justify-content:center;color:#5b6470;font-size:12px}
code{font:12px/1.4 ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
@media(max-width:640px){td.pale{display:none}th,td{padding-right:10px}}
@media print{body{max-width:none;padding:0}h2{break-after:avoid}a{color:inherit}}
"""


def write_report(report: EvaluationReport, trial: Trial, file: str, *, faces: bool = True) -> None:
    """Write the page.

    Args:
        report, trial: what `run_evaluation` returned.
        file: the page, an .html.
        faces: show the worst mistakes as pictures, with names.

    Raises:
        InputError: the file cannot be written.
    """
    page = _page(report, trial, faces)
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from error


def _page(report: EvaluationReport, trial: Trial, faces: bool) -> str:
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width,initial-scale=1'>",
        f"<title>facedb evaluation: {escape(report.encoder)}</title>",
        f"<style>{_STYLE}</style></head><body>",
        *_head(report),
        *_lfw(report.lfw),
        *_charts(report, trial),
        *_matrix(report),
        *mistakes_html(trial, report.threshold, faces),
        *_settings(report),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _head(report: EvaluationReport) -> list[str]:
    rows = [
        (f"rank-{k}", share, f"of the mated probes: their person is {_among(k)}")
        for k, share in report.rank.items()
    ]
    if report.macro_f1 is not None:
        rows.append(("macro-F1", report.macro_f1, "of the nearest person, the mean over people"))
    if report.tpir is not None:
        rows.append(("tpir", report.tpir, f"identified at threshold {report.threshold:.3f}"))
    if report.fpir is not None:
        rows.append(("fpir", report.fpir, f"of strangers accepted at {report.threshold:.3f}"))
    for fpir, share in report.dir.items():
        words = f"identified where {percent(fpir)} of strangers are accepted"
        rows.append((f"dir at {fpir:g}", share, words))
    lines = [
        f"<h1>Evaluation of {escape(report.encoder)}</h1>",
        f"<p class='pale'>{report.identities:,} people enrolled by {report.templates:,} photos; "
        f"{report.mated:,} mated probes, {report.non_mated:,} of strangers; protocol "
        f"{escape(report.protocol)}; strangers: {escape(report.strangers)}; "
        f"{_threshold(report)}.</p>",
        "<h2>How often it is right</h2><div class='scroll'><table><thead><tr><th></th><th></th>",
        "<th>95 %, by person</th><th></th></tr></thead><tbody>",
    ]
    for name, share, words in rows:
        lines.append(
            f"<tr><th scope='row'>{_title(name)}</th><td class='value'>{_number(share)}</td>"
            f"<td>{_range(report.intervals.get(name))}</td><td class='words pale'>{words}</td></tr>"
        )
    return [*lines, "</tbody></table></div>"]


def _among(k: int) -> str:
    return "the nearest" if k == 1 else f"among the {k} nearest"


def _threshold(report: EvaluationReport) -> str:
    if report.threshold is None:
        return "no threshold"
    return f"accepts up to a distance of {report.threshold:.3f}"


def _title(name: str) -> str:
    head, _, fpir = name.partition(" at ")
    words = head.upper() if head in ("tpir", "fpir", "dir") else head
    return f"{words} at FPIR {percent(float(fpir))}" if fpir else words


def _number(share: float) -> str:
    return f"{100 * share:.2f} %" if math.isfinite(share) else "&ndash;"


def _range(interval: Interval | None) -> str:
    if interval is None or not math.isfinite(interval.low):
        return ""
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f} %"


def _lfw(lfw: LfwFigures | None) -> list[str]:
    if lfw is None:
        return []
    rows = []
    if lfw.pairs is not None:
        folds, error = lfw.pairs.accuracy, 100 * lfw.pairs.accuracy_se
        words = f"of {lfw.pairs.pairs:,} in {len(folds)} folds, standard error {error:.2f} points"
        rows.append(("pairs told right", _number(sum(folds) / len(folds)), words))
        rows.append(("EER", _number(lfw.pairs.eer), f"of the pairs; AUC {lfw.pairs.auc:.4f}"))
        rows.append(("TMR at FMR 0.1 %", _number(lfw.pairs.tmr_at_fmr), "of the pairs"))
    everybody = lfw.identification
    words = f"{everybody.identities:,} people by their first photos, {everybody.probes:,} probes"
    rows += [(f"rank-{k}", _number(share), words) for k, share in everybody.rank.items()]
    draws = f"mean of {len(lfw.resplits)} draws of the open set"
    for name, shares in _of_draws(lfw.resplits).items():
        ends = f"{draws}, from {_number(min(shares))} to {_number(max(shares))}"
        rows.append((name, _number(sum(shares) / len(shares)), ends))
    lines = ["<h2>Labeled Faces in the Wild</h2><div class='scroll'><table><tbody>"]
    for name, value, words in rows:
        lines.append(
            f"<tr><th scope='row'>{name}</th><td class='value'>{value}</td>"
            f"<td class='words pale'>{words}</td></tr>"
        )
    return [*lines, "</tbody></table></div>"]


def _of_draws(draws: Sequence[OpenSetFigures]) -> dict[str, list[float]]:
    """What is measured in every draw: rank-1, and DIR at each FPIR."""
    found = {"rank-1": [drawn.rank[1] for drawn in draws]}
    for fpir in draws[0].dir if draws else ():
        found[_title(f"dir at {fpir:g}")] = [drawn.dir[fpir] for drawn in draws]
    return {name: shares for name, shares in found.items() if shares}


def _charts(report: EvaluationReport, trial: Trial) -> list[str]:
    mated, outcome = trial.mated, trial.outcome
    figures = []
    whole = np.linspace(0, 1, 6).tolist()
    if mated.any():
        most = max(2, min(20, len(trial.enrolled.names)))
        ranks = np.arange(1, most + 1, dtype=np.float64)
        across = Axis("rank", 1, most, sorted({1, *range(5, most + 1, 5)}), lambda at: f"{at:.0f}")
        up = Axis("mated probes found", 0, 1, whole, percent)
        curve = Curve("CMC", ranks, cmc(outcome.ranks[mated], most))
        probes = f"{int(mated.sum()):,} mated probes"
        both = f"{probes} and {len(trial.stranger_distances):,} of strangers"
        title = f"Found among the k nearest (CMC), {probes}"
        figures.append((title, line_chart(across, up, curve)))
        figures.append((f"Misses and false acceptances (DET), {both}", _det(trial)))
    figures.append(_distances(trial, report.threshold))
    return [
        "<h2>Curves</h2><div class='charts'>",
        *(f"<figure><figcaption>{title}</figcaption>{svg}</figure>" for title, svg in figures),
        "</div>",
    ]


def _det(trial: Trial) -> str:
    ranks, own = trial.outcome.ranks[trial.mated], trial.outcome.own[trial.mated]
    _, accepted, missed = det(ranks, own, trial.stranger_distances)
    least = 10.0 ** math.floor(math.log10(1 / max(10, len(trial.stranger_distances))))
    marks = [10.0**power for power in range(round(math.log10(least)), 1)]
    across = Axis("FPIR: strangers accepted", least, 1, marks, percent, logarithmic=True)
    up = Axis("FNIR: mated probes missed", 0, 1, np.linspace(0, 1, 6).tolist(), percent)
    return line_chart(across, up, Curve("DET", accepted, missed, steps=True))


def _distances(trial: Trial, threshold: float | None) -> tuple[str, str]:
    own, others = trial.outcome.own[trial.mated], trial.stranger_distances
    own, others = own[np.isfinite(own)], others[np.isfinite(others)]
    shown = [("own person", own, BLUE), ("strangers, nearest", others, ORANGE)]
    marks = np.linspace(0, 2, 9).tolist()
    across = Axis("distance", 0, 2, marks, lambda at: f"{at:g}")
    title = f"Distances of {len(own):,} mated probes and {len(others):,} of strangers, with a face"
    return title, histogram(across, shown, threshold)


def _matrix(report: EvaluationReport) -> list[str]:
    if not report.distortions:
        return []
    rows = [
        (
            f"{row.kind}: {row.probes:,}, {row.without_face:,} without a face",
            (row.same_photo, row.cross_photo, row.dir_1, row.dir_10),
        )
        for row in report.distortions
    ]
    heads = ["same photo, rank-1", "across photos, rank-1", "DIR at FPIR 1 %", "DIR at FPIR 10 %"]
    return [
        "<h2>Under distortion</h2>",
        "<p class='pale'>Same photo: the photo that was distorted is enrolled, which is to find a "
        "copy. Across photos: it is not, another of the person is. For DIR, the strangers are the "
        "same probes with their person taken out of the gallery.</p>",
        f"<div class='scroll'>{heat_table(heads, rows)}</div>",
    ]


def _settings(report: EvaluationReport) -> list[str]:
    rows: Sequence[tuple[str, str]] = [
        ("encoder", f"{report.encoder} <code>{report.encoder_fingerprint}</code>"),
        ("detector", f"<code>{escape(report.detector)}</code>"),
        ("distance to a person", report.aggregation),
        ("photos enrolled", f"<code>{report.gallery_sha256}</code>"),
        ("photos of probes", f"<code>{report.probes_sha256}</code>"),
        ("left out", f"{report.enrolled:,} enrolled themselves, {report.trained_on:,} trained on"),
        ("failures to enroll", f"{report.failures_to_enroll:,} of {report.identities:,} people"),
        ("unreadable, or without a usable face", f"{len(report.refused):,}: they count as misses"),
        ("took", f"{report.seconds:.1f} s"),
    ]
    lines = ["<h2>Settings</h2><div class='scroll'><table><tbody>"]
    for name, value in rows:
        lines.append(f"<tr><th scope='row'>{name}</th><td class='words'>{value}</td></tr>")
    return [
        *lines,
        "</tbody></table></div>",
        "<p class='pale'>Terms: ISO/IEC 2382-37 and NIST FRTE 1:N. A mated probe has its person in "
        "the gallery. FPIR is the share of strangers who are accepted as anybody, FNIR = 1 - DIR "
        "the share of mated probes that are not identified. Intervals draw people, not photos, "
        "and are never narrower than Wilson's score interval of so many people.</p>",
    ]
