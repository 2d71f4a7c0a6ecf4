from ich_study.published.claims import verdicts
from ich_study.published.ledger import ledger_page
from ich_study.published.tables import PAPERS
from ich_study.schema import result_table


def test_a_page_counts_every_claim_and_lists_the_measured_ones():
    """One number is there: the mean point F1 of the pooling detector, 0.05 from the printed one."""
    row = {
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
    ledger = verdicts(result_table([row])).assign(seed_to_seed=0.0234)
    page = ledger_page(ledger, "one number")
    assert all(f"## {name}" in page for name in PAPERS.values())
    listed = [line for line in page.splitlines() if line.startswith("| ") and "claim" not in line]
    assert len(listed) == 1 and listed[0].startswith("| mil-01 | contradicted |")
    # 0.51 and 0.54 less the printed 0.5808, and the floor under them
    assert "| -0.071 to -0.041 | 0.023 |" in listed[0]
    assert "[05_mil_detector](../05_mil_detector/), [table](../05_mil_detector/m" in listed[0]
    # mil-10 is about time
    others = (ledger["paper"] == "mil_detector").sum() - 2
    assert f"1 contradicted, 0 undecided, {others} not measured" in page


def test_verdicts_against_boxes_are_counted_apart():
    """On real slices most claims have no other verdict, and a page of the first alone says that
    nothing is known."""
    empty = dict.fromkeys(("verdict_ours", "verdict_boxes"), "")
    ledger = verdicts(result_table([])).assign(seed_to_seed=float("nan"), **empty)
    own = ledger["claim_id"].isin(["hgi-04", "hgi-13"])
    ledger.loc[own, "verdict_boxes"] = ["supported", "undecided"]
    told = [line for line in ledger_page(ledger, "boxes").splitlines() if "not measured." in line]
    assert len(told) == len(PAPERS)
    boxes = "Against boxes 1 supported, 0 contradicted, 1 undecided, 0 not measured."
    assert [line.endswith(boxes) for line in told].count(True) == 1
    assert ["Against" in line or "Under" in line for line in told].count(True) == 1
