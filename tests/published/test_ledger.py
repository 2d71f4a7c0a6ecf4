import re

import pandas as pd
import pytest

from ich_study.figures.names import readable
from ich_study.published.beside import rebuilt_tables
from ich_study.published.claims import verdicts
from ich_study.published.ledger import ledger_page
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


def page_of(rows, tables=True):
    """The page of these result rows, and the cells of its lines by claim and column."""
    results = result_table(rows)
    found, _ = rebuilt_tables(results) if tables else ((), ())
    page = ledger_page(verdicts(results), "a few numbers", found)
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
    page, lines = page_of([POINTS])
    assert all(f"## {readable(paper)}\n\n*{name}*" in page for paper, name in PAPERS.items())
    counts = lines["MIL detector"]
    assert page.index("MIL detector") < page.index("## LSE-UNet")
    others = verdicts(result_table([POINTS]))["paper"].eq("mil_detector").sum() - 2
    told = {"contradicted": "1", "undecided": "0", "not measured": str(others), "supported": "0"}
    # mil-10 is about time, and neither counted nor listed
    assert {name: counts[name] for name in told} == told
    assert "Claims about time (hgi-16, hgi-17, mil-10) stand in `claims.csv` alone." in page
    assert [name for name in lines if name.startswith(("mil-", "hgi-", "cam-"))] == ["mil-01"]
    # a sentence that no number can decide
    assert "computationally light architecture during testing" in page
    assert "names nothing that is heavier" in page


def test_a_line_says_what_is_claimed_what_was_found_and_where():
    _, lines = page_of([POINTS])
    # 0.51 and 0.54 less the printed number; the numbers stand in claims.csv
    assert lines["mil-01"] == {
        "id": "mil-01",
        "claim": "MIL max pooling on CQ500: F1 of points is 0.5808.",
        "verdict": "**contradicted**",
        "see": "[table 1](mil_detector_table_1.csv), [run](../05_mil_detector/)",
    }
    # a number that no printed table shows is in the metrics
    _, lines = page_of([POINTS], tables=False)
    see = "[metrics](../05_mil_detector/metrics.csv), [run](../05_mil_detector/)"
    assert lines["mil-01"]["see"] == see


def test_a_classifier_is_linked_to_its_own_run():
    same = {**POINTS, "study": "01_backbones", "dataset": "hemorica/validation"}
    same |= {"threshold_source": "none", "metric": "f1_top5"}
    runs = [{**same, "method": name} for name in ("cam_size_448", "cam_baseline")]
    _, lines = page_of(runs)
    assert lines["cam-01"]["see"].endswith("table_1.csv), [run](../01_backbones/cam_size_448/)")


def test_a_verdict_against_boxes_is_told_as_one():
    _, lines = page_of([GRAD_CAM, HGI_SAM])
    assert lines["HGI-SAM"]["against boxes"].endswith("supported")
    assert "under our protocol" not in lines["HGI-SAM"]  # of none of the papers
    line = lines["hgi-04"]
    assert line["verdict"] == "**supported** against boxes"
    assert line["see"].startswith("[table 1](hgi_sam_table_1.csv)")


def test_two_verdicts_stand_in_one_line():
    dice = [{**row, "metric": "dice"} for row in (GRAD_CAM, {**HGI_SAM, "ci_low": 0.29})]
    _, lines = page_of([*dice, GRAD_CAM, HGI_SAM])
    assert lines["hgi-04"]["verdict"] == "undecided, **supported** against boxes"
    _, lines = page_of([*dice, *({**row, "metric": "box_dice"} for row in dice)])
    assert lines["hgi-04"]["verdict"] == "undecided, also against boxes"


def test_the_page_says_where_its_numbers_are():
    """Every column that it names is one of the table beside it."""
    page, lines = page_of([POINTS])
    (line,) = [line for line in page.splitlines() if line.startswith("[claims.csv](claims.csv)")]
    named = re.findall(r"`(\w+)`", line)
    assert {"difference_low", "difference_high", "seed_to_seed", "reason"} == set(named)
    assert set(named) <= set(verdicts(result_table([POINTS])).columns)
    assert list(lines["mil-01"]) == ["id", "claim", "verdict", "see"]


def test_decided_claims_come_first():
    others = [{**HGI_SAM, "method": f"swin_sam_{name}"} for name in ("binary", "multi_label")]
    page, _ = page_of([GRAD_CAM, HGI_SAM, *others])
    listed = [line for line in page.splitlines() if line.startswith("| hgi-")]
    decided = ["supported" in line or "contradicted" in line for line in listed]
    assert decided == sorted(decided, reverse=True) and {True, False} == set(decided)


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
