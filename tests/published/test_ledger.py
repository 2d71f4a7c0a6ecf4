import pandas as pd
import pytest

from ich_study.figures.names import readable
from ich_study.published.beside import rebuilt_tables
from ich_study.published.claims import verdicts
from ich_study.published.ledger import few_words, ledger_page
from ich_study.published.tables import PAPERS
from ich_study.schema import result_table

POINTS = {
    "study": "05_mil_detector",
    "dataset": "cq500",
    "method": "mil_max_pooling",
    "variant": "printed",
    "class": "any",
    "unit": "slice",
    "subset": "all",
    "threshold_source": "masks-validation",
    "metric": "point_f1",
    "value": 0.53,
    "ci_low": 0.51,
    "ci_high": 0.54,
    "n": 40,
    "seed": 1,
}
"""The mean point F1 of the pooling detector, 0.05 from the printed 0.5808 of mil-01."""
HGI = {
    "study": "04_swin_hgi_sam",
    "dataset": "phe_sich",
    "variant": "printed",
    "class": "any",
    "unit": "slice",
    "subset": "positive",
    "threshold_source": "masks-validation",
    "brain_mask": "true",
    "metric": "box_dice",
    "n": 15,
    "seed": 1,
}
GRAD_CAM = {**HGI, "method": "swin_grad_cam", "value": 0.25, "ci_low": 0.2, "ci_high": 0.3}
HGI_SAM = {**HGI, "method": "swin_hgi_sam", "value": 0.5, "ci_low": 0.45, "ci_high": 0.6}


def page_of(rows, floors=None, tables=True):
    """The page of these result rows, and the cells of its lines by claim and column."""
    results = result_table(rows)
    found, _ = rebuilt_tables(results) if tables else ((), ())
    ledger = verdicts(results).assign(**floors or {})
    page = ledger_page(ledger, "a few numbers", found)
    lines, columns = {}, []
    for line in page.splitlines():
        if line.startswith("| "):
            cells = line.strip("| ").split(" | ") if "|  |" not in line else _cells(line)
            columns = cells if cells[0] in ("id", "paper") else columns
            lines[cells[0]] = dict(zip(columns, cells))
    return page, lines


def _cells(line):
    return [cell.strip() for cell in line[1:-1].split("|")]


def test_a_page_counts_every_claim_first_and_lists_the_measured_ones():
    page, lines = page_of([POINTS], {"seed_to_seed": 0.0234})
    assert all(f"## {readable(paper)}\n\n*{name}*" in page for paper, name in PAPERS.items())
    counts = lines["MIL detector"]
    assert page.index("MIL detector") < page.index("## LSE-UNet")
    others = verdicts(result_table([POINTS]))["paper"].eq("mil_detector").sum() - 2
    told = {"contradicted": "1", "undecided": "0", "not measured": str(others), "supported": "0"}
    # mil-10 is about time, and neither counted nor listed
    assert {name: counts[name] for name in told} == told
    assert "Claims about time (hgi-16, hgi-17, mil-10) stand in `claims.csv` alone." in page
    assert [name for name in lines if name.startswith(("mil-", "hgi-", "cam-"))] == ["mil-01"]


def test_a_line_says_what_is_claimed_what_was_found_and_where():
    _, lines = page_of([POINTS], {"seed_to_seed": 0.0234})
    # 0.51 and 0.54 less the printed number, and the floor under them
    assert lines["mil-01"] == {
        "id": "mil-01",
        "claim": "MIL max pooling on CQ500: F1 of points is 0.5808.",
        "verdict": "**contradicted**",
        "95 % interval of the difference": "point F1 less 0.5808: -0.071 to -0.041",
        "seed to seed": "0.023",
        "see": "[table 1](mil_detector_table_1.csv), [run](../05_mil_detector/)",
    }
    # a number that no printed table shows is in the metrics
    _, lines = page_of([POINTS], tables=False)
    see = "[metrics](../05_mil_detector/metrics.csv), [run](../05_mil_detector/)"
    assert lines["mil-01"]["see"] == see
    assert "seed to seed" not in lines["mil-01"]  # nothing was repeated: no empty column


def test_a_classifier_is_linked_to_its_own_run():
    same = {**POINTS, "study": "01_backbones", "dataset": "hemorica/validation"}
    same |= {"threshold_source": "none", "metric": "f1_top5"}
    runs = [{**same, "method": name} for name in ("cam_size_448", "cam_baseline")]
    _, lines = page_of(runs)
    assert lines["cam-01"]["see"].endswith("table_1.csv), [run](../01_backbones/cam_size_448/)")


def test_a_verdict_against_boxes_has_its_own_measure_interval_and_floor():
    floors = {"seed_to_seed": 0.9, "seed_to_seed_boxes": 0.0125}
    _, lines = page_of([GRAD_CAM, HGI_SAM], floors)
    assert lines["HGI-SAM"]["against boxes"].endswith("supported")
    assert "under our protocol" not in lines["HGI-SAM"]  # of none of the papers
    line = lines["hgi-04"]
    assert line["verdict"] == "**supported** against boxes"
    assert line["95 % interval of the difference"] == "Dice of boxes: 0.150 to 0.400"
    assert line["seed to seed"] == "0.013"  # not the paper's 0.9
    assert line["see"].startswith("[table 1](hgi_sam_table_1.csv)")


def test_two_verdicts_stand_in_one_line():
    dice = [{**row, "metric": "dice"} for row in (GRAD_CAM, {**HGI_SAM, "ci_low": 0.29})]
    _, lines = page_of([*dice, GRAD_CAM, HGI_SAM], {"seed_to_seed": 0.1, "seed_to_seed_boxes": 0.2})
    line = lines["hgi-04"]
    assert line["verdict"] == "undecided, **supported** against boxes"
    told = line["95 % interval of the difference"]
    assert told == "Dice: -0.010 to 0.400; boxes 0.150 to 0.400"
    assert line["seed to seed"] == "0.100; boxes 0.200"
    _, lines = page_of([*dice, *({**row, "metric": "box_dice"} for row in dice)])
    line = lines["hgi-04"]
    assert line["verdict"] == "undecided, also against boxes"
    assert line["95 % interval of the difference"] == "Dice: -0.010 to 0.400"


def test_decided_claims_come_first():
    others = [{**HGI_SAM, "method": f"swin_sam_{name}"} for name in ("binary", "multi_label")]
    page, _ = page_of([GRAD_CAM, HGI_SAM, *others])
    listed = [line for line in page.splitlines() if line.startswith("| hgi-")]
    decided = ["supported" in line or "contradicted" in line for line in listed]
    assert decided == sorted(decided, reverse=True) and {True, False} == set(decided)


@pytest.mark.parametrize(
    ("claim_id", "few", "told"),
    [
        ("hgi-06", {}, "3 of 3 comparisons fail"),
        ("hgi-05", {}, "2 of 3 comparisons open"),
        ("hgi-04", {}, ""),  # supported
        ("hgi-04", {"n": 3}, "3 patients are too few"),
    ],
)
def test_why_is_told_in_few_words(claim_id, few, told):
    """Of reasons that `verdicts` gives; Swin-Grad-CAM is the lowest unless told otherwise."""
    lowest = {"value": 0.25, "ci_low": 0.2, "ci_high": 0.3}
    if claim_id == "hgi-06":
        lowest = {"value": 0.95, "ci_low": 0.9, "ci_high": 0.99}
    others = [
        {**HGI_SAM, **few, "method": name} for name in ("swin_sam_binary", "swin_sam_multi_label")
    ]
    rows = [{**GRAD_CAM, **lowest, **few}, {**HGI_SAM, **few}, *others]
    ledger = verdicts(result_table(rows)).set_index("claim_id").loc[claim_id]
    assert few_words(ledger["verdict_boxes"], ledger["reason_boxes"]) == told


def test_a_subtype_with_too_few_patients_is_named():
    reason = "4 of 20 cannot be decided with 40 patients: EDH: the measure has no value"
    assert few_words("undecided", reason) == "40 patients are too few for EDH"
    reason = "3 of 4 cannot be decided with 12 patients: IVH, SDH: too few; EDH: in no patient"
    assert few_words("undecided", reason) == "12 patients are too few for IVH, SDH, EDH"


def test_second_verdicts_have_the_interval_that_decided_them():
    ledger = verdicts(result_table([GRAD_CAM, HGI_SAM])).set_index("claim_id")
    found = ledger.loc["hgi-04", ["difference_low_boxes", "difference_high_boxes"]]
    assert found.to_list() == pytest.approx([0.15, 0.4])
    assert pd.isna(ledger.loc["hgi-04", "difference_low_ours"])


def test_a_link_leads_to_the_table_of_the_claims_own_paper():
    """ResNet-LSTM's Table 1 shows HGI-SAM's Dice too, and as many cells of it."""
    dice = {**HGI_SAM, "metric": "dice", "dataset": "physionet"}
    rows = [{**dice, "unit": unit} for unit in ("slice", "scan")]
    _, lines = page_of([*rows, {**GRAD_CAM, "metric": "dice", "dataset": "physionet"}])
    assert lines["hgi-01"]["see"].startswith("[table 1](hgi_sam_table_1.csv)")


def test_measures_are_named_in_words_or_counted():
    same = {**POINTS, "study": "01_backbones", "dataset": "hemorica/test"}
    same |= {"threshold_source": "none", "metric": "sensitivity@0.5", "dataset": "hemorica/test"}
    runs = [
        {**same, "method": f"cam_{name}"} for name in ("posweight_2", "posweight_3", "baseline")
    ]
    _, lines = page_of(runs)
    told = lines["cam-12"]["95 % interval of the difference"]
    assert told == "sensitivity at 0.5: -0.030 to 0.030"
    measures = ("accuracy", "balanced_accuracy", "precision", "f1", "sensitivity", "specificity")
    names = ("swin_sam_binary", "swin_sam_multi_label")
    slices = {**HGI, "subset": "all", "threshold_source": "none", "brain_mask": None}
    rows = [
        {**slices, **numbers, "method": name, "metric": metric}
        for name, numbers in zip(names, ({"value": 0.5, "ci_low": 0.4, "ci_high": 0.6},) * 2)
        for metric in measures
    ]
    _, lines = page_of(rows)
    told = lines["hgi-08"]["95 % interval of the difference"]
    assert told == "6 measures: -0.200 to 0.200"
