import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.evaluate.results import (
    collect_predictions,
    collect_results,
    collect_tables,
    result_files,
    with_interval,
)
from ich_study.schema import result_table


def rows(method, value=0.9, **more):
    interval = {"ci_low": value - 0.05, "ci_high": value + 0.05}
    return result_table(
        [{"method": method, "class": "IPH", "metric": "auroc", "value": value, **interval, **more}]
    )


def test_results_of_runs_are_gathered(tmp_path):
    for arm in ("b", "a"):
        (tmp_path / "01" / arm).mkdir(parents=True)
        rows(arm).to_csv(tmp_path / "01" / arm / "metrics.csv", index=False)
        pd.DataFrame({"x": [1]}).to_csv(tmp_path / "01" / arm / "roc.csv", index=False)
    assert collect_results(tmp_path)["method"].tolist() == ["a", "b"]
    assert collect_tables(tmp_path, "roc.csv")["method"].tolist() == ["a", "b"]
    assert collect_predictions(tmp_path) == {}


def test_variants_of_a_scale_are_no_part_of_it(tmp_path):
    for place in ("02", "variants/02.joint"):
        (tmp_path / place).mkdir(parents=True)
        rows("a").to_csv(tmp_path / place / "metrics.csv", index=False)
        pd.DataFrame({"x": [1]}).to_csv(tmp_path / place / "roc.csv", index=False)
    assert len(collect_results(tmp_path)) == len(rows("a"))
    assert collect_tables(tmp_path, "roc.csv")["method"].tolist() == ["02"]
    assert list(result_files(tmp_path)) == ["02"]
    # asked for themselves they are there
    assert list(result_files(tmp_path / "variants")) == ["02.joint"]


def test_no_runs_and_foreign_tables_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"no metrics\.csv"):
        collect_results(tmp_path)
    pd.DataFrame({"x": [1]}).to_csv(tmp_path / "metrics.csv", index=False)
    with pytest.raises(DataError, match="columns"):
        collect_results(tmp_path)


def test_numbers_without_value_or_interval_say_so():
    assert (
        with_interval(pd.Series({"value": float("nan"), "ci_low": 0, "ci_high": 1})) == "undefined"
    )
    assert (
        with_interval(pd.Series({"value": 0.5, "ci_low": float("nan"), "ci_high": float("nan")}))
        == "0.500"
    )
