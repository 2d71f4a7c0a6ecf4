"""Sentences of the five papers that a number can decide, and the rule that decides them.

A claim compares the rows of the result table that its `left` selector picks with those that `right`
picks, or with a constant. A selector is `key=value;key=value`, keys being columns of the result
table, alternatives `a|b`; `study`, `metric`, `class` and `unit` default to the claim's own columns.
Rows are paired where they agree in every column that both selectors leave open or name alike, so
that classes, seeds and data sets are compared with themselves; each remaining pair must hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from math import prod

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.published.tables import PAPERS
from ich_study.schema import MEASURED, RESULT_COLUMNS

CLAIM_COLUMNS: tuple[str, ...] = (
    "claim_id",
    "paper",
    "section",
    "sentence",
    "study",
    "metric",
    "left",
    "comparison",
    "right",
    "class",
    "unit",
    "note",
)
VERDICT_COLUMNS: tuple[str, ...] = (
    *CLAIM_COLUMNS,
    "verdict",
    "pairs",
    "difference_low",
    "difference_high",
    "reason",
)

KEYS: tuple[str, ...] = tuple(name for name in RESULT_COLUMNS if name not in MEASURED)
"""Columns of the result table that a selector can name."""
MINIMUM_PATIENTS = 5
"""Under this many patients an interval decides nothing: a bootstrap over so few is narrow by
accident."""
_DEFAULTS = ("study", "metric", "class", "unit")


@dataclass(frozen=True)
class Comparison:
    """`>`, `<`, `>=`, or `within` a margin: what the difference left - right must be."""

    sign: str
    margin: float = 0.0

    def decide(self, low: float, high: float) -> str:
        """`supported` if every difference from `low` to `high` holds, `contradicted` if none does,
        else `undecided`."""
        if np.isnan(low) or np.isnan(high):
            return "undecided"
        holds, fails = {
            ">": (low > 0, high <= 0),
            "<": (high < 0, low >= 0),
            ">=": (low >= 0, high < 0),
            "within": (
                max(abs(low), abs(high)) <= self.margin,
                low > self.margin or high < -self.margin,
            ),
        }[self.sign]
        return "supported" if holds else "contradicted" if fails else "undecided"


def parse_comparison(text: str) -> Comparison:
    """`>`, `<`, `>=` or `within 0.02`. Raises StudyError on anything else."""
    sign, _, margin = text.partition(" ")
    if sign in {">", "<", ">="} and not margin:
        return Comparison(sign)
    try:
        if sign == "within" and float(margin) > 0:
            return Comparison(sign, float(margin))
    except ValueError:
        pass
    raise StudyError(f"comparison {text!r}; expected >, <, >= or such as 'within 0.02'")


def parse_selector(text: str) -> dict[str, tuple[str, ...]]:
    """`method=a|b;class=IPH` as {column: alternatives}. Raises StudyError on a column the result
    table lacks, or twice named."""
    selector: dict[str, tuple[str, ...]] = {}
    for part in text.split(";"):
        key, equals, values = part.strip().partition("=")
        if not equals or key not in KEYS or key in selector or not all(values.split("|")):
            raise StudyError(
                f"selector {text!r}: {part!r}; expected column=value or column=a|b, once per"
                f" column, of {', '.join(KEYS)}"
            )
        selector[key] = tuple(values.split("|"))
    return selector


def claim_sides(
    claim: pd.Series,
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]] | float]:
    """The claim's left selector and its right one or constant, with the defaults of its own columns
    filled in."""
    defaults = {key: tuple(claim[key].split("|")) for key in _DEFAULTS if claim[key]}
    left = defaults | parse_selector(claim["left"])
    try:
        return left, float(claim["right"])
    except ValueError:
        return left, defaults | parse_selector(claim["right"])


def load_claims() -> pd.DataFrame:
    """Every claim, columns `CLAIM_COLUMNS`, empty text where a column says nothing.

    Raises StudyError naming the claim whose selector, comparison or paper is not valid.
    """
    with (files("ich_study.published") / "claims.csv").open(encoding="utf-8") as stream:
        claims = pd.read_csv(stream, dtype="string", keep_default_na=False)
    if tuple(claims.columns) != CLAIM_COLUMNS:
        raise StudyError(
            f"published/claims.csv has columns {list(claims.columns)}; expected"
            f" {list(CLAIM_COLUMNS)}"
        )
    for _, claim in claims.iterrows():
        try:
            claim_sides(claim)
            parse_comparison(claim["comparison"])
        except StudyError as error:
            raise StudyError(f"published/claims.csv, claim {claim['claim_id']}: {error}") from error
    if not claims["claim_id"].is_unique or not claims["paper"].isin(PAPERS).all():
        raise StudyError("published/claims.csv: a claim_id stands twice, or a paper is unknown")
    return claims


def difference_method(left: str, right: str) -> str:
    """Value of `method` in a row that holds the paired difference of two methods; its metric is
    `<metric>_difference`."""
    return f"{left} - {right}"


def verdict(claim: pd.Series, results: pd.DataFrame) -> str:
    """`supported`, `contradicted` or `undecided`, from the result table's 95 % intervals.

    The interval of each pair's difference is that of a row `<metric>_difference`
    (`difference_method`) where there is one, else from the left's lower minus the right's upper
    bound to the left's upper minus the right's lower, so that only intervals that do not overlap
    decide. All pairs must hold for `supported`; one that cannot hold gives `contradicted`; a
    missing row or interval, one of fewer than MINIMUM_PATIENTS patients, or intervals that overlap,
    give `undecided`. Raises StudyError if `results` lacks a column.
    """
    return str(_judge(claim, _keyed(results))["verdict"])


def verdicts(
    results: pd.DataFrame, claims: pd.DataFrame | None = None, synthetic: bool = False
) -> pd.DataFrame:
    """Every claim (`load_claims()` unless given) judged, columns `VERDICT_COLUMNS`.

    `pairs` were compared; `difference_low` and `difference_high` span the intervals of all their
    differences.
    synthetic: the results are of a phantom; claims about a printed number of one data set (their
    note begins with `absolute`) are then left undecided.
    """
    claims = load_claims() if claims is None else claims
    keyed = _keyed(results)
    nothing = keyed.iloc[:0]
    rows = []
    for _, claim in claims.iterrows():
        barred = synthetic and claim["note"].startswith("absolute")
        ruling = _judge(claim, nothing if barred else keyed)
        rows.append(
            {
                **claim.to_dict(),
                **ruling,
                **({"reason": "a printed number is not judged by a phantom"} if barred else {}),
            }
        )
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


def _judge(claim: pd.Series, keyed: pd.DataFrame) -> dict[str, object]:
    pairs, complete = _pairs(claim, keyed)
    if pairs.empty:
        return _ruling("undecided", pairs, "no such rows in the result table")
    comparison = parse_comparison(claim["comparison"])
    rulings = [comparison.decide(low, high) for low, high in zip(pairs["low"], pairs["high"])]
    if failed := rulings.count("contradicted"):
        return _ruling("contradicted", pairs, f"{failed} of {len(rulings)} comparisons cannot hold")
    if not complete:
        return _ruling("undecided", pairs, "some of the rows to compare are missing")
    if "undecided" in rulings:
        unknown = pairs.isna().any(axis=None)
        return _ruling(
            "undecided",
            pairs,
            (
                "an interval is missing or of too few patients"
                if unknown
                else "the intervals leave it open"
            ),
        )
    return _ruling("supported", pairs, f"all {len(rulings)} comparisons hold")


def _ruling(result: str, pairs: pd.DataFrame, reason: str) -> dict[str, object]:
    spans = {"difference_low": pairs["low"].min(), "difference_high": pairs["high"].max()}
    return {"verdict": result, "pairs": len(pairs), **spans, "reason": reason}


def _pairs(claim: pd.Series, keyed: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Intervals of left - right, columns `low` and `high`, and whether every alternative named
    found its row."""
    left, right = claim_sides(claim)
    first = _select(keyed, left)
    if isinstance(right, float):
        return pd.DataFrame(
            {"low": first["ci_low"] - right, "high": first["ci_high"] - right}
        ), _complete(first, left)
    second = _select(keyed, right)
    shared = [key for key in KEYS if left.get(key) == right.get(key)]
    joined = first.merge(second, on=shared, suffixes=("", "_right"))
    bounds = pd.DataFrame(
        {
            "low": joined["ci_low"] - joined["ci_high_right"],
            "high": joined["ci_high"] - joined["ci_low_right"],
        }
    )
    named = left | {f"{key}_right": values for key, values in right.items() if key not in shared}
    return _with_paired_differences(joined, bounds, keyed), _complete(joined, named)


def _complete(rows: pd.DataFrame, named: dict[str, tuple[str, ...]]) -> bool:
    return len(rows[list(named)].drop_duplicates()) == prod(
        len(values) for values in named.values()
    )


def _keyed(results: pd.DataFrame) -> pd.DataFrame:
    """The result table with its key columns as text and the intervals as float, NaN for too few
    patients.

    Raises StudyError on a missing column or a number given twice.
    """
    missing = [name for name in RESULT_COLUMNS if name not in results]
    if missing:
        raise StudyError(
            f"the result table lacks columns {missing}; expected {', '.join(RESULT_COLUMNS)}"
        )
    keys = {key: results[key].map(_text).astype(object) for key in KEYS}
    few = (results["n"].astype("float64") < MINIMUM_PATIENTS).to_numpy()
    bounds = {name: results[name].astype("float64").mask(few) for name in ("ci_low", "ci_high")}
    keyed = pd.DataFrame({**keys, **bounds})
    twice = keyed.duplicated(list(KEYS))
    if twice.any():
        example = keyed.loc[twice, list(KEYS)].iloc[0].to_dict()
        raise StudyError(
            f"the result table gives a number twice: {example}; judge one scale at a time"
        )
    return keyed


def _text(value: object) -> str:
    """A key as text: missing is empty; truth values and whole numbers look the same from CSV as
    from memory."""
    if pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if str(value) in {"True", "False"} else str(value)


def _select(keyed: pd.DataFrame, selector: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    chosen = np.ones(len(keyed), bool)
    for key, values in selector.items():
        chosen &= keyed[key].isin(values).to_numpy()
    return keyed[chosen].reset_index(drop=True)


def _with_paired_differences(
    joined: pd.DataFrame, bounds: pd.DataFrame, keyed: pd.DataFrame
) -> pd.DataFrame:
    """`bounds`, replaced where the result table holds the paired difference of the two methods."""
    paired = keyed[keyed["metric"].str.endswith("_difference")]
    if paired.empty or "method_right" not in joined:
        return bounds
    methods = [difference_method(a, b) for a, b in zip(joined["method"], joined["method_right"])]
    wanted = joined[list(KEYS)].assign(metric=joined["metric"] + "_difference", method=methods)
    found = wanted.merge(paired, on=list(KEYS), how="left")[["ci_low", "ci_high"]].set_axis(
        ["low", "high"], axis=1
    )
    # A difference stands under the left side's columns. Where the right side has a row under them
    # too, it is meant by it, and the row says nothing of a pair that differs there, such as two
    # layers.
    alike = np.ones(len(joined), bool)
    for key in KEYS:
        if key != "method" and f"{key}_right" in joined:
            there = set(zip(keyed["method"], keyed[key]))
            elsewhere = np.array(
                [pair not in there for pair in zip(joined["method_right"], joined[key])], bool
            )
            alike &= (joined[key] == joined[f"{key}_right"]).to_numpy() | elsewhere
    found.loc[~alike] = np.nan
    return found.fillna(bounds)
