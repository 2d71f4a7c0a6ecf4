"""How far a number moves from seed to seed, nothing else changed: the floor under every gain.

Repeats are rows that differ in their seed alone, or runs of `01_backbones` named alike but for
`_seed_N`. A spread is the largest less the smallest, of few seeds a lower bound. Under a comparison
of two numbers stands the spread of their difference, as one seed gives both sides the same first
weights and the same order of slices.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from ich_study.evaluate.results import joined
from ich_study.evaluate.rows import OF_SLICES
from ich_study.published.beside import TABLE_X, rebuilt_tables
from ich_study.published.claims import METHOD, claim_sides, load_claims, named, protocols
from ich_study.published.lookup import KEYS, Results, Selector, row_keys
from ich_study.published.tables import load_table
from ich_study.schema import result_table

Key = tuple[str, ...]
BySeed = Mapping[int, float]


def key_of(row: Mapping[str, object]) -> Key:
    """`row_keys` of a row of the result table, or of `Results`, where the part stands apart; the
    method without its `_seed_N`."""
    method = re.sub(r"_seed_\d+$", "", str(row["method"]))
    place = "/".join(filter(None, (row["dataset"], row.get("part"))))
    return tuple(row_keys({**row, "method": method, "dataset": place}).values())


def by_seed(results: pd.DataFrame) -> dict[Key, BySeed]:
    """The values of every number by seed. results: result rows; of a number that stands twice with
    one seed the first counts."""
    found: dict[Key, dict[int, float]] = {}
    for row in results.dropna(subset=["value", "seed"]).to_dict("records"):
        found.setdefault(key_of(row), {}).setdefault(int(row["seed"]), row["value"])
    return found


def spread_of(first: BySeed, other: BySeed) -> tuple[float, int]:
    """How far `first - other` moves over the seeds that both have, and the number of these; where
    they share one seed at most, how far the side moves that moves more. NaN where none does.

    >>> spread_of({1: 0.5, 2: 0.75}, {1: 0.25, 2: 0.375})  # both moved up
    (0.125, 2)
    >>> spread_of({1: 0.5, 2: 0.75}, {1: 0.25})
    (0.25, 2)
    """
    shared = first.keys() & other.keys()
    differences = [first[seed] - other[seed] for seed in shared]
    sides = [differences] if len(shared) > 1 else [list(first.values()), list(other.values())]
    spreads = [(max(side) - min(side), len(side)) for side in sides if len(side) > 1]
    return max(spreads, default=(float("nan"), 0))


def of_these_runs(repeats: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Rows of `tools.seeds` but for those of studies that have run anew since, which is printed.

    results: of all runs. A study has run anew where its own number, the lowest seed, is another.
    """
    # a headline names no depth that was chosen
    keys = [name for name in KEYS if name not in ("part", "layer", "brain_mask")] + ["seed"]
    both = repeats[[*keys, "value"]].merge(
        results[[*keys, "value"]], on=keys, suffixes=("", "_now")
    )
    both["same"] = np.isclose(both["value"], both["value_now"], rtol=1e-4)  # of five digits
    same = both.groupby(keys, dropna=False)["same"].any()
    stale = sorted({key[0] for key in same.index[~same]})
    if stale:
        print(f"other seeds of {', '.join(stale)} are of earlier runs: left out; run tools.seeds")
    return repeats[~repeats["study"].isin(stale)]


def read_rows(results: pd.DataFrame) -> set[Key]:
    """`key_of` of every row that a claim compares, under any of its protocols, or that a printed
    table or Table X shows."""
    table = Results.of(results)
    found = set()
    for _, claim in load_claims().iterrows():
        for second in protocols(claim):
            for side in claim_sides(claim, second):
                rows = [] if isinstance(side, float) else table.select(side)
                found.update(map(key_of, rows))
    of_01 = results[(results["study"] == "01_backbones") & (results["class"] == "any")]
    found.update(map(key_of, of_01[of_01["metric"].isin(TABLE_X)].to_dict("records")))
    for printed in rebuilt_tables(results)[0]:
        found.update(map(key_of, printed.cells.query("ours != ''").to_dict("records")))
    return found


def gain_floor(
    results: pd.DataFrame,
    reference: str,
    metrics: Collection[str] = ("f1_top5",),
    arms: Collection[str] | None = None,
) -> pd.DataFrame:
    """How far the gain over the run `reference` moves, the largest of `arms`, those of the CAM
    benchmark's Table I unless given. A result row `<metric>_gain` of the method METHOD for each
    measure and data set; `n` its seeds. No row where the reference was not repeated."""
    if arms is None:
        arms = load_table("cam_benchmark", "table_1")["method"].dropna().unique()
    own = results[results["metric"].isin(metrics) & (results["study"] == "01_backbones")]
    values = by_seed(own)
    rows = []
    based = own[own["method"] == reference].drop_duplicates(["dataset", "metric", "class"])
    for base in based.to_dict("records"):
        against = values[key_of(base)]
        if len(against) < 2:
            continue
        keys = {key_of({**base, "method": arm}) for arm in arms} - {key_of(base)}  # its repeats
        spreads = [spread_of(values[key], against) for key in keys & values.keys()]
        spread, seeds = max((each for each in spreads if each[1]), default=(np.nan, 0))
        if seeds:
            floor = {"method": METHOD, "metric": f"{base['metric']}_gain"}
            floor |= {"value": spread, "n": seeds}
            empty = dict.fromkeys(("ci_low", "ci_high", "interval"))
            rows.append({**base, **floor, **empty})
    return result_table(rows)


def auroc_floor(differences: pd.DataFrame, results: pd.DataFrame) -> list[float]:
    """How far each of `comparisons.auroc_differences` moves from seed to seed; NaN where its two
    runs were not both repeated, or one repeats the other. results: with the rows of further
    seeds."""
    values = by_seed(results[results["metric"] == "auroc"])
    found = []
    for row in differences.to_dict("records"):
        own = {**OF_SLICES, "study": "01_backbones", "variant": "printed", "metric": "auroc"}
        own |= {name: row[name] for name in ("dataset", "class")}
        keys = [key_of({**own, "method": row[side]}) for side in ("first", "second")]
        first, other = (values.get(key, {}) for key in keys)
        both = keys[0] != keys[1] and len(first.keys() & other.keys()) > 1
        found.append(spread_of(first, other)[0] if both else float("nan"))
    return found


def with_floor(ledger: pd.DataFrame, results: pd.DataFrame, repeats: pd.DataFrame) -> pd.DataFrame:
    """`claims.verdicts` with METHOD filled, how far a difference that the claim makes moves from
    seed to seed, the largest of its comparisons; missing where neither side was repeated. The same
    with `_ours` and `_boxes` for the other two verdicts.

    results: the rows that were judged. repeats: rows of further seeds.
    """
    table, values = Results.of(results), by_seed(joined([results, repeats]))
    claims, ledger = load_claims().set_index("claim_id"), ledger.copy()
    for place, claim_id in ledger["claim_id"].items():
        claim = claims.loc[claim_id]
        for second in protocols(claim):
            floor = claim_floor(table, values, *claim_sides(claim, second))
            ledger.loc[place, named(METHOD, second)] = floor
    return ledger


def claim_floor(
    table: Results, values: Mapping[Key, BySeed], left: Selector, right: Selector | float
) -> float:
    """The largest spread (`spread_of`) of the rows that `left` and `right` compare."""
    if isinstance(right, float):  # which does not move
        compared = [(values.get(key_of(row), {}), {}) for row in table.select(left)]
    else:
        compared = [
            [values.get(key_of(row), {}) for row in pair] for pair in table.pairs(left, right)
        ]
    spreads = [spread_of(*both)[0] for both in compared]
    return max((each for each in spreads if np.isfinite(each)), default=float("nan"))
