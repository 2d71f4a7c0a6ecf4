"""Weights of finished runs as data of the package: `python -m tools.ship_weights RUN...`

RUN is the folder of a finished run of 02_lse_unet, 04_swin_hgi_sam or 05_mil_detector on data whose
licence allows it. Each checkpoint goes to `ich_study/new_scan/weights/`, with the recipe of its run
in its metadata, and a model card beside it. The weights of today learned from PHE-SICH-CT-IDS and
the phantom together, by the variants `large` and then `pictures` of 02 and `joint` of 04 and 05
in `params/open/variants/`. The heat thresholds of the first two are those of
`tools.mask_thresholds`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file

from ich_study.atomic import atomic_path, write_text
from ich_study.ct.windows import named_window
from ich_study.errors import StudyError, WeightsError
from ich_study.evaluate.scan_methods import RECIPE_KEY, ScanRecipe
from ich_study.hashing import sha256_file
from ich_study.manifest import read_record
from ich_study.models.weights import METADATA_KEY, read_metadata, read_tensors
from ich_study.new_scan.apply import SHIPPED, recipes_of
from ich_study.paths import resolve
from ich_study.study import synthetic_datasets
from tools.first_weights import in_half

LARGEST, LARGEST_TOGETHER = 10 * 2**20, 25 * 2**20
MEASURES = ("auroc", "point_f1", "point_sensitivity", "point_ppv", "pointing_game", "mass_inside")
"""Rows of the run's result table that a card shows, where the run has them."""
CROSS = Path(__file__).resolve().parents[1] / "figures" / "open" / "08_cross_benchmark"
"""Has the point F1 of weights whose own run measured none, on the same test patients."""
LICENCES = {
    "phe_sich": "PHE-SICH-CT-IDS (Ma et al., arXiv:2308.10521), CC BY 4.0. Head CTs of\n"
    "  spontaneous hemorrhage, a label per slice"
}
"""Data whose licence allows weights to travel, how to cite it, and what it is."""
PHANTOM = (
    "this study's synthetic phantom in the layout of `{data}`, no patients: heads with and\n"
    "  without hemorrhage of five subtypes, a label per slice"
)
"""Of a data set that the study made itself and may give away."""
GREY = (-20, 100)
"""HU that most of PHE-SICH's 8-bit pictures show; lower is black, higher white."""
ONE_SCALE = "grey and HU are one scale to the network"
BEYOND = "beyond them the network learned from the phantom's HU alone"

CARD = """\
# {name}

{title}, trained by this study from slice labels alone. **Research software, not a medical device:
nothing here may be used to diagnose or treat anyone, to triage, or to leave a scan unread.**

{data}
- **Made by**: `{notebook}` at commit `{commit}`, parameters in the checkpoint's metadata.
- **Input**: window{windows} at {size} x {size} pixels, HU {low:g} to {high:g}. The real slices are
  8-bit grey, mostly of HU {grey_low} to {grey_high}: {scale}.
- **Thresholds**: heat {thresholds}, slices {gates}; from `{source}`.
- **Weights**: `{file}`, {size_kb:.0f} kB, {precision}, SHA-256 `{sha256}`.

## Held-out patients (part `{part}`)

| measure | value | 95 % interval over patients | patients |
|---|---|---|---|
{rows}

Scans that users are likely to bring, other subtypes, thin slices, tilt and none: what it marks and
misses there stands in `likely_scans.csv` (`tools.likely_scans`; synthetic, two real series).

## What it must not be used for, and what it misses

- Any decision about a patient.
- Hemorrhage other than spontaneous hemorrhage inside the brain: it saw no real subdural, epidural
  or traumatic subarachnoid hemorrhage{other_subtypes}, and knows no subtype.
- Healthy people: every real patient of its data has hemorrhage{healthy}, so what it calls in scans
  without any is unknown.
- Volumes as measurements: the boxes that its thresholds rest on enclose oedema too, and heat is no
  outline.
- Contrast agent, bone kernels, thin slices, children, scanners and countries that it never saw.
"""
TITLES = {
    "mil": "The MIL detector with max-pooling, small",
    "lse_unet": "LSE-UNet as its authors' code has it, on a small RDNet",
    "cams": "A slice classifier and its class activation map",
    "hgi_sam": "HGI-SAM on a small Swin transformer",
}


def ship(run: str, target: Path = SHIPPED, half: bool = False) -> list[Path]:
    """Every checkpoint of a finished run into `target`, with its card; the files of weights.

    half: in half precision, which networks read back as float32.

    Raises WeightsError for data whose licence is not in LICENCES, for a checkout that was not
    clean, and for files that are too large.
    """
    record = read_record(resolve(run))
    allowed = {*LICENCES, *synthetic_datasets(resolve(record["parameters"]["data_dir"]))}
    unknown = [name for name in record["hashes"]["data"] if name not in allowed]
    if unknown or record["git"]["dirty"] is not False:
        raise WeightsError(
            f"{run}: data {unknown} without a licence that allows it, or a checkout that was not"
            " clean; expected openly licensed data and a commit that makes the weights again"
        )
    written = []
    for path, recipe in recipes_of(run):
        shipped = target / f"{recipe.name}.safetensors"
        described = {**read_metadata(path), RECIPE_KEY: recipe.describe()}
        header = {METADATA_KEY: json.dumps(described, sort_keys=True)}
        with atomic_path(shipped) as temporary:
            tensors = read_tensors(path)
            save_file(in_half(tensors) if half else tensors, temporary, metadata=header)
        write_text(shipped.with_suffix(".md"), card(shipped, recipe, resolve(run), record))
        written.append(shipped)
    sizes = [path.stat().st_size for path in target.glob("*.safetensors")]
    if max(sizes) > LARGEST or sum(sizes) > LARGEST_TOGETHER:
        raise WeightsError(f"{target} holds files of {sizes} bytes, at most {LARGEST} each")
    return written


def card(shipped: Path, recipe: ScanRecipe, run: Path, record: dict[str, Any]) -> str:
    """The model card of a shipped checkpoint."""
    metadata, parameters = read_metadata(shipped), record["parameters"]
    seen = metadata["preprocessing"]
    windows = [named_window(name) for name in seen["windows"]]
    # 04 tests on another data set than it learns from, and says so in its parameters' names
    own = "train_" if "train_dataset" in parameters else ""
    learned = {parameters[own + "dataset"]: parameters[own + "split"]}
    learned |= parameters.get("train_with", {})
    scored = parameters["test_dataset" if own else "dataset"], parameters["test_part"]
    hashes, synthetic = record["hashes"], any(name not in LICENCES for name in learned)
    table = held_out(pd.read_csv(run / "metrics.csv"), recipe, *scored)
    if "point_f1" not in set(table["metric"]):
        table = pd.concat([table, compared(sha256_file(shipped), scored[0])])
    inside = all(GREY[0] <= window.low and window.high <= GREY[1] for window in windows)
    return CARD.format(
        name=recipe.name,
        title=TITLES[recipe.room],
        data="\n".join(
            f"- **Data**: {LICENCES.get(data, PHANTOM.format(data=data))}. SHA-256"
            f" `{hashes['data'][data]}`;\n  split `{split}` by patient, SHA-256"
            f" `{hashes['split'][split]}`."
            for data, split in learned.items()
        ),
        other_subtypes=" (synthetic ones alone)" if synthetic else "",
        healthy=" (synthetic heads without any stood beside)" if synthetic else "",
        notebook=record["notebook"],
        commit=record["git"]["commit"],
        windows=f" {', '.join(seen['windows'])}",
        size=seen["size"],
        low=min(window.low for window in windows),
        high=max(window.high for window in windows),
        grey_low=GREY[0],
        grey_high=GREY[1],
        scale=ONE_SCALE if inside else BEYOND,
        thresholds=_numbers(recipe.classes, recipe.thresholds),
        gates=_numbers(recipe.classes, recipe.gates),
        source=recipe.source,
        file=shipped.name,
        size_kb=shipped.stat().st_size / 1000,
        precision="half precision" if _is_half(shipped) else "float32",
        sha256=sha256_file(shipped),
        part=parameters["test_part"],
        rows="\n".join(
            f"| {row.metric} | {row.value:.3f} | {row.ci_low:.3f} to {row.ci_high:.3f} | {row.n} |"
            for row in table.itertuples()
        ),
    )


def held_out(results: pd.DataFrame, recipe: ScanRecipe, data: str, part: str) -> pd.DataFrame:
    """Rows of MEASURES of the recipe's method on the held-out part, each measure once.

    A row of the data set itself is of what is tested there; one of a part says which part.
    """
    own = (results["method"] == recipe.name) & (results["variant"] == recipe.variant)
    own &= results["class"].isin(recipe.classes) & results["metric"].isin(MEASURES)
    own &= results["layer"].isna() if "layer" in results else True
    held = results["dataset"].isin([data, f"{data}/{part}"])
    return results[own & held].drop_duplicates("metric")


def compared(sha256: str, data: str, cross: Path = CROSS) -> pd.DataFrame:
    """The point F1 that a committed run of 08 measured of these weights on a data set; no row where
    it has seen other weights."""
    weights = read_record(cross).get("hashes", {}).get("weights", {})
    names = [name for name, known in weights.items() if known == sha256]
    results = pd.read_csv(cross / "metrics.csv")
    own = results["method"].isin(names) & (results["dataset"] == data)
    return results[own & (results["metric"] == "point_f1")]


def _is_half(weights: Path) -> bool:
    return any(tensor.dtype == torch.float16 for tensor in read_tensors(weights).values())


def _numbers(classes: Sequence[str], values: Sequence[float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(classes, values))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="folders of finished runs")
    parser.add_argument("--half", action="store_true", help="where it moves no mask: try first")
    asked = parser.parse_args(arguments)
    try:
        for run in asked.runs:
            print("\n".join(map(str, ship(run, half=asked.half))))
    except StudyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
