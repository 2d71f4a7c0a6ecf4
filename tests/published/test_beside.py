import pytest
import yaml

from ich_study import paths
from ich_study.errors import StudyError
from ich_study.evaluate.results import collect_results, collect_tables, joined, read_seeds
from ich_study.evaluate.top_epochs import gain_rows
from ich_study.published import beside
from ich_study.published.classifiers import all_called_rows
from ich_study.published.lookup import Results, parse_selector
from ich_study.published.noise import gain_floor, of_these_runs
from ich_study.published.publish import rounded
from ich_study.published.tables import list_tables, load_table
from ich_study.schema import result_table

SCALES = paths.project_root() / "params"
COMMON = {
    "study": "06_cam_benchmark",
    "dataset": "hemorica/test",
    "method": "grad_cam",
    "variant": "library",
    "layer": "-1",
    "class": "any",
    "unit": "pixel",
    "subset": "positive",
    "threshold_source": "masks-test",
    "brain_mask": "false",
    "metric": "dice",
    "value": 0.25,
    "ci_low": 0.2,
    "ci_high": 0.3,
    "n": 10,
    "seed": 1,
}
VOLUMES = {
    "study": "03_resnet_lstm",
    "dataset": "instance2022",
    "method": "resnet_lstm_unet",
    "variant": "printed",
    "layer": None,
    "unit": "scan",
    "subset": "all",
    "threshold_source": "none",
    "brain_mask": None,
}
HGI = {
    "study": "04_swin_hgi_sam",
    "dataset": "physionet",
    "layer": None,
    "variant": "printed",
    "unit": "slice",
    "threshold_source": "masks-validation",
    "brain_mask": "true",
}


def rebuilt(*changes):
    """The tables that rows with these changes to COMMON rebuild, wide, by name."""
    tables, _ = beside.rebuilt_tables(result_table([{**COMMON, **each} for each in changes]))
    return {table.name: table.wide().set_index(["row", "number"]) for table in tables}


def test_every_printed_table_of_the_five_papers_is_asked_for():
    lines = beside.load_study_tables()
    columns = ["line", "paper", "table", "title", "printed", "reading", "ours", "note"]
    assert list(lines.columns) == columns and lines["line"].is_unique
    for line in lines.itertuples():
        assert beside.printed_cells(line.paper, line.table, line.printed), line.line
        assert "study" in parse_selector(line.ours), line.line
    asked = set(zip(lines["paper"], lines["table"]))
    printed = {key for key in map(tuple, list_tables().to_numpy()) if key[1].startswith("table_")}
    assert printed <= asked


def test_each_cell_holds_the_printed_number_ours_and_the_difference():
    table = rebuilt({})["cam_benchmark_table_2a"]
    column = table["Pixel Dice [-1]"]
    assert column["GradCAM"].to_dict() == {
        "printed": "0.3640",
        "ours": "0.2500 [0.2000, 0.3000]",
        "difference": "-0.1140",
    }
    # the layout is the paper's: its rows and its columns, in its order, every printed number
    printed = load_table("cam_benchmark", "table_2a")
    assert list(table.columns) == list(dict.fromkeys(printed["column"]))
    assert list(dict.fromkeys(table.index.get_level_values("row"))) == list(
        dict.fromkeys(printed["row"])
    )
    shown = table.xs("printed", level="number").stack()
    expected = printed.set_index(["row", "column"])["as_printed"]
    assert shown.to_dict() == expected.to_dict()


def test_a_number_of_another_protocol_stands_in_a_line_of_its_own_or_nowhere():
    """Thresholds from other patients are a second reading; raw maps and another layer are none."""
    other = {"variant": "printed", "threshold_source": "masks-validation", "value": 0.2}
    table = rebuilt({}, other, {"variant": "raw"}, {"brain_mask": "true", "value": 0.9})
    column = table["cam_benchmark_table_2a"]["Pixel Dice [-1]"]
    assert column["GradCAM"].tolist()[1:] == [
        "0.2500 [0.2000, 0.3000]",
        "0.2000 [0.2000, 0.3000]",
        "-0.1140",
    ]
    assert rebuilt({"variant": "raw"}) == {}


def test_rivals_that_no_paper_prints_stand_below_or_beside_the_printed_methods():
    rival = {"method": "random_map", "variant": "raw", "layer": None}
    below = rebuilt({}, rival)["cam_benchmark_table_2a"]
    assert below.loc[("random map", "ours"), "Pixel Dice [-1]"] == "0.2500 [0.2000, 0.3000]"
    assert below.index.get_level_values("row")[-1] == "random map"
    # methods in columns: behind the last column of the same measure
    own = {**HGI, "method": "swin_hgi_sam"}
    columns = list(rebuilt(own, {**own, "method": "random_map"})["hgi_sam_table_1"].columns)
    at = columns.index("Dice Coefficient, random map")
    assert columns[at - 1] == "Dice Coefficient, Fully supervised Swin-UNETR"
    assert columns[at + 1].startswith("Intersection over Union, ")


def test_spread_and_stars_are_those_of_the_papers_kind():
    """`resnet_lstm_unet` prints 0.31 ± 0.23**; percent stay percent."""
    measures = {"dice": 0.3, "dice_sd": 0.12, "dice_p_value": 0.01}
    rows = [{**VOLUMES, "metric": name, "value": value} for name, value in measures.items()]
    column = rebuilt(*rows)["resnet_lstm_table_2"]["DICE"]
    assert column["ResNet-LSTM + U-Net", "ours"] == "0.30 ± 0.12* [0.20, 0.30]"
    points = {"study": "05_mil_detector", "method": "mil_attention", "metric": "point_ppv"}
    points |= {"dataset": "cq500", "variant": "printed", "layer": None, "unit": "slice"}
    points |= {"threshold_source": "masks-validation", "subset": "all", "brain_mask": None}
    column = rebuilt(points)["mil_detector_table_1"]["PPV [%]"]["Attention"]
    assert column.tolist() == ["38.19", "25.00 [20.00, 30.00]", "-13.19"]


def test_how_far_two_p_values_lie_apart_is_not_said():
    named = {"study": "04_swin_hgi_sam", "dataset": "physionet", "variant": "printed"}
    named |= {"layer": None, "class": "any", "unit": "slice", "subset": "positive"}
    named |= {"threshold_source": "masks-validation", "brain_mask": True, "method": "unet"}
    printed = load_table("hgi_sam", "text_results").query("metric == 'p_value'")
    first = printed.iloc[0]
    own = {key: first[key] for key in ("method", "unit", "subset") if str(first[key])}
    row = {**named, **own, "metric": "p_value", "value": 0.25}
    cells = rebuilt(row)["hgi_sam_text_results"][first["column"]].loc[first["row"]]
    assert cells["ours"].startswith("0.25") and not cells.get("difference")


def test_folds_stand_in_their_rows():
    own = {**HGI, "method": "swin_hgi_sam"}
    table = rebuilt(own, {**own, "dataset": "physionet/fold_2", "value": 0.5})["hgi_sam_table_1"]
    column = table["Dice Coefficient, Swin-HGI-SAM"]
    assert column["2", "ours"].startswith("0.500")
    assert column["Overall slice-wise", "ours"].startswith("0.250")
    assert ("1", "ours") not in column


def test_how_many_folds_are_printed_and_how_many_are_ours_is_said_below_the_table():
    own = {**HGI, "method": "swin_hgi_sam", "ci_low": None, "ci_high": None}
    folds = [{**own, "dataset": f"physionet/fold_{number}"} for number in range(1, 6)]
    whole = {**own, "ci_low": 0.2}

    def notes(*rows):
        tables, _ = beside.rebuilt_tables(result_table([{**COMMON, **each} for each in rows]))
        return " ".join(next(each for each in tables if each.name == "hgi_sam_table_1").notes)

    assert "A fold holds few patients" in notes(whole, *folds[:3])
    assert "The paper has 5 folds, these runs 3" in notes(whole, *folds[:3])
    assert "The paper has" not in notes(whole, *folds)
    assert notes(whole) == ""


def test_what_a_reader_must_know_is_said_once_and_only_of_lines_with_a_number():
    rows = [{**VOLUMES, "metric": name} for name in ("dice", "box_dice")]
    tables, _ = beside.rebuilt_tables(result_table([{**COMMON, **each} for each in rows]))
    notes = next(each for each in tables if each.name == "resnet_lstm_table_2").notes
    assert len(notes) == 1 and "relative volume difference" in notes[0]
    tables, _ = beside.rebuilt_tables(result_table([COMMON]))
    assert [each.notes for each in tables] == [()] * len(tables)


def test_why_a_subtype_has_no_number_is_said_below_the_table():
    """Nobody of the validation patients has EDH."""
    named = {"study": "02_lse_unet", "dataset": "rsna/validation", "method": "lse_unet"}
    named |= {"variant": "authors", "layer": None, "unit": "slice", "subset": "all"}
    named |= {"threshold_source": "none", "brain_mask": None, "metric": "auroc"}
    nothing = dict.fromkeys(("value", "ci_low", "ci_high"))
    nothing["interval"] = "the measure has no value on the sample"
    rows = [
        {**named, "class": "IPH"},
        *({**named, **nothing, "class": c} for c in ("EDH", "average")),
    ]
    (table,), _ = beside.rebuilt_tables(result_table([{**COMMON, **row} for row in rows]))
    assert table.notes[-1] == (
        "Ours is empty on RSNA/validation for EDH: it is in no patient; average: one of its"
        " subtypes is in no patient."
    )
    (table,), _ = beside.rebuilt_tables(result_table([{**COMMON, **rows[0]}]))
    assert not any("empty" in note for note in table.notes)


def test_an_auroc_stands_beside_its_rival_and_never_among_shares_of_decisions():
    """What Table 2 calls AUC is the mean of recall and specificity."""
    named = {**HGI, "threshold_source": "none", "brain_mask": None, "subset": "all"}
    own = {**named, "method": "swin_hgi_sam"}
    rival = {**named, "method": "slice_position", "variant": "beside swin_hgi_sam (printed)"}
    table = rebuilt(
        {**own, "metric": "balanced_accuracy", "value": 0.75},
        {**own, "metric": "auroc", "value": 0.875},
        {**rival, "metric": "auroc", "value": 0.8125},
    )["hgi_sam_table_2"]
    ours = table.loc["Overall slice-wise", "ours"]
    assert ours["AUC, Swin-HGI-SAM"].startswith("0.750")
    assert list(table.columns)[-2:] == ["AUROC, Swin-HGI-SAM", "AUROC, height in the head"]
    assert ours["AUROC, Swin-HGI-SAM"].startswith("0.875")
    assert ours["AUROC, height in the head"].startswith("0.812")
    assert table.loc[("Overall slice-wise", "difference"), "AUROC, Swin-HGI-SAM"] == ""


def test_ours_are_of_the_printed_data_set_where_it_was_measured():
    elsewhere = [{"dataset": "another", "layer": layer, "value": 0.9} for layer in ("-1", "-2")]
    assert rebuilt({}, *elsewhere)["cam_benchmark_table_2a"].loc[("GradCAM", "ours")].tolist() == [
        *([""] * 3),
        "0.2500 [0.2000, 0.3000]",
        *([""] * 11),
    ]
    tables, _ = beside.rebuilt_tables(result_table([{**COMMON, **each} for each in elsewhere]))
    assert tables[0].title.endswith("; another")
    assert set(tables[0].cells["dataset"]) == {"another", ""}


def test_a_cell_with_two_numbers_is_an_error():
    line = beside.load_study_tables().set_index("line", drop=False).loc["cam-2a"].to_dict()
    line["ours"] += "|true"
    rows = result_table([COMMON, {**COMMON, "brain_mask": "true"}])
    with pytest.raises(StudyError, match=r"cam-2a: 2 numbers for row 'GradCAM'"):
        beside.line_cells(line, Results.of(rows))


def test_table_x_holds_the_measures_that_the_paper_names_and_does_not_print():
    named = {"study": "01_backbones", "method": "cam_final", "class": "any"}
    rows = [
        {**COMMON, **named, "metric": "precision@0.5", "value": 0.5},
        {**COMMON, **named, "metric": "precision@0.5", "dataset": "hemorica/validation"},
        {**COMMON, **named, "metric": "auroc", "value": 0.75, "ci_low": None, "ci_high": None},
        {**COMMON, **named, "metric": "auroc", "method": "slice_position", "variant": "beside it"},
    ]
    arms = ["cam_baseline", "cam_final"]
    (table,) = beside.table_x(result_table(rows), "hemorica/test", arms)
    wide = table.wide().set_index("row")
    assert wide.loc["final classifier", ["number", "Precision", "AUROC"]].tolist() == [
        "ours",
        "0.500 [0.200, 0.300]",
        "0.750",
    ]
    assert wide.loc["height in the head", "AUROC"] == "0.250 [0.200, 0.300]" and len(wide) == 2
    assert beside.table_x(result_table(rows), "elsewhere", arms) == []


def test_selectors_that_pick_nothing_are_refused():
    with pytest.raises(StudyError, match="no cell has"):
        beside.printed_cells("hgi_sam", "table_1", "row=7")
    with pytest.raises(StudyError, match="expected column=value"):
        beside.printed_cells("hgi_sam", "table_1", "colour=red")


def test_a_line_without_a_number_is_an_error_unless_it_is_named():
    with pytest.raises(StudyError, match="lse-4, hgi-1;"):
        beside.refuse_empty(["lse-4", "hgi-1", "mil-1"], ["mil-*", "cam-1"])
    assert beside.refuse_empty(["lse-4", "mil-1"], ["lse-4", "mil-1", "cam-1"]) == ["cam-1"]
    with pytest.raises(StudyError, match="no number: cam-1-gains;"):
        beside.refuse_empty(["cam-1-seeds", "cam-1-gains"], [])


def results_of_07(scale, runs, own_factor=1.0):
    """The result table as notebook 07 makes it of the runs of `figures/<runs>` with the parameters
    of `scale`, and these. own_factor: of the numbers of 01_backbones, but those of the seeds."""
    given = yaml.safe_load(paths.resolve(f"params/{scale}/07_figures.yaml").read_text())
    results = rounded(collect_results(paths.resolve("figures") / runs))
    results.loc[results["study"] == "01_backbones", "value"] *= own_factor
    reference, seeds = given.get("cam_reference", "cam_baseline"), given.get("seeds_table")
    repeats = read_seeds(paths.resolve(seeds)) if seeds else results.head(0)
    repeats = of_these_runs(repeats, results)
    floor = gain_floor(joined([results, repeats]), reference)
    rival = all_called_rows(results, collect_tables(paths.resolve("figures") / runs, "pr.csv"))
    return joined([results, gain_rows(results, reference, {}), floor, rival]), given


@pytest.mark.parametrize("scale", ["open", "phantom"])
def test_every_line_rebuilds_something_of_a_committed_scale_or_is_named_there(scale):
    """Both ways: what `not_rebuilt` names is not rebuilt."""
    results, given = results_of_07(scale, scale)
    tables, empty = beside.rebuilt_tables(results)
    assert beside.refuse_empty(empty, given["not_rebuilt"]) == []
    for table in tables:
        long = table.cells[table.cells["difference"].fillna("") != ""]
        change = long["value"] - long["printed_value"]
        lower = long["difference"].str.startswith("-")
        assert (change[lower] <= 0).all() and (change[~lower] >= 0).all()


@pytest.mark.parametrize("scale", sorted(p.parent.name for p in SCALES.glob("*/07_figures.yaml")))
def test_no_scale_needs_further_seeds(scale, capsys):
    """Numbers that another processor gives leave the committed seeds behind; `paper` has none."""
    runs = "open" if scale == "open" else "phantom"
    results, given = results_of_07(scale, runs, own_factor=1.01)
    _, empty = beside.rebuilt_tables(results)
    capsys.readouterr()
    beside.refuse_empty(empty, given["not_rebuilt"])
    said = capsys.readouterr().out
    assert "cam-1-seeds" in empty
    told = "left out: cam-1-seeds; no arm that the table shows was repeated" in said
    # where no line of Table I is rebuilt, nothing needs to be said of this one
    assert told == ("cam-1*" not in given["not_rebuilt"]) == (scale not in ("open", "smoke"))


def test_seeds_of_earlier_runs_leave_out_their_line_alone(capsys):
    results, _ = results_of_07("phantom", "phantom")
    stale, _ = results_of_07("phantom", "phantom", own_factor=1.01)
    assert "other seeds of 01_backbones are of earlier runs" in capsys.readouterr().out
    known, left = (set(beside.rebuilt_tables(each)[1]) for each in (results, stale))
    assert left - known == {"cam-1-seeds"}
