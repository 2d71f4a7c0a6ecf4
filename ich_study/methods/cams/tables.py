"""Tables of the CAM benchmark for a reader: Table II of our maps, and the three answers.

Which depth, which method, by how much: each answer with its interval over patients, taken on
held-out thresholds, and corrected for the number of comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd

from ich_study.errors import DataError
from ich_study.evaluate.rivals import RIVALS
from ich_study.methods.cams.rows import CLAIM_METRICS

BEST_VARIANT = "raw"
OVER_CHANCE = "by how much over a random map"
ANSWER_COLUMNS = ("question", "answer", "value", "ci_low", "ci_high", "p_holm")


def _named(metric: str, prefix: str) -> str:
    return metric if metric.startswith("box_") else prefix + metric


def _columns(prefix: str) -> list[str]:
    return ["loose_hit", *(_named(metric, prefix) for metric in CLAIM_METRICS)]


def table_two(
    results: pd.DataFrame, variant: str, source: str, unit: str, prefix: str = ""
) -> pd.DataFrame:
    """Table II of our maps, IIa of the unit `pixel` or IIb of `slice`, in one variant and threshold
    source: a row per method, columns metric and layer. prefix: `rows.prefix_of` the truth.

    The trivial rivals stand in every variant.
    """
    units = np.where(results["metric"] == "loose_hit", "slice", unit)
    chosen = results[
        results["metric"].isin(_columns(prefix))
        & (results["unit"] == units)
        & (results["threshold_source"] == source)
        & (results["layer"].isna() | (results["variant"] == variant))
    ]
    table = chosen.assign(layer=chosen["layer"].fillna("")).pivot_table(
        index="method", columns=["metric", "layer"], values="value", sort=False
    )
    order = product(_columns(prefix), ("-1", "-2", "-3", ""))
    return table[[key for key in order if key in table.columns]]


def answers(results: pd.DataFrame, differences: pd.DataFrame, metric: str = "dice") -> pd.DataFrame:
    """Which method, which depth, by how much, with ANSWER_COLUMNS.

    results: tidy rows. differences: from `rows.compare_all` for `metric` per pixel. The
    runner-up is the best other method at its own best depth among those at the winner's depth or of
    its kind; a difference whose interval holds 0 says that the data do not tell them apart.
    """
    ranking = ranked(results, metric)
    layers = ranking[ranking["layer"] != ""]
    if layers.empty:
        raise DataError(f"no map with a layer has a result of {metric} per pixel")
    best = layers.iloc[0]
    winner = f"{best['method']} [{best['layer']}]"
    said = best[["value", "ci_low", "ci_high"]]
    rows = [("which method and depth has the best Dice", winner, *said, np.nan)]
    against = _against(differences, winner)
    depths = against[against["other"].str.startswith(f"{best['method']} [")]
    methods = against[against["other"].str.endswith(f"[{best['layer']}]")]
    rivals = against[against["other"].isin(RIVALS)]
    for question, part in (
        ("by how much over its next best depth", depths),
        ("by how much over the next best method at that depth", methods),
        ("by how much over the best trivial rival", rivals),
        (OVER_CHANCE, rivals[rivals["other"] == "random_map"]),
    ):
        if len(part):
            nearest = part.loc[part["difference"].idxmin()]
            margin = nearest[["difference", "ci_low", "ci_high", "p_holm"]]
            rows.append((question, nearest["other"], *margin))
    return pd.DataFrame(rows, columns=list(ANSWER_COLUMNS))


def all_answers(
    results: pd.DataFrame, differences: Mapping[str, pd.DataFrame], prefix: str = ""
) -> pd.DataFrame:
    """`answers` for each metric of `differences`, with a column `metric`."""
    found = []
    for metric, part in differences.items():
        named = _named(metric, prefix)
        found.append(answers(results, part, named).assign(metric=named))
    return pd.concat(found, ignore_index=True)


def ranked(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Raw maps and rivals by their value of `metric` per pixel at the thresholds of validation
    masks, best first; layer "" for rivals."""
    chosen = results[
        (results["metric"] == metric)
        & (results["unit"] == "pixel")
        & (results["threshold_source"] == "masks-validation")
        & (results["variant"] == BEST_VARIANT)
        & results["value"].notna()
    ]
    ordered = chosen.sort_values("value", ascending=False, kind="stable")
    return ordered.assign(layer=ordered["layer"].fillna(""))


def best_layers(results: pd.DataFrame, metric: str = "dice") -> dict[str, str]:
    """The depth of each method's largest value, "" for the rivals, best method first."""
    best = ranked(results, metric).drop_duplicates("method")
    return dict(zip(best["method"], best["layer"]))


def broken_rules(
    results: pd.DataFrame, prefix: str = "", threshold_unit: str = "pixel"
) -> list[str]:
    """What cannot be, whatever the maps are worth, a sentence each; empty when the table is sound.

    Global Dice is 2 IoU / (1 + IoU), as in every printed cell; a threshold chosen on the test part
    reaches at least the Dice of the held-out one; shares lie in [0, 1]; intervals have their ends
    in order.
    """
    keys = ["method", "layer", "variant", "threshold_source"]
    found = []
    wide = results.assign(
        layer=results["layer"].fillna(""), name=results["metric"] + " " + results["unit"]
    )
    wide = wide[wide["metric"].isin(_columns(prefix))].pivot_table(
        index=keys, columns="name", values="value"
    )
    for before in (prefix, "box_"):
        dice, overlap = wide[f"{before}dice pixel"], wide[f"{before}iou pixel"]
        if not np.allclose(dice, 2 * overlap / (1 + overlap), atol=1e-9):
            found.append(f"{before}dice is not 2 IoU / (1 + IoU) of the same pixels")
    sources = wide[f"{prefix}dice {threshold_unit}"].unstack("threshold_source")
    worse = sources[sources["masks-test"] < sources["masks-validation"] - 1e-9]
    found += [
        f"{' '.join(name)}: the test part's own threshold is worse than the held-out one"
        for name in worse.index
    ]
    if not wide.stack().between(0, 1).all():
        found.append("a share lies outside [0, 1]")
    known = results.dropna(subset=["value", "ci_low", "ci_high"])
    if (known["ci_low"] > known["ci_high"]).any():
        found.append("an interval's ends are exchanged")
    return found


def _against(differences: pd.DataFrame, winner: str) -> pd.DataFrame:
    first = differences[differences["first"] == winner].assign(other=lambda frame: frame["second"])
    second = differences[differences["second"] == winner]
    turned = second.assign(
        other=second["first"],
        difference=-second["difference"],
        ci_low=-second["ci_high"],
        ci_high=-second["ci_low"],
    )
    return pd.concat([first, turned], ignore_index=True)
