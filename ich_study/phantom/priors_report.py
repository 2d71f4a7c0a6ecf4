"""Measured lesions beside the priors of real haemorrhage: 192 scans of BHSD (see
`phantom.priors`)."""

from __future__ import annotations

import pandas as pd

from ich_study.phantom.priors import PRIORS, QUANTILES
from ich_study.schema import SUBTYPES

QUANTITIES: tuple[str, ...] = ("volume_ml", "median_hu")


def prior_range(quantity: str) -> pd.DataFrame:
    """Per subtype `low, median, high` of the prior: 5, 50 and 95 % of the volume in mL; mean -+ 2
    SD of voxel HU."""
    rows = []
    for name in SUBTYPES:
        prior = PRIORS[name]
        volumes = dict(zip(QUANTILES, prior.volume_ml))
        ranges = {
            "volume_ml": (volumes[0.05], volumes[0.50], volumes[0.95]),
            "median_hu": (
                prior.hu_mean - 2 * prior.hu_sd,
                prior.hu_mean,
                prior.hu_mean + 2 * prior.hu_sd,
            ),
        }
        rows.append((name, *ranges[quantity]))
    return pd.DataFrame(rows, columns=["class", "low", "median", "high"])


def against_priors(lesions: pd.DataFrame) -> pd.DataFrame:
    """Per data set, subtype and quantity: number of lesions, their median, the prior's median and
    range, and the share of lesions inside that range (90 % of real volumes lie inside theirs).

    lesions: rows of `lesions.lesion_statistics` with `dataset`.
    """
    rows = []
    for quantity in QUANTITIES:
        known = lesions[lesions["class"].isin(SUBTYPES) & lesions[quantity].notna()].merge(
            prior_range(quantity), on="class"
        )
        known = known.assign(inside=known[quantity].between(known["low"], known["high"]))
        for (dataset, name), part in known.groupby(["dataset", "class"]):
            first = part.iloc[0]
            rows.append(
                {
                    "dataset": dataset,
                    "class": name,
                    "quantity": quantity,
                    "lesions": len(part),
                    "median": part[quantity].median(),
                    "prior_median": first["median"],
                    "prior_low": first["low"],
                    "prior_high": first["high"],
                    "share_inside_prior": part["inside"].mean(),
                }
            )
    columns = [
        "dataset",
        "class",
        "quantity",
        "lesions",
        "median",
        "prior_median",
        "prior_low",
        "prior_high",
        "share_inside_prior",
    ]
    table = pd.DataFrame(rows, columns=columns)
    order = {name: place for place, name in enumerate(SUBTYPES)}
    return table.sort_values(
        ["quantity", "dataset", "class"],
        key=lambda column: column.map(order) if column.name == "class" else column,
        ignore_index=True,
    )


def quantity_and_priors(lesions: pd.DataFrame, quantity: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values (`class, value`) and prior ranges of one quantity, as `figures.distribution_figure`
    takes them."""
    known = lesions[lesions["class"].isin(SUBTYPES) & lesions[quantity].notna()]
    return known.rename(columns={quantity: "value"})[["class", "value"]], prior_range(quantity)
