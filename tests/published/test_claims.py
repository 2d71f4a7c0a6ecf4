from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_study import paths
from ich_study.errors import StudyError
from ich_study.evaluate.results import collect_results
from ich_study.published import claims, lookup
from ich_study.published.tables import PAPERS, load_table
from ich_study.schema import LABELS, RESULT_COLUMNS, RESULT_LEVELS, result_table
from tests.published.fakes import number

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
    columns = dict.fromkeys(claims.load_claims(), "") | {
        "claim_id": "t",
        "study": "s",
        "metric": "auroc",
        "protocol": "class=any",
    }
    return pd.Series({**columns, "left": left, "comparison": comparison, "right": right, **more})


def verdict(asked, results):
    return claims.verdicts(results, asked.to_frame().T).loc[0, "verdict"]


def judged(asked, *rows):
    return verdict(asked, result_table(list(rows)))


@pytest.fixture(scope="module")
def known():
    return claims.load_claims()


def test_every_paper_has_its_claims_and_the_classifiers_all_of_theirs(known):
    assert known["claim_id"].is_unique
    assert set(known["paper"]) == set(PAPERS)
    assert known.groupby("paper").size().min() >= 13
    assert (known["study"] == "01_backbones").sum() >= 20
    assert set(";".join(known["evidence"]).split(";")) <= {
        "none",
        "table_1",
        "table_2",
        "table_2a",
        "table_3",
        "table_5",
        "table_7",
        "text_results",
    }
    assert set(known["study"]) <= STUDIES


def test_every_claim_parses_to_columns_and_levels_of_the_result_table(known):
    for _, row in known.iterrows():
        for side in claims.claim_sides(row):
            if isinstance(side, float):
                continue
            assert set(side) <= {*RESULT_COLUMNS, "part"}
            assert set(side["unit"]) <= RESULT_LEVELS["unit"]
            subsets = [level for name in side["subset"] for level in name.split(" - ")]
            assert set(subsets) <= {*RESULT_LEVELS["subset"], ""}
            assert set(side["class"]) <= {*LABELS, "average", "small_lesions", "pooled_subtypes"}
            assert set(side["study"]) <= STUDIES
            assert side.get("metric")
        for second in claims.protocols(row):
            claims.claim_sides(row, second)
        assert claims.parse_comparison(row["comparison"]) and row["sentence"]


def test_every_claim_has_a_short_sentence_of_its_own(known):
    for _, row in known.iterrows():
        words = row["short"].removesuffix(".").split()
        assert 4 <= len(words) <= 12 and row["short"].endswith("."), row["claim_id"]
    assert known["short"].is_unique
    table = claims.verdicts(pd.DataFrame(columns=list(RESULT_COLUMNS)))
    assert table["short"].tolist() == known["short"].tolist()


def test_a_box_twin_changes_the_measure_and_keeps_the_papers_thresholds(known):
    """Otsu's cut once called HGI-SAM's first claim contradicted: the paper does not use it."""
    twins = known.loc[known["boxes"] != "", "boxes"]
    changed = {column for twin in twins for column in lookup.parse_selector(twin)}
    assert changed == {"metric", "class"}  # a box knows no subtype


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
    assert judged(claim("method=a"), number("a", 0.8, 0.9)) == "not measured"
    assert (
        judged(
            claim("method=a"),
            number("a", 0.8, 0.9),
            {**number("b", 0, 0), "ci_low": None, "ci_high": None},
        )
        == "undecided"
    )
    empty = pd.DataFrame(columns=list(RESULT_COLUMNS))
    assert verdict(claim("method=a"), empty) == "not measured"


def test_of_several_seeds_the_lowest_judges_and_seeds_pair_with_each_other():
    """Seed 2 of `a` alone would support, seed 1 contradicts; `b` ran with seed 5 only."""
    rows = [
        number("a", 0.8, 0.9, seed=2),
        number("a", 0.1, 0.2, seed=1),
        number("b", 0.3, 0.4, seed=5),
    ]
    assert judged(claim("method=a"), *rows) == "contradicted"
    assert judged(claim("method=a"), rows[0], rows[2]) == "supported"


def test_a_paired_difference_decides_where_intervals_overlap():
    rows = [number("a", 0.70, 0.90), number("b", 0.65, 0.85)]
    assert judged(claim("method=a"), *rows) == "undecided"
    paired = number("a - b", 0.01, 0.09, metric="auroc_difference")
    assert judged(claim("method=a"), *rows, paired) == "supported"
    assert judged(claim("method=a"), *rows, {**paired, "ci_low": -0.01}) == "undecided"
    assert judged(claim("method=a"), *rows, {**paired, "dataset": "other"}) == "undecided"
    assert judged(claim("method=a", "<"), *rows, paired) == "contradicted"
    assert judged(claim("method=b", "<", "method=a"), *rows, paired) == "supported"


def test_all_alternatives_must_hold():
    asked = claim("method=a", ">", "method=b|c")
    good, bad = number("b", 0.1, 0.2), number("c", 0.95, 0.99)
    assert judged(asked, number("a", 0.8, 0.9), good, number("c", 0.3, 0.4)) == "supported"
    assert judged(asked, number("a", 0.8, 0.9), good, bad) == "contradicted"
    assert judged(asked, number("a", 0.8, 0.9), good) == "not measured"
    assert judged(asked, number("a", 0.8, 0.9), bad) == "contradicted"


def test_classes_and_seeds_are_compared_with_themselves():
    asked = claim("method=a", protocol="class=IPH|EDH")
    rows = [
        number("a", 0.8, 0.9, **{"class": "IPH"}),
        number("b", 0.6, 0.7, **{"class": "IPH"}),
        number("a", 0.4, 0.5, **{"class": "EDH"}),
        number("b", 0.2, 0.3, **{"class": "EDH"}),
    ]
    assert judged(asked, *rows) == "supported"
    assert judged(asked, *rows[:3]) == "not measured"
    elsewhere = [*rows, *({**row, "dataset": "e"} for row in rows)]
    assert claims.verdicts(result_table(elsewhere), pd.DataFrame([asked])).loc[0, "pairs"] == 4


def test_variants_of_one_method_and_keys_read_back_from_csv_are_compared(tmp_path):
    asked = claim(
        "method=a;variant=threshold_0.3",
        "within 0.1",
        "method=a;variant=threshold_0.5",
        protocol="class=any;brain_mask=true;layer=-3",
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
    assert verdict(asked, rows) == "supported"
    assert verdict(asked, pd.read_csv(tmp_path / "r.csv")) == "supported"


def test_nothing_is_decided_without_results(known):
    table = claims.verdicts(pd.DataFrame(columns=list(RESULT_COLUMNS)))
    assert list(table.columns) == [
        *("claim_id", "paper", "section", "short", "sentence", "evidence", "study", "metric"),
        *("protocol", "left", "comparison", "right", "note"),
        *("verdict", "reason", "pairs", "paired", "patients"),
        *("difference_low", "difference_high", "power"),
        *("verdict_ours", "reason_ours", "verdict_boxes", "reason_boxes"),
        *("seed_to_seed", "seed_to_seed_ours", "seed_to_seed_boxes"),
        *("difference_low_ours", "difference_high_ours"),
        *("difference_low_boxes", "difference_high_boxes"),
    ]
    assert len(table) == len(known)
    assert set(table["verdict"]) == {"not measured"}


MASKS = {"threshold_source": "masks-test"}
CAMS = {**MASKS, "variant": "library", "brain_mask": "false"}
PRINTED_AS = {
    ("lse_unet", "table_1"): {"threshold_source": "none", "dataset": "rsna/validation"},
    ("lse_unet", "table_2"): MASKS,
    ("lse_unet", "table_3"): MASKS,
    ("lse_unet", "table_5"): {"threshold_source": "none", "variant": "threshold_125"},
    ("lse_unet", "table_7"): {"threshold_source": "none", "variant": "threshold_25"},
    ("cam_benchmark", "table_1"): {"threshold_source": "none", "dataset": "hemorica/validation"},
    ("cam_benchmark", "table_2a"): CAMS,
    ("cam_benchmark", "text_results"): {
        "threshold_source": "none",
        "dataset": "hemorica/validation",
    },
    ("resnet_lstm", "table_1"): {"threshold_source": "none", "dataset": "unseen"},
    ("resnet_lstm", "table_2"): {"threshold_source": "none", "dataset": "instance2022"},
    ("hgi_sam", "table_1"): {"threshold_source": "masks-validation", "brain_mask": "true"},
    ("hgi_sam", "table_2"): {"threshold_source": "none"},
    ("hgi_sam", "text_results"): {"threshold_source": "none"},
    ("mil_detector", "table_1"): {"threshold_source": "masks-validation"},
    ("mil_detector", "text_results"): {"threshold_source": "none"},
}
"""How each printed table was got, as columns of the result table; `variant` is `printed` else."""
CONTRADICTED = {
    "lse-02": "Table 1 prints SDH at 0.915 to 0.934",
    "lse-06": "Table 1 has better ones at IPH, SAH and EDH",
    "cam-22": "Table IIa: GradCAM, GradCAM++ and EigenGradCAM fall towards [-3]",
    "hgi-09": "Table 2: the recalls of the Swin models differ by 0.085, the precisions by 0.105",
    "rl-04": "Table 2 prints 0.47 and 0.57 for the same method and data",
    "rl-05": "Table 2 prints 1.05 and 0.37 for the same method and data",
}


def as_results(paper, table):
    """Printed numbers as a result table with next to no interval; of folds, the overall row."""
    cells = load_table(paper, table)
    cells = cells[cells["method"].notna() & ~cells["row"].isin(list("12345"))]
    cells = cells[~cells["row"].eq("Cross-validation")]
    cells = cells.drop_duplicates(["method", "class", "layer", "metric", "unit", "subset"])
    found = []
    for cell in cells.astype(object).where(cells.notna(), None).to_dict("records"):
        keys = ("dataset", "method", "layer", "class", "unit", "subset", "metric", "value")
        row = {"variant": "printed", **{key: cell[key] for key in keys}, **PRINTED_AS[paper, table]}
        row["study"] = "01_backbones" if row["metric"] == "f1_top5" else PAPER_STUDY[paper]
        if row["metric"] == "auroc" and row["method"] in BACKBONE_ARMS:
            row["study"] = "01_backbones"
        if row["method"] == "lse_unet" and row["variant"] == "printed":
            row["variant"] = "authors"
        if row["method"] in {"unet", "swin_unetr"} and "brain_mask" in row:
            row |= {"threshold_source": "none", "brain_mask": "false"}
        if row["metric"] == "milliseconds":
            row["class"] = "any"
        value = row["value"]
        found.append({**row, "ci_low": value - 1e-9, "ci_high": value + 1e-9, "n": 100, "seed": 1})
    return result_table(found)


def printed_results():
    """All printed numbers that a claim rests on, the two tables that one sentence compares
    subtracted."""
    found = pd.concat([as_results(*name) for name in PRINTED_AS], ignore_index=True)
    # a number that the text repeats stands once
    found = found.drop_duplicates([*(key for key in lookup.KEYS if key != "part")])
    dice = found[found["study"].eq("02_lse_unet") & found["threshold_source"].eq("masks-test")]
    both = [dice[dice["subset"] == subset] for subset in ("all", "positive")]
    joined = both[0].merge(both[1], on=["method", "class"], suffixes=("", "_other"))
    change = joined["value"] - joined["value_other"]
    lost = joined[list(RESULT_COLUMNS)].assign(
        method=joined["method"] + " - " + joined["method"],
        subset="all - positive",
        metric="dice_difference",
        **dict.fromkeys(["value", "ci_low", "ci_high"], change),
    )
    return pd.concat([found, lost], ignore_index=True)


def test_the_printed_tables_decide_the_papers_own_sentences(known):
    """With its own numbers a paper supports its sentences, but for those that its table
    contradicts; a sentence without a printed number is not measured, and says so."""
    found = claims.verdicts(printed_results()).set_index("claim_id")
    silent = known.loc[known["evidence"] == "none", "claim_id"]
    spoken = found.drop(silent)
    assert spoken["verdict"].isin(["supported", "contradicted"]).all(), spoken[
        spoken["verdict"].isin(["undecided", "not measured"])
    ][["verdict", "reason"]].to_string()
    contradicted = set(spoken.index[spoken["verdict"] == "contradicted"])
    assert contradicted == set(CONTRADICTED)
    assert len(spoken) >= 50
    assert set(found.loc[silent, "verdict"]) == {"not measured"}


def test_a_number_of_another_protocol_never_judges_the_papers_sentence(known):
    """Raw maps at thresholds that saw no test mask are ours, and refute our column only."""
    printed = as_results("cam_benchmark", "table_2a")
    turned = printed.assign(variant="printed", threshold_source="masks-validation")
    turned[["value", "ci_low", "ci_high"]] *= -1
    asked = known[known["claim_id"] == "cam-19"]
    judged = claims.verdicts(pd.concat([printed, turned]), asked).iloc[0]
    assert judged[["verdict", "verdict_ours"]].tolist() == ["supported", "contradicted"]
    assert claims.verdicts(turned, asked)["verdict"].tolist() == ["not measured"]


def test_no_true_difference_is_seldom_called_a_contradiction():
    """100 comparisons of equal methods: uncorrected intervals call most studies contradicted, the
    corrected ones at most 2.5 %."""
    draw = np.random.default_rng(1)
    others = [f"m{number}" for number in range(100)]
    asked = claim("method=a", right="method=" + "|".join(others))
    single = result_table([number(name, 0.0, 1.0) for name in ("a", *others)])
    pairs = result_table(
        [number(f"a - {name}", 0.0, 0.0, metric="auroc_difference") for name in others]
    )
    found = Counter()
    for _ in range(30):
        errors = draw.normal(0, 0.1, len(others))
        drawn = pairs.assign(value=errors, ci_low=errors - 0.196, ci_high=errors + 0.196)
        found[verdict(asked, pd.concat([single, drawn], ignore_index=True))] += 1
        found["uncorrected"] += bool((errors + 0.196 <= 0).any())
    assert found["uncorrected"] >= 20
    assert found["contradicted"] <= 3 and found["supported"] == 0


@pytest.mark.parametrize(
    ("half", "verdict", "power"),
    [(0.01, "supported", 1.0), (0.05, "undecided", 0.95), (0.11, "undecided", 0.0)],
)
def test_an_equivalence_shows_its_power_and_says_when_no_sample_like_this_decides(
    half, verdict, power
):
    """Margin 0.1 around a difference of 0.06: 1.96 standard errors are `half`."""
    rows = [number("a", 0.0, 1.0), number("b", 0.0, 1.0)]
    rows.append(number("a - b", 0.06 - half, 0.06 + half, metric="auroc_difference", n=7))
    asked = pd.DataFrame([claim("method=a", "within 0.1")])
    rows = [{"n": 7, **row} for row in rows]
    judged = claims.verdicts(result_table(rows), asked).iloc[0]
    assert judged["verdict"] == verdict
    assert judged["power"] == pytest.approx(power, abs=0.02)
    assert ("cannot be decided with 7 patients" in judged["reason"]) == (power == 0)


# a scale that ran in parts has no ledger
SCALES = [path.parent.name for path in sorted(paths.resolve("figures").glob("*/07_figures"))]


@pytest.mark.parametrize("scale", SCALES)
def test_what_a_scale_ran_is_judged_or_says_what_it_lacks(scale):
    """A claim without a verdict names the metric, class, method or data that this scale has not, or
    the patients that are too few."""
    found = claims.verdicts(collect_results(Path("figures") / scale))
    for second in ("", "_ours", "_boxes"):
        reasons = found[f"reason{second}"]
        assert not reasons.str.contains("missing|no two rows").any()
        open_ones = found.loc[found[f"verdict{second}"] == "undecided", f"reason{second}"]
        assert open_ones.str.contains("cannot be decided with|none is refuted").all()
        ends = open_ones[open_ones.str.contains("cannot be decided with")].str.split(": ").str[-1]
        named = ends.str.contains("patient|a network marks|equal methods would not be found so")
        assert named.all(), ends[~named].tolist()
        absent = found.loc[found[f"verdict{second}"] == "not measured", f"reason{second}"]
        assert absent.str.startswith("no ").all()


SAME_LOOP = (
    ("05_mil_detector", "variant", {"printed": "published_weights"}),
    ("02_lse_unet", "class", {"IPH": "pooled_subtypes"}),
    ("01_backbones", "metric", {"precision@0.5": "precision_range"}),
    ("01_backbones", "metric", {"sensitivity@0.5": "sensitivity_range"}),
)
"""Study, column and values of rows that are written beside those of another value, and that no
committed scale holds: the authors' MIL weights, shares of the subtypes pooled, and ranges over the
thresholds, which 07 measures."""


def written_rows():
    """Rows that the studies write, of the committed scales and of SAME_LOOP."""
    found = [collect_results(path) for path in sorted(Path("figures").glob("*")) if path.is_dir()]
    for study, column, values in SAME_LOOP:
        own = [each[each["study"].eq(study) & each[column].isin(values)] for each in found]
        found += [each.replace({column: values}) for each in own]
    rows = pd.concat(found, ignore_index=True)
    keys = [*(name for name in lookup.KEYS if name != "part"), "seed"]
    return lookup.Results.of(rows.drop_duplicates(keys))


def test_every_protocol_can_match_rows_that_the_studies_write(known):
    """A protocol whose threshold source or part no study writes could never be judged."""
    rows, lacking = written_rows(), {}
    for _, row in known.iterrows():
        for second in claims.protocols(row):
            for side in claims.claim_sides(row, second):
                if isinstance(side, dict) and rows.absent(side):
                    lacking[row["claim_id"], second] = rows.absent(side)
    assert not lacking


def test_every_class_that_leaves_a_claim_open_is_named():
    """EDH alone was named, the first by letter, where three subtypes were in too few patients."""
    kinds = {"IVH": "in 80 of 1000 replicates", "SDH": "in 9 of 1000", "EDH": "on the sample"}
    rows = [number("a", 0.8, 0.9, n=12, **{"class": "IPH"})]
    for name, kind in kinds.items():
        lacks = {"ci_low": None, "interval": f"the measure has no value {kind}", "n": 12}
        rows.append(number("a", 0.2, 0.3, **{"class": name}) | lacks)
    asked = claim("method=a", ">", "0.25", protocol="class=IPH|IVH|SDH|EDH").to_frame().T
    reason = claims.verdicts(result_table(rows), asked).loc[0, "reason"]
    assert reason.startswith("3 of 4 cannot be decided with 12 patients: ")
    assert reason.endswith("IVH, SDH: it is in too few patients; EDH: it is in no patient")


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
