"""The tables of evaluation.md, models.md and of what going on is worth in training.md, under docs/.

They are made of the JSON under docs/results/.

    python scripts/write_tables.py

Run it whenever an encoder or a detector was measured anew; the sentences around the tables are
written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from command import Script
from documents import fill, markdown
from measuring import RESULTS, ROOT

from facedb.evaluation.samples import KINDS

NAMES = {
    "bundled": "bundled",
    "y1": "teacher y1",
    "foamliu": "MobileFaceNet (foamliu)",
    "dlib": "dlib",
}
PEERS = ("bundled", "y1", "foamliu")
SETS = ("LFW", "CelebA")
HARD = ("noisy", "foggy", "rainy", "lowlight")
FPIRS = ("0.003", "0.01", "0.1")
Json = dict[str, Any]


def read(results: Path, name: str) -> Json:
    found: Json = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    return found


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}"


def standard_error(figures: Json) -> str:
    """Of the mean accuracy of LFW's ten folds, as Huang et al., 2007, report it; in points."""
    return percent(figures["accuracy_sd"] / 10**0.5, 2)


def interval(ends: Sequence[float]) -> str:
    return f"({percent(ends[0])} to {percent(ends[1])})"


def whole_lfw(figures: Json) -> str:
    """LFW as it is: pairs, identification, open set, a row an encoder."""
    rows = []
    for peer in PEERS:
        found = figures[peer]
        closed, opened = found["identification"], found["open_set"]
        rows.append([
            NAMES[peer],
            f"{percent(found['accuracy'], 2)} ± {standard_error(found)}",
            f"{percent(closed['rank']['1'])} {interval(closed['rank_1_interval'])}",
            percent(closed["rank"]["5"]),
            f"{percent(opened['dir']['0.01'])} {interval(opened['dir_interval']['0.01'])}",
            " / ".join(percent(opened["fnir"][fpir]) for fpir in FPIRS),
        ])  # fmt: skip
    head = "%|pairs|rank-1|rank-5|DIR at FPIR 1 %|FNIR at FPIR 0.3 / 1 / 10 %"
    return markdown(head.split("|"), rows)


def by_kind(figures: Json, group: str, peers: Sequence[str], figure: tuple[str, str]) -> str:
    """A row an encoder, a column a distortion at the default severity."""
    name, at = figure
    mean = {"rank": "rank_1", "dir": "dir_at_0.01"}[name]
    rows = []
    for peer in peers:
        found = figures[peer][group]
        of = [found["rows"][label] for label in ("clean", *(f"{kind}-3" for kind in KINDS))]
        columns = [*(row[name][at] for row in of), found["mean"]["3"][mean]]
        # Ten strangers in a thousand decide a DIR: its tenths say nothing.
        digits = 0 if name == "dir" else 1
        rows.append([NAMES[peer], *(percent(share, digits) for share in columns)])
    return markdown(["%", "clean", *KINDS, "mean of seven"], rows)


def by_severity(figures: Json) -> str:
    """rank-1 / DIR at 1 % of the bundled encoder, a row a severity."""
    found = figures["bundled"]["distorted"]["rows"]
    rows = []
    for severity in "12345":
        of = [found[f"{kind}-{severity}"] for kind in KINDS]
        pairs = [f"{percent(r['rank']['1'])} / {percent(r['dir']['0.01'], 0)}" for r in of]
        rows.append([severity, *pairs])
    return markdown(["severity", *KINDS], rows)


def lookalikes(found: Json) -> str:
    """Photos in a wrong folder, and those named for them: a row a size of gallery."""
    rows = []
    for people, row in found["by_people"].items():
        rows.append([
            f"{int(people):,}",
            f"{row['strayed']:,} of {row['photos']:,}",
            f"{percent(row['share_of_strayed_named'])} {interval(row['share_interval'])}",
            percent(row["strayed_named_right"] / row["strayed_named"]),
            f"{row['near_a_strayed_photo_of_theirs']:,}",
            f"{row['others_named']:,} ({percent(row['share_of_others_named'], 2)} %)",
        ])  # fmt: skip
    heads = [
        *("people", "in the wrong folder, all draws", "of these named, %"),
        *("of the named, by who they are, %", "named beside one of these", "others named"),
    ]
    return markdown(heads, rows)


def two_names(found: Json) -> str:
    """People who were given a second name, and pairs of others that were named with them."""
    rows = [
        [
            row["whose"],
            f"{row['people']:,}",
            f"{row['share']:g}",
            f"{row['split']:,}",
            f"{percent(row['share_found'])} {interval(row['share_interval'])}",
            f"{row['others']:,} ({row['others_on_100_people']:.2f})",
        ]
        for row in found["rows"]
    ]
    heads = [
        *("LFW's people", "in a gallery", "share of the threshold", "with two names, all draws"),
        *("of these found, %", "other pairs named, all draws (on 100 people)"),
    ]
    return markdown(heads, rows)


def facecom(figures: Json) -> str:
    rows = []
    for peer in PEERS:
        of = {row["kind"]: row for row in figures[peer]["rows"]}
        columns = [of[kind]["cross_photo"] for kind in ("clean", *KINDS)]
        rows.append([NAMES[peer], *map(percent, [*columns, of["clean"]["dir_1"]])])
    return markdown(["%", "clean", *KINDS, "DIR at FPIR 1 %, clean"], rows)


def rescued(rescue: Json) -> str:
    """A row a detector and a score from which a reduced photo may show a face."""
    rows = []
    for title, detector, least in (
        ("ours, no second look", "bundled", "never"),
        ("ours, like the first look", "bundled", "0.7"),
        ("ours, from 0.85", "bundled", "0.85"),
        ("YuNet, no second look", "yunet", "never"),
        ("YuNet, like the first look", "yunet", "0.7"),
        ("YuNet, from 0.85", "yunet", "0.85"),
    ):
        row = rescue["detectors"][detector][least]
        false = [f"{count:.1f}" for count in row["false_per_100"].values()]
        rows.append([title, *false, *(percent(row["found"][kind]) for kind in HARD)])
    head = ["", "false faces, mosaics", "pieces", *(f"found, {kind}, %" for kind in HARD)]
    return markdown(head, rows)


def lying_down(turned: Json) -> str:
    """A row a detector and set of photos, of those that lie on their side or upside down."""
    rows = []
    for title, detector in (("ours", "bundled"), ("YuNet", "yunet")):
        found = turned["detectors"][detector]["lying"]
        for words, name in (("LFW", "lfw"), ("CelebA", "celeba")):
            looks = [found[name][degrees] for degrees in ("90", "270", "180")]
            right = [f"{percent(look['turning']['right'])} %" for look in looks]
            misled = [percent(looks[2][how]["misleads"]) for how in ("turning", "as_it_lies")]
            rows.append([f"{title}, {found[name]['photos']:,} of {words}", *right, *misled])
    head = ["read right", "turned left", "turned right", "upside down"]
    return markdown([*head, "upside down, misleads, %", "the same, never turned"], rows)


def near_sure_faces(found: Json) -> str:
    """A row a score from which somebody beside a sure face is one."""
    rows = [
        [
            f"from {least}",
            f"{percent(row['found'])} %",
            f"{percent(row['landmark_error_mean'], 2)} %",
            f"{row['extra_per_100_photos']:.1f}",
            *(f"{count:.1f}" for count in row["false_per_100"].values()),
        ]
        for least, row in found["beside"].items()
    ]
    head = ["", "found", "landmarks off", "faces that YuNet does not find, on 100 photos of LFW"]
    return markdown([*head, "false faces, mosaics", "pieces"], rows)


def promise(calibration: Json) -> str:
    rows = []
    for title, name, digits in (("FPIR measured", "fpir", 2), ("DIR there", "tpir", 1)):
        found = calibration["promise"][name]
        mean, *ends = (percent(found[end], digits) for end in ("mean", "low", "high", "min", "max"))
        rows.append(
            [title, f"{mean} %", " to ".join(ends[:2]) + " %", " to ".join(ends[2:]) + " %"]
        )
    return markdown(["", "mean", "95 % of the splits", "all splits"], rows)


def by_size(calibration: Json) -> str:
    found = calibration["by_gallery_size"]
    proved = [row["proved_on"]["fpir_mean"] if "proved_on" in row else None for row in found]
    rows = [
        ["distance", *(f"{row['distance']:.3f}" for row in found)],
        ["FPIR proved, %", *("" if share is None else percent(share, 2) for share in proved)],
    ]
    return markdown(["people enrolled", *(f"{row['people']:,}" for row in found)], rows)


def by_photos(calibration: Json) -> str:
    """DIR at FPIR 1 % by how many photos of the person are enrolled; a row each list of people."""
    rows = []
    for title, people in (("peopleDevTrain", "development"), ("peopleDevTest", "other_people")):
        found = calibration["by_photos"][people]
        cells = [
            f"{percent(found[photos]['dir'])} ({found[photos]['people']:,.0f})"
            for photos in ("1", "2-4", "5-9", "10")
        ]
        rows.append([title, *cells, percent(found["dir"]), percent(found["dir_over_people"])])
    head = "DIR at FPIR 1 %, % (people)|1 photo|2 to 4|5 to 9|10|all probes|all people alike"
    return markdown(head.split("|"), rows)


def by_people(found: list[Json], rows: dict[str, tuple[str, Callable[[float], str]]]) -> str:
    """A column a number of people; a row's title -> the figure it shows, and how."""
    titled = [[title, *(shown(of[name]) for of in found)] for title, (name, shown) in rows.items()]
    return markdown(["people", *(f"{of['people']:,}" for of in found)], titled)


def drift(calibration: Json) -> str:
    rows = {"FPIR measured": ("fpir", _with_sign), "expected": ("expected", _with_sign)}
    return by_people(calibration["grown"], rows)


def foretold(calibration: Json) -> str:
    rows = {
        "measured up to": ("largest_measured", "{:,}".format),
        "distance expected": ("distance", "{:.3f}".format),
        "distance measured": ("measured_there", "{:.3f}".format),
        "FPIR of the expected": ("fpir", partial(_with_sign, digits=2)),
    }
    return by_people(calibration["foretold"], rows)


def crowds(calibration: Json) -> str:
    rows = {
        "distance expected": ("distance", "{:.3f}".format),
        "distance that 1 % pass": ("distance_of_its_own", "{:.3f}".format),
        "FPIR of the expected": ("fpir", partial(_with_sign, digits=2)),
        "FPIR of the threshold for 1,000": ("fpir_unmoved", partial(_with_sign, digits=2)),
        "TPIR of the expected": ("tpir", _with_sign),
        "TPIR where 1 % pass": ("tpir_of_its_own", _with_sign),
    }
    return by_people(calibration["crowds"], rows)


def _with_sign(share: float, digits: int = 1) -> str:
    return f"{percent(share, digits)} %"


def rules(calibration: Json) -> str:
    """The rules of aggregation; the best DIR at 1 % in bold."""
    found = calibration["aggregation"]
    both = [found[people]["rules"] for people in ("development", "other_people")]
    best = [max(of[rule]["mean"]["dir_at_0.01"] for rule in of) for of in both]
    rows = []
    for rule in ("nearest-or-mean", "mean", "nearest", "top-3"):
        here, there = (of[rule]["mean"] for of in both)
        cells = [
            f"{percent(value)} %" if value not in best else f"**{percent(value)} %**"
            for value in (
                here["rank_1"],
                *(here[f"dir_at_{fpir}"] for fpir in FPIRS),
                there["dir_at_0.01"],
            )
        ]
        rows.append([rule + " (default)" * (rule == "nearest-or-mean"), *cells])
    head = "rule|rank-1|DIR at FPIR 0.3 %|1 %|10 %|peopleDevTest, DIR at 1 %"
    return markdown(head.split("|"), rows)


def reached(figures: Json) -> str:
    """What the bundled encoder reaches, beside what was asked of it."""
    found = figures["bundled"]
    rows = [
        [
            "LFW, 10 folds",
            f"{percent(found['accuracy'], 2)} % ± {standard_error(found)}",
            "94 %",
            "98.5 %",
        ],
        [
            "LFW identification, 5,749 people, rank-1",
            f"{percent(found['identification']['rank']['1'])} %",
            "45 %",
            "90 %",
        ],
        [
            "LFW open set, DIR at FPIR 1 %",
            f"{percent(found['open_set']['dir']['0.01'])} %",
            "25 %",
            "76 %",
        ],
        [
            "rank-1 under seven distortions, mean of 1,000 probes each",
            f"{percent(found['distorted']['mean']['3']['rank_1'])} %",
            "",
            "better than both MobileFaceNets",
        ],
    ]
    return markdown(["", "measured", "floor on CPU alone", "with a GPU, at least"], rows)


def line(found: Json) -> str:
    """Every encoder that was bundled, by pictures seen."""
    rows = [
        [
            row["encoder"],
            f"{row['pictures_in_all']:,}",
            f"{percent(row['rank_1'])} {interval(row['rank_1_interval'])}",
            percent(row["dir_at_0.01"]),
            f"{percent(row['development']['mean']['dir_at_0.01'])} ± "
            f"{percent(row['development']['sd_of_draws']['dir_at_0.01'])}",
        ]
        for row in found["line"]
    ]
    head = "%|pictures in all|rank-1|DIR at FPIR 1 %|development people, DIR at FPIR 1 %"
    return markdown(head.split("|"), rows)


def blurs(found: Json) -> str:
    """The same weights behind no blur and behind others."""
    rows = []
    for row in found["sides"]:
        of, held = row["development"], row["held_out"]
        rows.append([
            f"{row['side']} pixels" if row["side"] > 1 else "none",
            percent(of["mean"]["rank_1"]),
            f"{percent(of['mean']['dir_at_0.01'])} ± {percent(of['sd_of_draws']['dir_at_0.01'])}",
            percent(held["tar_at_far_1e-3"]),
            percent(held["rank_1_by_one_photo"]),
            f"{row['time']['batch_1']['of_none']['median']:.2f}",
            f"{row['time']['batch_32']['of_none']['median']:.2f}",
        ])  # fmt: skip
    head = (
        "blur, %|LFW's development people, rank-1|DIR at FPIR 1 %|people held out, TAR at FAR 0.1 %"
        "|rank-1 by one photo|time of none's, 1 crop|32 crops"
    )
    return markdown(head.split("|"), rows)


def agreement(found: Json) -> str:
    """How far every encoder agrees with its teacher, on faces learned from and on others."""
    rows = []
    for row in found["encoders"]:
        means = [row[part]["mean"] for part in ("trained", "held_out")]
        rows.append([row["encoder"], *(f"{one:.3f}" for one in (*means, means[0] - means[1]))])
    head = "cosine to the teacher|faces learned from|people held out|apart"
    return markdown(head.split("|"), rows)


def levers(results: Path, seed: int, *agreed: Json) -> str:
    """The recipe with one thing changed, a row a change, the recipe itself first."""
    files = results.glob(f"lever-*-{seed}.json")
    in_order = sorted(files, key=lambda file: ("-best-" not in file.name, file.name))
    cosines = {row["encoder"]: row for found in agreed for row in found["encoders"]}
    rows = []
    for file in in_order:
        run = file.stem.removeprefix("lever-")
        cells = [percent(value) for value in read(results, file.stem)["figures"].values()]
        if agreed:
            cells += [f"{cosines[run][part]['mean']:.3f}" for part in ("held_out", "trained")]
        rows.append([f"`{run.removesuffix(f'-{seed}')}`", *cells])
    head = ["%", "rank-1", "AUC", "TAR at FAR 0.1 %"]
    asked = ["cosine to the teacher, people held out", "the same, faces learned from"]
    return markdown(head + asked * bool(agreed), rows)


def levers_at_length(results: Path, seed: int) -> str:
    """The recipe with one thing changed, begun from the bundled encoder, which comes first."""
    asked = {row["encoder"]: row for row in read(results, f"agreement-begun-{seed}")["encoders"]}
    lfw = read(results, f"levers-lfw-{seed}")
    begun = lfw["line"][-1]
    rows = [["begun from", "", *_at_length(asked[begun["encoder"]], begun)]]
    for row in lfw["candidates"]:
        run = row["encoder"].partition("-")[2]
        tar = read(results, f"lever-{run}")["figures"]["cross_photo_tar_at_far_1e-3"]
        name = f"`{run.removesuffix(f'-{seed}')}`"
        rows.append([name, percent(tar), *_at_length(asked[run], row)])
    head = (
        "%|TAR at FAR 0.1 %, people held out|cosine to the teacher, people held out"
        "|the same, faces learned from|LFW rank-1|DIR at FPIR 1 %|development people, DIR at 1 %"
    )
    return markdown(head.split("|"), rows)


def _at_length(asked: Json, lfw: Json) -> list[str]:
    of = lfw["development"]
    return [
        f"{asked['held_out']['mean']:.3f}",
        f"{asked['trained']['mean']:.3f}",
        percent(lfw["rank_1"]),
        percent(lfw["dir_at_0.01"]),
        f"{percent(of['mean']['dir_at_0.01'])} ± {percent(of['sd_of_draws']['dir_at_0.01'])}",
    ]


GONE_ON = {"bundled": "bundled encoder", "comsys": "`comsys`", "own": "`own`"}


def hundreds(found: Json) -> str:
    """Going on from the bundled encoder with hundreds of people."""
    rows = []
    for name, title in GONE_ON.items():
        row = found[name]
        figures = (row[key] for key in ("tar_at_far_1e-2", "tar_at_far_1e-3", "rank1"))
        kinds = (row["rank1_by_distortion"][kind] for kind in ("clean", "sunny"))
        celeba = (row["celeba"][key] for key in ("tar_at_far_1e-3", "rank_1_by_one_photo"))
        rows.append([title, *map(percent, (*figures, *kinds, *celeba))])
    head = (
        "%|TAR at FAR 1 %|TAR at FAR 0.1 %|rank-1|rank-1, clean|rank-1, sun"
        "|CelebA: TAR at FAR 0.1 %|rank-1 by one photo"
    )
    return markdown(head.split("|"), rows)


def few(found: Json) -> str:
    """Going on with a family, which is enrolled too: medians of the draws, and what was added."""
    figures = ("rank_1", "dir_lfw_strangers", "dir_celeba_strangers", "development_dir")
    rows = [
        ["bundled encoder", *(percent(found["bundled"][figure]["median"]) for figure in figures)]
    ]
    for name in ("comsys", "own"):
        added = [found[name][figure]["added"] for figure in figures]
        cells = [
            f"{100 * one['median']:+.1f} ({100 * one['min']:+.1f} to {100 * one['max']:+.1f})"
            for one in added
        ]
        rows.append([f"{GONE_ON[name]}, points more", *cells])
    head = (
        "%|rank-1|DIR, 1 % of LFW's strangers|DIR, 15 % of the others' photos"
        "|LFW's development people, DIR at FPIR 1 %"
    )
    return markdown(head.split("|"), rows)


def rejected(quality: Json, photos: str, title: str) -> str:
    """Error of the probes kept, by what turns the worst away, a column a share."""
    found = quality["lfw"][photos]
    sorts = ("quality", "distance to the centre", "detector's score", "size", "perfect")
    rows = [[sort, *map(percent, found["kept"][sort].values())] for sort in sorts]
    _, *shares = found["kept"]["size"]
    away = ["none away", *(f"{percent(float(share), 0)} %" for share in shares)]
    return markdown([f"{title}, {found['probes']:,} probes", *away], rows)


def hard(photos: Json) -> str:
    rows = [
        [name, percent(row["found"]), percent(row["rank_1"]), percent(row["poor_of_found"])]
        for name, row in photos["photos"].items()
    ]
    return markdown(["%", "found", "rank-1", "called poor, of those found"], rows)


def speed(models: Json) -> str:
    """The encoder in three arithmetics, and what each costs in rank-1."""
    rows = []
    for name, found in models["encoder"]["speed"].items():
        cells = [
            f"{row['ms']['median']:.2f} ms" if row["crops_per_call"] == 1
            else f"{row['per_s']['median']:,.0f}/s"
            for row in found.values()
        ]  # fmt: skip
        agreement = models["encoder"]["agreement"][name]
        rank_1 = f"{percent(agreement['rank_1'])} %"
        rows.append([name, *cells, f"{agreement['cosine_mean']:.4f}", rank_1])
    return markdown(["", *models["encoder"]["speed"]["float32"], "cosine", "rank-1"], rows)


def detector(found: Json) -> str:
    lfw, celeba, without = found["lfw"], found["celeba_held_out"], found["without_faces"]
    landmarks = "landmarks off YuNet's, of the distance between the eyes, LFW"
    held = "the same, CelebA's people held out"
    rows = [
        _beside("faces of LFW that YuNet finds, found", lfw, "found", "99 %"),
        _beside("the same, of the face that counts", lfw, "main_found", ""),
        _beside(held, celeba, "found", "99 %"),
        _beside("the same, of the face that counts", celeba, "main_found", ""),
        _beside(landmarks, lfw, "landmark_error_mean", "6 %"),
        _beside("the same, of the face that counts", lfw, "main_landmark_error_mean", ""),
        _beside(held, celeba, "landmark_error_mean", "6 %"),
        _beside("the same, of the face that counts", celeba, "main_landmark_error_mean", ""),
    ]
    for name, words in (
        ("cifar_mosaics", "mosaics of CIFAR-10 pictures"),
        ("celeba_pieces", "pieces of photographs"),
    ):
        rate = f"{without[name]['faces_per_100_there']:.1f}"
        rows.append([f"false faces on 100 {words}, where YuNet finds none", rate, "0", "5"])
    for words, part in (("LFW", lfw), ("CelebA's people held out", celeba)):
        extra = f"{part['extra_per_100_photos']:.1f}"
        rows.append([f"faces on 100 photos of {words} that YuNet does not see", extra, "", ""])
    rows.append(["time of YuNet's", f"{found['summary']['time_of_yunet']:.2f}", "1", "1"])
    return markdown(["", "measured", "YuNet, of the mirror image", "wanted"], rows)


def trade(found: Json) -> str:
    """Faces found at rates of false ones, ours beside YuNet's of the mirror image."""
    titles = ["false faces on 100 photos", *(f"{who}, {name}" for who in found for name in SETS)]
    rows = [
        [
            str(beside[0]["false_per_100"]),
            *(f"{percent(r[name])} %" for r in beside for name in SETS),
        ]
        for beside in zip(*found.values(), strict=True)
    ]
    return markdown(titles, rows)


def _beside(title: str, found: Json, figure: str, wanted: str) -> list[str]:
    shares = (found[figure], found["yunet_itself"][figure])
    return [title, *(f"{percent(share)} %" for share in shares), wanted]


@click.command(cls=Script)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--docs", type=click.Path(path_type=Path), default=ROOT / "docs")
def main(results: Path, docs: Path) -> None:
    """Fill the tables of DOCS from RESULTS."""
    lfw, calibration = read(results, "evaluation-lfw"), read(results, "evaluation-calibration")
    quality, with_dlib = read(results, "quality"), (*PEERS, "dlib")
    rank_1, dir_1 = ("rank", "1"), ("dir", "0.01")
    fill(docs / "evaluation.md", {
        "promise": promise(calibration["bundled"]),
        "by size": by_size(calibration["bundled"]),
        "drift": drift(calibration["bundled"]),
        "foretold": foretold(calibration["bundled"]),
        "crowds": crowds(calibration["bundled"]),
        "photos": by_photos(calibration["bundled"]),
        "rules": rules(calibration["bundled"]),
        "lfw": whole_lfw(lfw),
        "distorted, rank-1": by_kind(lfw, "distorted", PEERS, rank_1),
        "distorted, DIR": by_kind(lfw, "distorted", PEERS, dir_1),
        "severity": by_severity(read(results, "evaluation-severity")),
        "beside dlib, rank-1": by_kind(lfw, "beside_dlib", with_dlib, rank_1),
        "beside dlib, DIR": by_kind(lfw, "beside_dlib", with_dlib, dir_1),
        "facecom": facecom(read(results, "evaluation-facecom")),
        "lookalikes": lookalikes(read(results, "lookalikes")),
        "two names": two_names(read(results, "twice")),
    })  # fmt: skip
    fill(docs / "models.md", {
        "reached": reached(lfw),
        "levers": levers(
            results,
            2,
            *(read(results, f"agreement-{part}") for part in ("levers", "hints", "blur")),
        ),
        "levers, begun": levers(results, 3, read(results, "agreement-begun")),
        "levers, at length": levers_at_length(results, 4),
        "levers, share": levers_at_length(results, 5),
        "levers, one way to blend": levers(results, 1),
        "line": line(read(results, "encoder-line")),
        "blur": blurs(read(results, "blur")),
        "agreement": agreement(read(results, "agreement")),
        "quality, clean": rejected(quality, "clean", "clean"),
        "quality, mixed": rejected(quality, "mixed", "clean and seven distortions"),
        "hard": hard(read(results, "hard-photos")),
        "speed": speed(read(results, "bench-models")),
        "detector": detector(found := read(results, "detector")),
        "trade": trade(found["trade"]),
        "beside": near_sure_faces(read(results, "beside")),
        "rescue": rescued(read(results, "rescue")),
        "turned": lying_down(read(results, "turned")),
    })  # fmt: skip
    own = read(results, "own-training")
    fill(docs / "training.md", {"hundreds": hundreds(own["hundreds"]), "few": few(own["few"])})


if __name__ == "__main__":
    main()
