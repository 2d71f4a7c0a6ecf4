"""How far a number moves from seed to seed, nothing else changed: the floor under every gain.

Repeats are rows that differ in their seed alone, or runs of `01_backbones` named alike but for
`_seed_N`. The spread is the largest less the smallest of them, of few seeds a lower bound.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ich_study.published.claims import KEYS, claim_sides
from ich_study.schema import result_table

METHOD = "seed_to_seed"
"""Stands in a printed table as a method of its own."""
SPREADS: tuple[str, ...] = (*(name for name in KEYS if name != "part"), "seeds", "spread")


def seed_spreads(results: pd.DataFrame) -> pd.DataFrame:
    """A row per number that has several seeds, columns SPREADS. results: result rows; of a number
    that stands twice with one seed the first counts."""
    keys = list(SPREADS[:-2])
    rows = results.dropna(subset=["value"])
    rows = rows.assign(method=rows["method"].str.replace(r"_seed_\d+$", "", regex=True))
    rows = rows.drop_duplicates([*keys, "seed"])
    found = rows.groupby(keys, dropna=False, sort=False)["value"].agg(["size", "min", "max"])
    found = found[found["size"] > 1].reset_index()
    found["spread"] = found["max"] - found["min"]
    return found.rename(columns={"size": "seeds"})[list(SPREADS)]


def of_these_runs(repeats: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Rows of `tools.seeds` but for those of studies that have run anew since, which is printed.

    results: of all runs. A study has run anew where its own number, the lowest seed, is another.
    """
    keys = [name for name in SPREADS[:-2] if name not in ("layer", "brain_mask")] + ["seed"]
    both = repeats[[*keys, "value"]].merge(
        results[[*keys, "value"]], on=keys, suffixes=("", "_now")
    )
    both["same"] = np.isclose(both["value"], both["value_now"], rtol=1e-4)  # of five digits
    same = both.groupby(keys, dropna=False)["same"].any()
    stale = sorted({key[0] for key in same.index[~same]})
    if stale:
        print(f"other seeds of {', '.join(stale)} are of earlier runs: left out; run tools.seeds")
    return repeats[~repeats["study"].isin(stale)]


def gain_floor(spreads: pd.DataFrame) -> pd.DataFrame:
    """The largest spread of `f1_top5` as a result row of the method METHOD, `n` its seeds; no row
    without a repeat."""
    own = spreads[spreads["metric"] == "f1_top5"].sort_values("spread").groupby("dataset").tail(1)
    row = own.assign(method=METHOD, metric="f1_top5_gain", value=own["spread"], n=own["seeds"])
    return result_table(row.drop(columns=["seeds", "spread"]).to_dict("records"))


def with_floor(ledger: pd.DataFrame, spreads: pd.DataFrame) -> pd.DataFrame:
    """`claims.verdicts` with the column `seed_to_seed`: the largest spread of the claim's metric
    and class in its study; missing where no seed was repeated."""
    named = spreads.astype({"class": "object"}).fillna({"class": ""})

    def floor(claim: pd.Series) -> float:
        left, own = claim_sides(claim)[0], named
        for key in ("study", "metric", "class"):
            own = own[own[key].isin(left[key])]
        return float(own["spread"].max())

    return ledger.assign(seed_to_seed=[floor(claim) for _, claim in ledger.iterrows()])
