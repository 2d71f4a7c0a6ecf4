import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.evaluate.results import read_seeds
from ich_study.paths import resolve
from ich_study.published import claims, noise
from ich_study.published.beside import rebuilt_tables
from ich_study.schema import RESULT_COLUMNS, result_table

COMMON = {
    "study": "01_backbones",
    "dataset": "hemorica/validation",
    "variant": "printed",
    "class": "any",
    "unit": "slice",
    "subset": "all",
    "threshold_source": "none",
    "metric": "f1_top5",
    "n": 17,
}


def table(*numbers):
    """Rows of (method, seed, value) and what differs from COMMON."""
    rows = [
        {**COMMON, "method": method, "seed": seed, "value": value, **dict(*more)}
        for method, seed, value, *more in numbers
    ]
    return result_table(rows)


def test_what_differs_in_its_seed_alone_is_a_repeat():
    spreads = noise.seed_spreads(
        table(
            ("cam_final", 1, 0.5),
            ("cam_final_seed_2", 2, 0.58),
            ("cam_final", 3, 0.47),
            ("cam_final", 1, 0.9),  # stands twice with one seed: the first counts
            ("cam_final", 1, 0.8, {"metric": "auroc"}),
            ("cam_augment", 1, 0.1),
            ("cam_augment", 2, 0.3, {"dataset": "hemorica/test"}),
        )
    )
    assert spreads[["method", "metric", "seeds"]].to_numpy().tolist() == [
        ["cam_final", "f1_top5", 3]
    ]
    assert spreads["spread"].item() == pytest.approx(0.11)


def test_seeds_of_a_run_that_is_not_there_any_more_are_left_out(capsys):
    lse, hgi = {"study": "02_lse_unet"}, {"study": "04_swin_hgi_sam", "layer": "-3"}
    seeds = table(
        ("a", 1, 0.501231, lse), ("a", 2, 0.6, lse), ("b", 1, 0.3, hgi), ("b", 2, 0.4, hgi)
    )
    now = table(("a", 1, 0.50123, lse), ("b", 1, 0.31, hgi), ("b", 1, 0.7, {**hgi, "layer": "-2"}))
    kept = noise.of_these_runs(seeds, now)
    assert kept["method"].tolist() == ["a", "a"]
    assert "other seeds of 04_swin_hgi_sam are of earlier runs" in capsys.readouterr().out
    assert len(noise.of_these_runs(seeds, now.head(1))) == 4  # 04 did not run: nothing to tell
    assert not capsys.readouterr().out


def test_the_floor_stands_below_the_gains_of_table_1():
    numbers = table(("cam_baseline", 1, 0.5), ("cam_final", 1, 0.6), ("cam_final_seed_2", 2, 0.5))
    gain = table(("cam_augment", 1, 0.02, {"metric": "f1_top5_gain"}))
    floor = noise.gain_floor(noise.seed_spreads(numbers))
    assert floor[["method", "metric", "n"]].to_numpy().tolist() == [
        ["seed_to_seed", "f1_top5_gain", 2]
    ]
    (found,), _ = rebuilt_tables(pd.concat([numbers, gain, floor], ignore_index=True))
    wide = found.wide().set_index(["row", "number"])
    assert wide.loc[("largest change from seed to seed", "ours"), "F1"] == "0.1000"
    assert len(noise.gain_floor(noise.seed_spreads(gain))) == 0


def test_each_claim_shows_the_floor_of_its_own_metric():
    numbers = table(("cam_final", 1, 0.6), ("cam_final", 2, 0.5))
    subtype = table(
        ("resnet152", 1, 0.6, {"metric": "auroc", "class": "IPH"}),
        ("resnet152", 2, 0.9, {"metric": "auroc", "class": "IPH"}),
    )
    spreads = noise.seed_spreads(pd.concat([numbers, subtype], ignore_index=True))
    ledger = noise.with_floor(claims.verdicts(numbers), spreads).set_index("claim_id")
    assert ledger.loc["cam-01", "seed_to_seed"] == pytest.approx(0.1)  # F1 of the best epochs
    assert ledger.loc["lse-02", "seed_to_seed"] == pytest.approx(0.3)  # AUROC of every subtype
    assert np.isnan(ledger.loc["lse-01", "seed_to_seed"])  # of their average: not repeated
    empty = noise.with_floor(claims.verdicts(numbers), spreads.head(0))
    assert empty["seed_to_seed"].isna().all()


@pytest.mark.parametrize("scale", ["open", "phantom"])
def test_committed_seeds_are_result_rows_of_three_seeds(scale, tmp_path):
    rows = read_seeds(resolve(f"figures/{scale}/seeds.csv"))
    assert tuple(rows.columns) == RESULT_COLUMNS
    assert (noise.seed_spreads(rows)["seeds"] == 3).all()
    rows.drop(columns="method").to_csv(tmp_path / "seeds.csv")
    with pytest.raises(DataError, match=r"expected .*run tools"):
        read_seeds(tmp_path / "seeds.csv")
