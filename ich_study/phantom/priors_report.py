"""Measured lesions beside the priors of real haemorrhage: 192 scans of BHSD (see
`phantom.priors`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ich_study.figures.style import distribution_figure
from ich_study.phantom.priors import PRIORS, QUANTILES
from ich_study.schema import SUBTYPES

QUANTITIES: tuple[str, ...] = ("volume_ml", "median_hu")


def prior_range(quantity: str) -> pd.DataFrame:
    """Per subtype `low, median, high` of the prior: 5, 50 and 95 % of the volume in mL; mean -+ 2
    SD of voxel HU."""
    rows = []
    for name in SUBTYPES:
        prior = PRIORS[name]
        if quantity == "volume_ml":
            known = tuple(np.interp((0.05, 0.50, 0.95), QUANTILES, prior.volume_ml))
        else:
            known = tuple(prior.hu_mean + step * prior.hu_sd for step in (-2, 0, 2))
        rows.append((name, *known))
    return pd.DataFrame(rows, columns=["class", "low", "median", "high"])


def _known(lesions: pd.DataFrame, quantity: str) -> pd.DataFrame:
    return lesions[lesions["class"].isin(SUBTYPES) & lesions[quantity].notna()]


def against_priors(lesions: pd.DataFrame) -> pd.DataFrame:
    """Per data set, subtype and quantity: number of lesions, their median, the prior's median and
    range, and the share of lesions inside that range (90 % of real volumes lie inside theirs).

    lesions: rows of `lesions.lesion_statistics` with `dataset`.
    """
    rows = []
    for quantity in sorted(QUANTITIES):
        known = _known(lesions, quantity).merge(prior_range(quantity), on="class")
        known = known.assign(inside=known[quantity].between(known["low"], known["high"]))
        in_order = pd.Categorical(known["class"], SUBTYPES)
        for (dataset, name), part in known.groupby(["dataset", in_order], observed=True):
            prior = part.iloc[0][["median", "low", "high"]]
            measured = (len(part), part[quantity].median(), *prior, part["inside"].mean())
            rows.append((dataset, name, quantity, *measured))
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
    return pd.DataFrame(rows, columns=columns)


def quantity_figures(lesions: pd.DataFrame, whose: str) -> dict[str, Figure]:
    """Volume and median HU of lesions over the priors, by quantity; none without a value.

    whose: what the lesions are, in the title.
    """
    found = {}
    for quantity, unit, log in (("volume_ml", "mL", True), ("median_hu", "HU", False)):
        values = _known(lesions, quantity).rename(columns={quantity: "value"})
        if len(values):
            title = f"{quantity} of {whose} against BHSD priors"
            found[quantity] = distribution_figure(
                values[["class", "value"]], prior_range(quantity), title, unit, log
            )
    return found


def redrawn(runs: Path, data: str) -> dict[str, Figure]:
    """`quantity_figures` again from the table of 00 in `runs`: path below it, without ending, and
    figure."""
    figures = quantity_figures(pd.read_csv(runs / "00_data" / "lesions.csv"), f"lesions of {data}")
    return {f"00_data/{name}": figure for name, figure in figures.items()}
