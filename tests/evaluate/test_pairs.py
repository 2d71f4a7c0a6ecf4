"""The row of a paired difference says in every column in what the two rows differ."""

from ich_study.evaluate.pairs import pair_columns


def test_what_differs_is_named_in_order_and_what_is_equal_once():
    first = {"method": "lse_unet", "metric": "dice", "subset": "all", "layer": None, "unit": "scan"}
    second = {**first, "subset": "positive", "layer": "-2"}
    assert pair_columns(first, second) == {
        "method": "lse_unet - lse_unet",
        "metric": "dice_difference",
        "subset": "all - positive",
        "layer": " - -2",
        "unit": "scan",
    }
    turned = pair_columns(second, first)
    assert (turned["subset"], turned["layer"]) == ("positive - all", "-2 - ")


def test_truth_values_read_as_in_a_file_and_two_metrics_are_both_named():
    first = {"method": "a", "metric": "dice", "brain_mask": True}
    found = pair_columns(first, {"method": "b", "metric": "iou", "brain_mask": False})
    assert found["brain_mask"] == "true - false"
    assert (found["method"], found["metric"]) == ("a - b", "dice - iou_difference")
