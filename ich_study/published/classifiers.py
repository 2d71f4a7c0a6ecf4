"""The classifiers of a paper beside each other, in the order in which a chart shows them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ich_study.evaluate.slice_position import METHOD

BACKBONES = "01_backbones"
LSE_UNET_RUN = "02_lse_unet"
LSE_UNET = "lse_unet"
"""The network of `02_lse_unet`, which the paper sets beside five of 01_backbones."""
BASE_VARIANT = "authors"
"""Of LSE-UNet; the row "Ours" of its Table 1 is of it too."""


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
