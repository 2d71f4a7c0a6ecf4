"""The classifiers of a paper beside each other, in the order in which a chart shows them, and their
most trivial rival."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ich_study.evaluate.slice_position import METHOD
from ich_study.metrics.classification import f1_of_all_called, prevalence
from ich_study.published.tables import load_table
from ich_study.schema import result_table

BACKBONES = "01_backbones"
LSE_UNET_RUN = "02_lse_unet"
LSE_UNET = "lse_unet"
"""The network of `02_lse_unet`, which the paper sets beside five of 01_backbones."""
BASE_VARIANT = "authors"
"""Of LSE-UNet; the row "Ours" of its Table 1 is of it too."""

ALL_CALLED = "all_called"
"""The rival that calls every slice positive."""


def all_called_rows(results: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """`f1_top5` of ALL_CALLED, a result row for each part on which a run of the CAM benchmark's
    Table I has one; without an interval.

    curves: `pr.csv` of all runs, `method` the folder of the run (`collect_tables`).
    """
    arms = set(load_table("cam_benchmark", "table_1")["method"].dropna())
    own = results[(results["metric"] == "f1_top5") & results["method"].isin(arms)]
    rows = []
    for row in own.drop_duplicates("dataset").to_dict("records"):
        same = {key: row[key] for key in ("method", "dataset", "class")}
        curve = curves[(curves[list(same)] == pd.Series(same)).all(axis=1)]
        if len(curve):
            empty = dict.fromkeys(("ci_low", "ci_high", "interval"))
            value = f1_of_all_called(prevalence(curve))
            rows.append({**row, "method": ALL_CALLED, "value": value, **empty})
    return result_table(rows)


def classifier_rows(
    results: pd.DataFrame, metric: str, dataset: str, compared: Sequence[str]
) -> pd.DataFrame:
    """Rows of one measure: the networks of `compared`, in order, then the rival that sees a slice's
    height in the head and nothing else, once. Empty where no network of `compared` has a number.

    dataset: as in the results, with its part. compared: runs of 01_backbones, and LSE_UNET for the
    base variant of 02_lse_unet.
    """
    own = results[(results["metric"] == metric) & (results["dataset"] == dataset)]
    of_01 = own[own["study"] == BACKBONES]
    of_02 = own[own["study"].eq(LSE_UNET_RUN) & own["variant"].eq(BASE_VARIANT)]
    networks = pd.concat([of_01[of_01["method"] != METHOD], of_02])
    networks = networks[networks["method"].isin(compared)]
    if networks.empty:
        return networks
    networks = _in_order(networks, compared)
    rival = of_01[of_01["method"] == METHOD].drop_duplicates("class")
    return pd.concat([networks, rival], ignore_index=True)


def classifier_curves(curves: pd.DataFrame, dataset: str, compared: Sequence[str]) -> pd.DataFrame:
    """ROC curves of the networks of `compared`, in order, of the class `any`; says which of them
    have none.

    curves: `roc.csv` of all runs, `method` the folder of the run (`collect_tables`). dataset,
    compared: as for `classifier_rows`; the curve of LSE_UNET is of its run's base variant.
    """
    own = curves[(curves["dataset"] == dataset) & (curves["class"] == "any")]
    own = own.replace({"method": {LSE_UNET_RUN: LSE_UNET}})
    own = own[own["method"].isin(compared)]
    absent = [name for name in compared if name not in set(own["method"])]
    if absent:
        print(f"no ROC curve of any on {dataset}: {', '.join(absent)}")
    return _in_order(own, compared)


def _in_order(rows: pd.DataFrame, compared: Sequence[str]) -> pd.DataFrame:
    return rows.sort_values("method", key=lambda names: names.map(compared.index), kind="stable")
