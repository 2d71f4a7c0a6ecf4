import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.published import claims
from ich_study.published.tables import PAPERS, load_all
from ich_study.schema import LABELS, RESULT_COLUMNS, RESULT_LEVELS, result_table

STUDIES = {
    "01_backbones",
    "02_lse_unet",
    "03_resnet_lstm",
    "04_swin_hgi_sam",
    "05_mil_detector",
    "06_cam_benchmark",
}
BACKBONE_ARMS = {
    "resnet152",
    "densenet121",
    "densenet121_scratch",
    "resnetrs200",
    "rdnet_tiny",
    "resnet101",
    *(f"efficientnetv2_{size}" for size in ("b0", "b1", "b2", "b3", "s", "l")),
    "cam_baseline",
    "cam_size_448",
    "cam_size_512",
    "cam_augment",
    "cam_posweight_2",
    "cam_posweight_3",
    "cam_final",
}
PAPER_STUDY = {
    "lse_unet": "02_lse_unet",
    "cam_benchmark": "06_cam_benchmark",
    "resnet_lstm": "03_resnet_lstm",
    "hgi_sam": "04_swin_hgi_sam",
    "mil_detector": "05_mil_detector",
}


def claim(left, comparison=">", right="method=b", **more):
    columns = dict.fromkeys(claims.CLAIM_COLUMNS, "") | {
        "claim_id": "t",
        "study": "s",
        "metric": "auroc",
    }
    return pd.Series({**columns, "left": left, "comparison": comparison, "right": right, **more})


def number(method, low, high, **more):
    return {
        "study": "s",
        "dataset": "d",
        "method": method,
        "class": "any",
        "metric": "auroc",
        "value": (low + high) / 2,
        "ci_low": low,
        "ci_high": high,
        "seed": 0,
        **more,
    }


def judged(asked, *rows):
    return claims.verdict(asked, result_table(list(rows)))


@pytest.fixture(scope="module")
def known():
    return claims.load_claims()


def test_every_paper_has_its_claims_and_the_classifiers_all_of_theirs(known):
    assert set(known["paper"]) == set(PAPERS)
    assert known.groupby("paper").size().min() >= 13
    assert (known["study"] == "01_backbones").sum() >= 20
    assert set(known["study"]) <= STUDIES


def test_every_claim_parses_to_columns_and_levels_of_the_result_table(known):
    for _, row in known.iterrows():
        for side in claims.claim_sides(row):
            if isinstance(side, float):
                continue
            assert set(side) <= set(RESULT_COLUMNS)
            assert set(side.get("unit", ())) <= RESULT_LEVELS["unit"]
            assert set(side.get("subset", ())) <= RESULT_LEVELS["subset"]
            assert set(side.get("class", ())) <= {*LABELS, "average"}
            assert set(side["study"]) <= STUDIES
            assert side.get("metric")
        assert row["sentence"]


def test_claims_about_the_classifiers_name_only_arms_that_exist(known):
    named = [
        side
        for _, row in known.iterrows()
        for side in claims.claim_sides(row)
        if not isinstance(side, float)
    ]
    arms = {
        method
        for side in named
        if side["study"] == ("01_backbones",)
        for method in side.get("method", ())
    }
    assert arms <= BACKBONE_ARMS
    assert BACKBONE_ARMS - arms == set()


@pytest.mark.parametrize(
    "text", ["method", "mthod=a", "value=1", "method=a;method=b", "method=a||b", ""]
)
def test_a_wrong_selector_is_refused(text):
    with pytest.raises(StudyError, match="selector"):
        claims.parse_selector(text)


@pytest.mark.parametrize("text", ["=", "within", "within -1", "within x", "> 0.1", "<="])
def test_a_wrong_comparison_is_refused(text):
    with pytest.raises(StudyError, match="comparison"):
        claims.parse_comparison(text)


@pytest.mark.parametrize(
    ("comparison", "a", "b", "expected"),
    [
        (">", (0.8, 0.9), (0.6, 0.7), "supported"),
        (">", (0.6, 0.7), (0.8, 0.9), "contradicted"),
        (">", (0.6, 0.8), (0.7, 0.9), "undecided"),
        ("<", (0.6, 0.7), (0.8, 0.9), "supported"),
        ("<", (0.8, 0.9), (0.6, 0.7), "contradicted"),
        (">=", (0.8, 0.9), (0.6, 0.8), "supported"),
        (">=", (0.6, 0.7), (0.8, 0.9), "contradicted"),
        ("within 0.1", (0.80, 0.82), (0.78, 0.81), "supported"),
        ("within 0.1", (0.80, 0.82), (0.50, 0.60), "contradicted"),
        ("within 0.1", (0.80, 0.95), (0.78, 0.81), "undecided"),
    ],
)
def test_intervals_that_do_not_overlap_decide(comparison, a, b, expected):
    assert judged(claim("method=a", comparison), number("a", *a), number("b", *b)) == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.96, 0.99), "supported"), ((0.90, 0.94), "contradicted"), ((0.94, 0.97), "undecided")],
)
def test_a_constant_is_compared_with_the_interval(interval, expected):
    assert judged(claim("method=a", ">", "0.95"), number("a", *interval)) == expected


def test_missing_rows_or_intervals_leave_it_undecided():
    assert judged(claim("method=a"), number("a", 0.8, 0.9)) == "undecided"
    assert (
        judged(
            claim("method=a"),
            number("a", 0.8, 0.9),
            {**number("b", 0, 0), "ci_low": None, "ci_high": None},
        )
        == "undecided"
    )
    assert (
        judged(claim("method=a"), number("a", 0.8, 0.9), number("b", 0.1, 0.2, seed=1))
        == "undecided"
    )
    empty = pd.DataFrame(columns=list(RESULT_COLUMNS))
    assert claims.verdict(claim("method=a"), empty) == "undecided"


def test_a_paired_difference_decides_where_intervals_overlap():
    rows = [number("a", 0.70, 0.90), number("b", 0.65, 0.85)]
    assert judged(claim("method=a"), *rows) == "undecided"
    paired = number(claims.difference_method("a", "b"), 0.01, 0.09, metric="auroc_difference")
    assert judged(claim("method=a"), *rows, paired) == "supported"
    assert judged(claim("method=a"), *rows, {**paired, "ci_low": -0.01}) == "undecided"
    assert judged(claim("method=a"), *rows, {**paired, "dataset": "other"}) == "undecided"
    assert judged(claim("method=a", "<"), *rows, paired) == "contradicted"


def test_all_alternatives_must_hold():
    asked = claim("method=a", ">", "method=b|c")
    good, bad = number("b", 0.1, 0.2), number("c", 0.95, 0.99)
    assert judged(asked, number("a", 0.8, 0.9), good, number("c", 0.3, 0.4)) == "supported"
    assert judged(asked, number("a", 0.8, 0.9), good, bad) == "contradicted"
    assert judged(asked, number("a", 0.8, 0.9), good) == "undecided"
    assert judged(asked, number("a", 0.8, 0.9), bad) == "contradicted"


def test_classes_and_seeds_are_compared_with_themselves():
    asked = claim("method=a", **{"class": "IPH|EDH"})
    rows = [
        number("a", 0.8, 0.9, **{"class": "IPH"}),
        number("b", 0.6, 0.7, **{"class": "IPH"}),
        number("a", 0.4, 0.5, **{"class": "EDH"}),
        number("b", 0.2, 0.3, **{"class": "EDH"}),
    ]
    assert judged(asked, *rows) == "supported"
    assert judged(asked, *rows[:3]) == "undecided"
    moved = [*rows, *({**row, "seed": 1} for row in rows)]
    assert claims.verdicts(result_table(moved), pd.DataFrame([asked])).loc[0, "pairs"] == 4


def test_variants_of_one_method_and_keys_read_back_from_csv_are_compared(tmp_path):
    asked = claim(
        "variant=threshold_0.3;brain_mask=true;layer=-3",
        "within 0.1",
        "variant=threshold_0.5;brain_mask=true;layer=-3",
    )
    keys = {"brain_mask": True, "layer": -3}
    rows = result_table(
        [
            number("a", 0.7, 0.72, variant="threshold_0.3", **keys),
            number("a", 0.71, 0.73, variant="threshold_0.5", **keys),
            number("a", 0.1, 0.2, variant="threshold_0.5"),
        ]
    )
    rows.to_csv(tmp_path / "r.csv", index=False)
    assert claims.verdict(asked, rows) == "supported"
    assert claims.verdict(asked, pd.read_csv(tmp_path / "r.csv")) == "supported"


def test_a_table_without_its_columns_or_with_a_number_twice_is_refused():
    with pytest.raises(StudyError, match="ci_low"):
        claims.verdict(claim("method=a"), pd.DataFrame(columns=["study"]))
    with pytest.raises(StudyError, match="twice"):
        judged(claim("method=a"), number("a", 0.8, 0.9), number("a", 0.7, 0.9))


def test_nothing_is_decided_without_results(known):
    table = claims.verdicts(pd.DataFrame(columns=list(RESULT_COLUMNS)))
    assert tuple(table.columns) == claims.VERDICT_COLUMNS
    assert len(table) == len(known)
    assert set(table["verdict"]) == {"undecided"}


def as_results(paper, tables, arms=()):
    """The printed numbers as a result table with next to no interval; of folds, the overall row."""
    frame = load_all().query("paper == @paper and table in @tables")
    frame = (
        frame[frame["method"].notna() & ~frame["row"].isin(list("12345"))]
        .astype(object)
        .where(frame.notna(), None)
    )
    study = np.where(frame["method"].isin(arms), "01_backbones", PAPER_STUDY[paper])
    keys = ["dataset", "method", "layer", "class", "unit", "subset", "metric", "value"]
    rows = [
        {
            "study": name,
            **row[keys].to_dict(),
            "ci_low": row["value"] - 1e-9,
            "ci_high": row["value"] + 1e-9,
        }
        for name, (_, row) in zip(study, frame.iterrows())
    ]
    return result_table(rows)


def test_the_printed_tables_decide_the_papers_own_sentences():
    """With its own numbers a paper supports its sentences, but for those that its table
    contradicts."""
    printed = {
        "lse_unet": as_results("lse_unet", ["table_1", "table_2", "table_3"], BACKBONE_ARMS),
        "cam_benchmark": pd.concat(
            [
                as_results("cam_benchmark", ["table_1"], BACKBONE_ARMS),
                as_results("cam_benchmark", ["table_2a"]),
            ]
        ),
        "hgi_sam": as_results("hgi_sam", ["table_1", "table_2"]),
        "mil_detector": as_results("mil_detector", ["table_1"]).assign(variant="printed"),
    }
    lse, hgi = printed["lse_unet"], printed["hgi_sam"]
    lse["variant"] = np.where(lse["method"] == "lse_unet", "authors", "printed")
    supervised = hgi["method"].isin(["unet", "swin_unetr"])
    masks = (hgi["subset"] == "positive").to_numpy()
    hgi["variant"] = np.where(masks, "printed", None)
    hgi["brain_mask"] = np.where(masks, np.where(supervised, "false", "true"), None)
    hgi["threshold_source"] = np.where(
        masks, np.where(supervised, "none", "masks-validation"), None
    )
    dice = lse["metric"] == "dice"
    printed["lse_unet"].loc[dice, "study"] = "02_lse_unet"
    verdicts = pd.concat(
        [
            claims.verdicts(rows, claims.load_claims().query("paper == @paper"))
            for paper, rows in printed.items()
        ]
    )
    found = verdicts.set_index("claim_id")["verdict"]
    contradicted = set(found[found == "contradicted"].index)
    # lse-02, lse-06: literal readings that Table 1 refutes; cam-22: three of nine methods fall
    # towards [-3]; hgi-09: the printed recalls of the Swin models differ by up to 0.085.
    assert contradicted == {"lse-02", "lse-06", "cam-22", "hgi-09"}
    supported = set(found[found == "supported"].index)
    expected = {
        "lse": (1, 3, 4, 5, 7, 8, 9, 10, 11, 12, 14),
        "cam": (*range(1, 9), 16, 18, 19, 20, 21, 23, 24, 25),
        "hgi": (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12),
        "mil": (1, 2, 3, 4),
    }
    expected_ids = {
        f"{paper}-{index:02d}" for paper, indices in expected.items() for index in indices
    }
    assert supported == expected_ids | {"lse-11b", "hgi-06b"}


def test_an_interval_over_too_few_patients_decides_nothing():
    few, enough = claims.MINIMUM_PATIENTS - 1, claims.MINIMUM_PATIENTS
    better, worse = number("a", 0.9, 0.95), number("b", 0.1, 0.2)
    assert judged(claim("method=a"), better | {"n": few}, worse | {"n": enough}) == "undecided"
    assert judged(claim("method=a"), better | {"n": enough}, worse | {"n": enough}) == "supported"


def test_a_paired_difference_within_one_layer_does_not_decide_between_layers():
    rows = [
        number("a", 0.4, 0.6, layer="-3"),
        number("b", 0.4, 0.6, layer="-1"),
        number("b", 0.4, 0.6, layer="-3"),
        number("a - b", 0.1, 0.2, layer="-3", metric="auroc_difference"),
    ]
    assert judged(claim("method=a;layer=-3", right="method=b;layer=-3"), *rows) == "supported"
    assert judged(claim("method=a;layer=-3", right="method=b;layer=-1"), *rows) == "undecided"


def test_a_paired_difference_decides_where_the_other_method_has_no_such_variant():
    rows = [
        number("a", 0.4, 0.6, variant="authors"),
        number("b", 0.4, 0.6, variant="printed"),
        number("a - b", 0.1, 0.2, variant="authors", metric="auroc_difference"),
    ]
    asked = claim("method=a;variant=authors", right="method=b;variant=printed")
    assert judged(asked, *rows) == "supported"
    assert judged(asked, *rows, number("b", 0.1, 0.2, variant="authors")) == "undecided"


def test_a_phantom_does_not_decide_about_a_printed_number():
    asked = pd.DataFrame(
        [
            claim("method=a", "within 0.1", "0.9", note="absolute: margin ours"),
            claim("method=a", "within 0.1", "0.9"),
        ]
    )
    table = result_table([number("a", 0.2, 0.3)])
    assert claims.verdicts(table, asked)["verdict"].tolist() == ["contradicted"] * 2
    assert claims.verdicts(table, asked, synthetic=True)["verdict"].tolist() == [
        "undecided",
        "contradicted",
    ]
