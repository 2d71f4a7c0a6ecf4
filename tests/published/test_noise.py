import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.evaluate.results import read_seeds
from ich_study.paths import resolve
from ich_study.published import claims, noise
from ich_study.published.beside import rebuilt_tables, table_x
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
    found = noise.by_seed(
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
    repeated = [values for values in found.values() if len(values) > 1]
    assert repeated == [{1: 0.5, 2: 0.58, 3: 0.47}] and len(found) == 4


def test_a_difference_moves_less_than_its_sides_that_move_together():
    first, other = {1: 0.5, 2: 0.7, 3: 0.4}, {1: 0.2, 2: 0.45, 3: 0.1}
    spread, seeds = noise.spread_of(first, other)
    assert (round(spread, 6), seeds) == (0.05, 3)  # 0.3, 0.25, 0.3; of the sides 0.3 and 0.35
    # the opposite: sides that move apart
    assert noise.spread_of({1: 0.5, 2: 0.75}, {1: 0.5, 2: 0.25}) == (0.5, 2)
    # a seed that only one side has says nothing of the difference
    assert noise.spread_of({1: 0.5, 2: 0.75, 3: 0.0}, {1: 0.5, 2: 0.5}) == (0.25, 2)


def test_of_sides_without_a_seed_in_common_but_one_the_side_that_moves_counts():
    assert noise.spread_of({1: 0.5}, {1: 0.25, 2: 0.75, 3: 0.5}) == (0.5, 3)
    assert noise.spread_of({1: 0.5, 2: 0.25}, {}) == (0.25, 2)  # a printed number
    spread, seeds = noise.spread_of({1: 0.5}, {1: 0.25})
    assert np.isnan(spread) and seeds == 0


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


def test_the_floor_below_table_1_is_how_far_its_own_gains_move():
    numbers = table(
        ("cam_baseline", 1, 0.5),
        ("cam_baseline", 2, 0.75),
        ("cam_augment", 1, 0.625),
        ("cam_augment", 2, 0.75),  # moves by 0.125, its gain from 0.125 to 0
        ("efficientnetv2_l", 1, 0.9),  # of Figure 2
        ("efficientnetv2_l", 2, 0.1),
        ("cam_final", 1, 0.9),  # of no row of Table I
        ("cam_final", 2, 0.2),
    )
    gain = table(("cam_augment", 1, 0.125, {"metric": "f1_top5_gain"}))
    floor = noise.gain_floor(numbers, "cam_baseline")
    assert floor[["method", "metric", "value", "n"]].to_numpy().tolist() == [
        ["seed_to_seed", "f1_top5_gain", 0.125, 2]
    ]
    (found,), _ = rebuilt_tables(pd.concat([numbers, gain, floor], ignore_index=True))
    wide = found.wide().set_index(["row", "number"])
    assert wide.loc[("largest change from seed to seed", "ours"), "F1"] == "0.1250"
    once = numbers[numbers["seed"] == 1]
    assert len(noise.gain_floor(once, "cam_baseline")) == 0
    alone = noise.gain_floor(numbers[numbers["method"] != "cam_baseline"], "cam_baseline")
    assert len(alone) == 0  # no gain without the baseline
    unmoved = numbers[(numbers["method"] != "cam_baseline") | (numbers["seed"] == 1)]
    assert len(noise.gain_floor(unmoved, "cam_baseline")) == 0  # which moves every gain


def test_table_x_shows_how_far_its_differences_move():
    test = {"dataset": "hemorica/test"}
    f1, auroc = ({**test, "metric": metric} for metric in ("f1@0.5", "auroc"))
    arms = ["cam_baseline", "cam_augment", "efficientnetv2_l"]
    numbers = table(
        *((arm, seed, value, f1) for arm in arms for seed, value in ((1, 0.25), (2, 0.5))),
        ("cam_augment", 3, 0.75, f1),
        ("cam_baseline", 3, 0.25, f1),
        ("cam_baseline", 1, 0.8, auroc),  # not repeated
        ("cam_augment", 1, 0.9, auroc),
        ("cam_augment", 2, 0.95, auroc),  # without the baseline it says too little
    )
    floor = noise.gain_floor(numbers, "cam_baseline", ["f1@0.5", "auroc"], arms)
    assert floor[["metric", "value", "n"]].to_numpy().tolist() == [["f1@0.5_gain", 0.5, 3]]
    first = pd.concat([numbers[numbers["seed"] == 1], floor], ignore_index=True)
    (found,) = table_x(first, "hemorica/test", arms)
    wide = found.wide().set_index("row")
    assert wide.loc["largest change from seed to seed", ["F1", "AUROC"]].tolist() == ["0.500", ""]
    assert len(wide) == 4 and "a smaller difference is noise" in found.notes[0]
    (without,) = table_x(first[:-1], "hemorica/test", arms)
    assert without.notes == () and len(without.wide()) == 3


def test_a_difference_of_auroc_has_its_own_noise():
    auroc = {"dataset": "rsna/test", "metric": "auroc"}
    numbers = table(
        ("a", 1, 0.5, auroc),
        ("a", 2, 0.75, auroc),
        ("b", 1, 0.5, auroc),
        ("b", 2, 0.5, auroc),
        ("a", 3, 0.1, {**auroc, "class": "EDH"}),
        ("a", 3, 0.1, {**auroc, "dataset": "rsna/validation"}),
    )
    named = {"dataset": "rsna/test", "class": "any"}
    once = table(("c", 1, 0.5, auroc))  # the difference of a and c was measured once
    asked = pd.DataFrame([{"first": "a", "second": each} for each in ("b", "c", "d")])
    found = noise.auroc_floor(asked.assign(**named), pd.concat([numbers, once]))
    assert found[0] == 0.25 and np.isnan(found[1:]).all()
    # a repeat of the other one is the noise itself
    repeat = asked.head(1).assign(second="a_seed_2", **named)
    assert np.isnan(noise.auroc_floor(repeat, numbers)).all()


def test_a_repeat_of_the_reference_is_no_arm():
    numbers = table(("default", 1, 0.5), ("default_seed_2", 2, 0.75))
    arms = ["default", "default_seed_2"]
    assert len(noise.gain_floor(numbers, "default", ["f1_top5"], arms)) == 0


def floors(numbers, further):
    """The ledger of `numbers` by claim, with the floors of `further` seeds."""
    return noise.with_floor(claims.verdicts(numbers), numbers, further).set_index("claim_id")


def test_the_floor_of_a_claim_is_that_of_the_difference_it_makes():
    """cam-01 compares 448 pixels with the baseline's 224: 0.25, then 0.125."""
    numbers = table(("cam_baseline", 1, 0.5), ("cam_size_448", 1, 0.75), ("cam_final", 1, 0.6))
    both = table(("cam_baseline", 2, 0.125), ("cam_size_448", 2, 0.25), ("cam_final", 2, 0.1))
    assert floors(numbers, both).loc["cam-01", "seed_to_seed"] == 0.125  # of a side 0.5
    assert np.isnan(floors(numbers, both).loc["lse-02", "seed_to_seed"])
    # one side alone
    assert floors(numbers, both.head(1)).loc["cam-01", "seed_to_seed"] == 0.375
    assert np.isnan(floors(numbers, both.tail(1)).loc["cam-01", "seed_to_seed"])
    assert floors(numbers, both.head(0))["seed_to_seed"].isna().all()


def test_a_claim_against_a_printed_number_moves_as_its_own_rows_do():
    subtype = {
        "study": "01_backbones",
        "dataset": "rsna/validation",
        "metric": "auroc",
        "class": "IPH",
    }
    numbers = table(("resnet152", 1, 0.6, subtype), ("densenet121", 1, 0.5, subtype))
    further = table(
        ("resnet152", 2, 0.9, subtype),
        ("densenet121", 2, 0.625, subtype),
        ("resnet152", 2, 0.1, {**subtype, "class": "any"}),  # no row of the claim
    )
    found = floors(numbers, further)["seed_to_seed"]
    assert found["lse-02"] == pytest.approx(0.3)  # AUROC of every subtype, the largest
    assert np.isnan(found["lse-01"])  # of their average: not repeated


def test_each_verdict_has_the_floor_of_its_own_rows():
    """hgi-01 against its printed Dice; its second verdict is against boxes."""
    own = {"study": "04_swin_hgi_sam", "dataset": "physionet", "subset": "positive"}
    own |= {"threshold_source": "masks-validation", "brain_mask": "true"}
    dice, boxes = {**own, "metric": "dice"}, {**own, "metric": "box_dice"}
    grad_cam, hgi_sam = "swin_grad_cam", "swin_hgi_sam"
    numbers = table(
        *((name, 1, 0.5, each) for name in (grad_cam, hgi_sam) for each in (dice, boxes))
    )
    further = table(
        (grad_cam, 2, 0.5, dice),
        (hgi_sam, 2, 0.625, dice),
        (grad_cam, 2, 0.25, boxes),
        (hgi_sam, 2, 0.5, boxes),
    )
    found = floors(numbers, further).loc["hgi-04"]
    assert (found["seed_to_seed"], found["seed_to_seed_boxes"]) == (0.125, 0.25)
    assert np.isnan(found["seed_to_seed_ours"])  # the claim has no such protocol


def test_rows_that_nothing_reads_are_not_gathered():
    numbers = table(
        ("cam_augment", 1, 0.5),  # of a claim and of Table I
        ("cam_augment", 1, 0.5, {"metric": "f1@0.123"}),
        ("nobodys_run", 1, 0.5),
    )
    assert noise.read_rows(numbers) == {noise.key_of(numbers.iloc[0])}
    # of Table X alone
    (read,) = noise.read_rows(table(("cam_augment", 1, 0.5, {"metric": "auroc"})))
    assert "auroc" in read
    # of a printed table alone: HGI-SAM's specificity per fold
    fold = {"study": "04_swin_hgi_sam", "dataset": "physionet/fold_2", "metric": "specificity"}
    (read,) = noise.read_rows(table(("swin_hgi_sam", 1, 0.5, fold)))
    assert read == noise.key_of({**COMMON, **fold, "method": "swin_hgi_sam"})


@pytest.mark.parametrize("scale", ["open", "phantom"])
def test_committed_seeds_are_result_rows_of_three_seeds(scale, tmp_path):
    rows = read_seeds(resolve(f"figures/{scale}/seeds.csv"))
    assert tuple(rows.columns) == RESULT_COLUMNS
    # own and two further seeds of a headline; of other rows the further ones
    headlines = pd.read_csv(resolve(f"figures/{scale}/seeds.csv"))
    assert (headlines.groupby("what")["seed"].nunique() == 3).all()
    assert set(rows["seed"]) == set(headlines["seed"])
    rows.drop(columns="method").to_csv(tmp_path / "seeds.csv")
    with pytest.raises(DataError, match=r"expected .*run tools"):
        read_seeds(tmp_path / "seeds.csv")
