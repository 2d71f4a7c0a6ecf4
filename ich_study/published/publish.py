"""The small copy of a study's tables and pictures that is committed, so that figures rebuild
without the runs."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image, ImageColor

from ich_study import manifest
from ich_study.atomic import atomic_path, write_csv, write_json, write_parquet
from ich_study.errors import StudyError
from ich_study.evaluate.results import METRICS_FILE, TEXT_COLUMNS
from ich_study.evaluate.top_epochs import TOP_EPOCHS_FILE
from ich_study.figures.style import CLASS_COLOURS, COLOURS, POINT_COLOUR
from ich_study.study import synthetic_datasets

CROSS = "08_cross_benchmark"
RUN_TABLES: tuple[str, ...] = (
    "history.csv",
    "thresholds.csv",
    "summary.csv",
    "integrity.csv",
    "priors.csv",
    "lesions.csv",
    "overlap.csv",
    "choose.csv",
    "ranks.csv",
    "standing.csv",
)
CROSS_TABLES: tuple[str, ...] = ("by_size.csv", "triage.csv", "cost.csv")
"""Of `08_cross_benchmark` alone: other notebooks have a `cost.csv` that nothing reads."""
PATIENT_TABLES: tuple[str, ...] = ("predictions.parquet", TOP_EPOCHS_FILE)
"""Tables with labels of single patients, published of phantoms alone."""
CURVE_TABLES: tuple[str, ...] = ("roc.csv", "pr.csv")
CHARTS = ("quality_cost.png", "ranks_*.png", "reliability_*.png")
"""Pictures of `08_cross_benchmark` in which there is no slice."""
CURVE_POINTS = 200
LARGEST_PICTURE_BYTES = 300_000
"""A picture above this is published with fewer colours, then smaller (`small_picture`)."""
HEAT_COLOURS = 48
"""Of the colour bar of heat, in a picture of fewer colours."""
SMALLER = (1.0, 0.75, 0.5)
"""Shares of the width that are tried."""
LARGEST_BYTES = 1_500_000
"""A file above this does not belong into a repository of small tables and pictures."""


def publish_small(runs: Path, figures: Path, target: Path) -> list[Path]:
    """Copies the small tables of every run below `runs`, the tables and pictures of `figures`, and
    the pictures of synthetic scans into `target`, laid out alike, with each run's record; returns
    the files written.

    Result tables are rounded to five digits and curves thinned to about CURVE_POINTS points each.
    Predictions, of phantoms only, go without anything but what the paired comparisons need; no
    slice or label of a real patient is published. Large pictures become `small_picture`s.
    Raises StudyError naming a file that is too large to publish.
    """
    if target.resolve() in (runs.resolve(), figures.resolve()):
        raise StudyError(f"publish_dir is the runs' own folder {target}; choose another")
    phantoms, written = synthetic_datasets(runs / "00_data"), []
    for source in sorted(runs.rglob("*")):
        place = target / source.relative_to(runs)
        if source.is_relative_to(figures):
            continue
        if source.name == METRICS_FILE:
            write_csv(place, rounded(pd.read_csv(source, dtype=TEXT_COLUMNS)))
        elif source.name in RUN_TABLES or (
            source.name in CROSS_TABLES and source.parent.name == CROSS
        ):
            _copied(source, place)
        elif source.name in CURVE_TABLES:
            write_csv(place, thinned(pd.read_csv(source)))
        elif source.name in PATIENT_TABLES:
            table = pd.read_parquet(source)
            if not phantoms.issuperset(table["dataset"]):
                continue
            small = table if source.name == TOP_EPOCHS_FILE else small_predictions(table)
            write_parquet(place, small)
        else:
            continue
        written.append(place)
    texts = sorted([*figures.glob("*.csv"), *figures.glob("*.md")])
    written += [_copied(source, target / "07_figures" / source.name) for source in texts]
    pictures = {target / "07_figures" / path.name: path for path in sorted(figures.glob("*.png"))}
    for path in [*synthetic_pictures(runs), *study_pictures(runs)]:
        pictures[target / path.relative_to(runs)] = path
    # charts of other notebooks as 07 draws them from the small tables
    for path in sorted(figures.glob("*/*.png")):
        pictures[target / path.relative_to(figures)] = path
    written += [small_picture(source, place) for place, source in pictures.items()]
    records = {path: target / path.relative_to(runs) for path in runs.rglob(manifest.RUN_NAME)}
    # the run that publishes has not ended
    records[figures / manifest.FAILED_NAME] = target / "07_figures" / manifest.RUN_NAME
    written += [published_record(*pair) for pair in sorted(records.items()) if pair[0].is_file()]
    large = [path for path in written if path.stat().st_size > LARGEST_BYTES]
    if large:
        raise StudyError(
            f"too large to publish (over {LARGEST_BYTES} bytes):"
            f" {', '.join(str(path) for path in large)}"
        )
    return written


def published_record(source: Path, target: Path) -> Path:
    """The record of a run beside its published files: what made them, and their hashes."""
    content = json.loads(source.read_text(encoding="utf-8"))
    files = manifest.outputs(target.parent, frozenset({manifest.RUN_NAME}))
    write_json(target, {**content, "status": "ok", "outputs": files})
    return target


def all_synthetic(runs: Path) -> bool:
    """Whether every data set of these runs is a phantom."""
    data = runs / "00_data"
    return set(pd.read_csv(data / "summary.csv")["dataset"]) == synthetic_datasets(data)


def synthetic_pictures(runs: Path) -> list[Path]:
    """Pictures of `00_data` that show no real scan: the plots, and the montages of phantoms."""
    montages = {f"montage_{name}.png" for name in synthetic_datasets(runs / "00_data")}
    pictures = sorted((runs / "00_data").glob("*.png"))
    return [path for path in pictures if not path.match("montage_*") or path.name in montages]


def study_pictures(runs: Path) -> list[Path]:
    """Charts of 08; pictures of notebooks 02 to 06 where every data set of these runs is
    synthetic."""
    charts = [path for name in CHARTS for path in (runs / CROSS).glob(name)]
    if all_synthetic(runs):
        charts += runs.glob("0[2-6]_*/**/*.png")
    return sorted(charts)


def small_picture(source: Path, target: Path) -> Path:
    """A PNG as it is, or where it is above LARGEST_PICTURE_BYTES in 256 colours and at the largest
    of the SMALLER widths that fits. Raises StudyError where none does."""
    if source.stat().st_size <= LARGEST_PICTURE_BYTES:
        return _copied(source, target)
    with Image.open(source) as picture:
        whole = picture.convert("RGB")
    for share in SMALLER:
        size = (round(share * whole.width), round(share * whole.height))
        written = BytesIO()
        smaller = whole.resize(size)
        drawn = smaller.quantize(palette=palette_of(smaller), dither=Image.Dither.NONE)
        drawn.save(written, "PNG", optimize=True)
        if written.tell() <= LARGEST_PICTURE_BYTES:
            with atomic_path(target) as temporary:
                temporary.write_bytes(written.getvalue())
            return target
    raise StudyError(
        f"{source}: {written.tell()} bytes at {SMALLER[-1]:g} of its width; expected at most"
        f" {LARGEST_PICTURE_BYTES}. Draw fewer panels, or at fewer dots per inch"
    )


def palette_of(picture: Image.Image) -> Image.Image:
    """256 colours: those that mean something, heat's and the subtypes', which lines draw in too few
    pixels to be found by number, and the most frequent ones of the picture."""
    heat = plt.get_cmap("inferno")(np.linspace(0, 1, HEAT_COLOURS), bytes=True)[:, :3].tolist()
    named = [*CLASS_COLOURS.values(), *COLOURS, POINT_COLOUR]
    kept = [*map(ImageColor.getrgb, dict.fromkeys(named)), *heat]
    count = 256 - len(kept)
    frequent = picture.quantize(count).getpalette()[: 3 * count]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*frequent, *(part for colour in kept for part in colour)])
    return palette


def thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """Curves with about CURVE_POINTS points per data set, class and, where there are several,
    method, their first and last points kept; thinned again, they stay as they are."""
    keys = [name for name in ("method", "dataset", "class") if name in curves]
    parts = []
    for _, curve in curves.groupby(keys, sort=False):
        step = max(1, len(curve) // CURVE_POINTS)
        kept = sorted({*range(0, len(curve), step), len(curve) - 1})
        parts.append(curve.iloc[kept])
    return pd.concat(parts, ignore_index=True).round(5)


def rounded(results: pd.DataFrame) -> pd.DataFrame:
    """A result table with its numbers to five significant digits, which halves the file."""
    numbers = [name for name in ("value", "ci_low", "ci_high") if name in results]
    fewer = {
        name: results[name].map(lambda value: float(f"{value:.5g}"), na_action="ignore")
        for name in numbers
    }
    return results.assign(**fewer)


def small_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions in single precision. The validation part stays: LSE-UNet's Table 1 is of it."""
    return predictions.astype({"logit": "float32", "probability": "float32"})


def _copied(source: Path, target: Path) -> Path:
    with atomic_path(target) as temporary:
        temporary.write_bytes(source.read_bytes())
    return target
