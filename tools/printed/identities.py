"""Rules inside a table: what the definitions of mean, Dice, IoU, F1, AUC and count force on its
numbers.

Ratios of counts keep their definition through rounding: every check propagates half a unit of the
last printed digit of each number that enters it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor

from tools.printed.checks import INFINITY, Cell, Cells, Check, Keyed, about, point
from tools.printed.rounding import Interval, corners

LSE_DICE_TABLES = ("table_2", "table_3", "table_5", "table_6", "table_7")
HGI_OVERALL = "Overall slice-wise"
CAM_TEST_SLICES = 2374
"""Slices of the Hemorica test part, an upper bound of how many a rate can be taken over."""
PHYSIONET_SLICES = 2814
"""Slices of PhysioNet ct-ich, an upper bound of the positives of a fold."""


def row_averages(cells: Cells) -> Iterator[Check]:
    """LSE-UNet: AVG is the mean of its row, background ("Normal") included."""
    for table in ("table_1", *LSE_DICE_TABLES):
        for row in cells.rows("lse_unet", table).values():
            classes = [cell.interval for cell in row if cell.label != "average"]
            expected = sum(classes[1:], classes[0]) / len(classes)
            yield from (
                about(cell, "row average", expected, "mean of the row's classes")
                for cell in row
                if cell.label == "average"
            )


def bold_is_best(cells: Cells) -> Iterator[Check]:
    """LSE-UNet Tables 1-3: the number in bold is the best of its column, exactly as printed."""
    for table in ("table_1", "table_2", "table_3"):
        for column in cells.columns("lse_unet", table).values():
            best = max(cell.number.value for cell in column)
            for cell in column:
                if cell.bold:
                    value = point(cell.number.value)
                    yield Check(
                        cell.address,
                        "bold is best",
                        point(best),
                        value,
                        cell.as_printed,
                        "largest number of the column",
                    )


def dice_of_iou(cells: Cells) -> Iterator[Check]:
    """Dice = 2 IoU / (1 + IoU) where both are global; a mean of Dice lies between the mean IoU and
    that.

    The second is Jensen's inequality: the map is concave, and no slice's Dice is below its IoU.
    """
    for dice, iou in _dice_iou_pairs(cells):
        upper = corners(lambda i: 2 * i / (1 + i), iou.interval)
        if dice.address[:2] == ("cam_benchmark", "table_2a"):
            yield about(dice, "Dice of IoU", upper, f"2 IoU / (1 + IoU), IoU {iou.as_printed}")
        else:
            between = Interval(iou.interval.low, upper.high)
            yield about(
                dice,
                "mean Dice of mean IoU",
                between,
                f"from IoU to 2 IoU / (1 + IoU), IoU {iou.as_printed}",
            )


def _dice_iou_pairs(cells: Cells) -> Iterator[tuple[Cell, Cell]]:
    for paper, table in (
        ("cam_benchmark", "table_2a"),
        ("cam_benchmark", "table_2b"),
        ("hgi_sam", "table_1"),
    ):
        for row in cells.rows(paper, table).values():
            by_key = Keyed({(cell.method, cell.layer, cell.metric): cell for cell in row})
            for (method, layer, metric), dice in by_key.items():
                if metric.endswith("dice"):
                    yield dice, by_key[method, layer, metric.replace("dice", "iou")]


def copied_columns(cells: Cells) -> Iterator[Check]:
    """CAM: a mean over slices (Table IIb) that equals the global value (Table IIa) in all nine
    methods is a copy."""
    if not cells.has("cam_benchmark", "table_2a"):
        return
    for heading, column in cells.columns("cam_benchmark", "table_2b").items():
        same = sum(
            cell.number == cells.at("cam_benchmark", "table_2a", *cell.address[2:]).number
            for cell in column
        )
        expected = Interval(Fraction(0), Fraction(len(column) - 1))
        place = ("cam_benchmark", "table_2b", "all methods", heading)
        yield Check(
            place,
            "per slice is not global",
            expected,
            point(same),
            f"{same} of {len(column)} equal",
            "Table IIa, same column",
        )


def detection_identities(cells: Cells) -> Iterator[Check]:
    """HGI-SAM Table 2: F1 of precision and recall, AUC of hard decisions, precision of accuracy,
    recall and specificity."""
    for row in cells.rows("hgi_sam", "table_2").values():
        for method in dict.fromkeys(cell.method for cell in row):
            c = Keyed({cell.metric: cell for cell in row if cell.method == method})
            recall, specificity = c["sensitivity"].interval, c["specificity"].interval
            yield about(
                c["f1"],
                "F1 of precision and recall",
                corners(_harmonic, c["precision"].interval, recall),
                "2 P R / (P + R)",
            )
            yield about(
                c["balanced_accuracy"],
                "AUC of hard decisions",
                (recall + specificity) / 2,
                "(recall + specificity) / 2",
            )
            if not recall.meets(specificity):
                expected = corners(_precision, c["accuracy"].interval, recall, specificity)
                yield about(
                    c["precision"],
                    "precision of accuracy",
                    expected,
                    "the prevalence that accuracy, recall and specificity imply",
                )


def _harmonic(a: Fraction, b: Fraction) -> Fraction:
    return 2 * a * b / (a + b)


def _precision(accuracy: Fraction, recall: Fraction, specificity: Fraction) -> Fraction:
    """Precision at the prevalence (specificity - accuracy) / (specificity - recall), which unequal
    recall and specificity imply."""
    sign = 1 if specificity >= recall else -1
    true_positive = max(Fraction(0), sign * recall * (specificity - accuracy))
    false_positive = max(Fraction(0), sign * (accuracy - recall) * (1 - specificity))
    total = true_positive + false_positive
    return true_positive / total if total else Fraction(1)


def overall_rows(cells: Cells) -> Iterator[Check]:
    """HGI-SAM: a number over all slices lies between the least and the largest of its folds (AUC
    apart, a sum of two ratios)."""
    for table in ("table_1", "table_2"):
        for column in cells.columns("hgi_sam", table).values():
            folds = [cell.interval for cell in column if cell.address[2] != HGI_OVERALL]
            if folds and column[0].metric != "balanced_accuracy":
                expected = Interval(min(i.low for i in folds), max(i.high for i in folds))
                yield from (
                    about(cell, "overall between folds", expected, "least and largest fold")
                    for cell in _overall(column)
                )


def overall_of_folds(cells: Cells) -> Iterator[Check]:
    """HGI-SAM: overall recall and overall Dice and IoU are those of the folds, weighted by their
    positive slices.

    A fold's positives are the fewest that give the recall of all five methods (Table 2): 318 slices
    in all.
    """
    positives = _fold_positives(cells)
    if not positives:
        return
    total = sum(positives.values())
    rows = cells.rows("hgi_sam", "table_2")
    recalls = {
        name: Keyed({c.method: c for c in row if c.metric == "sensitivity"})
        for name, row in rows.items()
    }
    for method, cell in recalls.get(HGI_OVERALL, {}).items():
        hits = sum(
            _numerator(recalls[name][method].interval, count) for name, count in positives.items()
        )
        yield about(
            cell,
            "overall recall of folds",
            point(Fraction(hits, total)),
            f"{hits} of {total} positive slices",
        )
    for column in cells.columns("hgi_sam", "table_1").values():
        weighted = [
            c.interval * point(positives[c.address[2]]) for c in column if c.address[2] in positives
        ]
        expected = sum(weighted[1:], weighted[0]) / total
        why = f"folds weighted by {total} positive slices"
        yield from (
            about(cell, "overall mean of folds", expected, why) for cell in _overall(column)
        )


def _overall(column: list[Cell]) -> list[Cell]:
    return [cell for cell in column if cell.address[2] == HGI_OVERALL]


def _fold_positives(cells: Cells) -> dict[str, int]:
    """Positive slices by fold; empty if no number up to the data set's slices gives every method's
    recall."""
    rows = {
        name: [c.interval for c in row if c.metric == "sensitivity"]
        for name, row in cells.rows("hgi_sam", "table_2").items()
    }
    rows.pop(HGI_OVERALL, None)
    found = {name: smallest_denominator(rates, PHYSIONET_SLICES) for name, rates in rows.items()}
    return found if all(found.values()) else {}


def smallest_denominator(rates: list[Interval], largest: int) -> int | None:
    """The least n up to `largest` such that every rate holds some k / n; None if there is none."""
    return next(
        (
            n
            for n in range(1, largest + 1)
            if all(_numerator(rate, n) is not None for rate in rates)
        ),
        None,
    )


def _numerator(rate: Interval, n: int) -> int | None:
    lowest = ceil(rate.low * n)
    return lowest if lowest <= floor(rate.high * n) else None


def hit_rates(cells: Cells) -> Iterator[Check]:
    """CAM Table IIa: every loose hit rate is a count over one common number of slices of the test
    part."""
    rates = [
        cell for cell in cells.table("cam_benchmark", "table_2a") if cell.metric == "loose_hit"
    ]
    if rates:
        found = (
            smallest_denominator([cell.interval for cell in rates], CAM_TEST_SLICES)
            or CAM_TEST_SLICES + 1
        )
        place = ("cam_benchmark", "table_2a", "all methods", "Loose Hit Rate")
        expected = Interval(Fraction(1), Fraction(CAM_TEST_SLICES))
        yield Check(
            place,
            "hit rates share slices",
            expected,
            point(found),
            f"{found} slices",
            "test slices",
        )


def point_dice(cells: Cells) -> Iterator[Check]:
    """MIL: Dice = 2 PPV Se / (PPV + Se) of summed counts."""
    for row in cells.rows("mil_detector", "table_1").values():
        c = Keyed({cell.metric: cell for cell in row})
        expected = corners(_harmonic, c["point_ppv"].interval, c["point_sensitivity"].interval)
        yield about(c["point_f1"], "Dice of PPV and sensitivity", expected, "2 PPV Se / (PPV + Se)")


def f1_gains(cells: Cells) -> Iterator[Check]:
    """CAM Table I: each gain is its F1 minus the baseline's."""
    rows = cells.rows("cam_benchmark", "table_1")
    scores = Keyed(
        {cell.method: cell for row in rows.values() for cell in row if cell.metric == "f1_top5"}
    )
    for cell in (cell for row in rows.values() for cell in row if cell.metric == "f1_top5_gain"):
        yield about(
            cell,
            "gain over baseline",
            scores[cell.method].interval - scores["cam_baseline"].interval,
            "F1 minus baseline F1",
        )


def bounded_spreads(cells: Cells) -> Iterator[Check]:
    """ResNet-LSTM: the sd of numbers between 0 and 1 with mean m is at most sqrt(2 m (1 - m)),
    whatever their count.

    n numbers have a sample variance of at most n / (n - 1) m (1 - m), largest for n = 2; compared
    as squares.
    """
    for table in ("table_1", "table_2"):
        for cell in cells.table("resnet_lstm", table):
            spread = cell.number.spread_interval
            if spread is None or cell.metric not in {"dice", "surface_dice"}:
                continue
            mean = Fraction(min(max(Fraction(1, 2), cell.interval.low), cell.interval.high))
            variance = Interval(Fraction(spread.low) ** 2, Fraction(spread.high) ** 2)
            text = f"{cell.as_printed}, compared as variance"
            yield Check(
                cell.address,
                "spread of a fraction",
                Interval(Fraction(0), 2 * mean * (1 - mean)),
                variance,
                text,
                "2 m (1 - m)",
            )


def selected_thresholds(cells: Cells) -> Iterator[Check]:
    """LSE-UNet: Table 3 is the best over the threshold grid (Appendix A), so no cell of Tables 5-7
    is above it, and where Table 4 selects 125, 75 or 25 it equals that table's cell.
    """
    at_threshold = {125: "table_5", 75: "table_6", 25: "table_7"}
    if not all(
        cells.has("lse_unet", table) for table in ("table_3", "table_4", *at_threshold.values())
    ):
        return
    for cell in cells.table("lse_unet", "table_3"):
        if cell.label in {"average", "normal"}:
            continue
        others = {
            m: cells.at("lse_unet", table, *cell.address[2:]) for m, table in at_threshold.items()
        }
        lowest = max(other.interval.low for other in others.values())
        why = "Appendix A: the best results are in Table 3, so not below Tables 5-7"
        yield about(cell, "best over thresholds", Interval(lowest, INFINITY), why)
        chosen = int(
            cells.at("lse_unet", "table_4", cell.address[2], f"m_{cell.label}").number.value
        )
        if chosen in others:
            yield about(
                cell,
                "value at selected threshold",
                others[chosen].interval,
                f"Table 4 selects {chosen}: {at_threshold[chosen]}",
            )


def thresholds_in_grid(cells: Cells) -> Iterator[Check]:
    """LSE-UNet: every mask threshold of Table 4 stands in the grid that Appendix A searched."""
    grid = [
        cell.number.value
        for cell in cells.table("lse_unet", "text_settings")
        if cell.metric == "mask_threshold"
    ]
    for cell in cells.table("lse_unet", "table_4") if grid else ():
        nearest = min(grid, key=lambda value: abs(value - cell.number.value))
        yield about(cell, "threshold in grid", point(nearest), "nearest of the grid of Appendix A")


RULES = (
    row_averages,
    bold_is_best,
    dice_of_iou,
    copied_columns,
    detection_identities,
    overall_rows,
    overall_of_folds,
    hit_rates,
    point_dice,
    f1_gains,
    bounded_spreads,
    selected_thresholds,
    thresholds_in_grid,
)
