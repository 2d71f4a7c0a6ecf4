import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.methods.cams import figures as figures_cams
from ich_study.methods.cams.scores import pixel_average_precision
from ich_study.published.noise import METHOD
from ich_study.schema import result_table
from tests.figures.test_style import contrast
from tests.methods.cams.fakes import noisy, scored, truth_part

METHODS = ("hires_cam", "ablation_cam", "hu_threshold")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def results():
    rows = []
    for number, method in enumerate(METHODS):
        for layer in (None,) if method == "hu_threshold" else ("-1", "-2", "-3"):
            shared = {
                "method": method,
                "layer": layer,
                "variant": "raw",
                "unit": "pixel",
                "subset": "positive",
            }
            value = 0.1 * number + 0.05 * abs(int(layer or 0))
            for metric in ("dice", "box_dice", "healthy_brain_share", "deletion_auc"):
                rows.append(
                    {
                        **shared,
                        "metric": metric,
                        "value": value,
                        "ci_low": value - 0.05,
                        "ci_high": value + 0.05,
                        "threshold_source": "masks-validation",
                    }
                )
            rows.append(
                {**shared, "metric": "milliseconds", "value": 3.0, "threshold_source": "none"}
            )
    return result_table(rows)


def test_the_overview_sorts_methods_and_puts_rivals_below():
    figure = figures_cams.overview_figure(results(), "test")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["AblationCAM", "HiResCAM", "HU 50-90 in the brain"]
    shown = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "0.25\n[0.20, 0.30]" in shown
    with pytest.raises(StudyError, match="nothing to show"):
        figures_cams.overview_figure(results().assign(variant="printed"), "test")


def test_numbers_of_the_overview_are_read_on_cells_of_every_colour():
    values = pd.Series(np.linspace(0, 0.6, 7 * 4))
    rows = results().query("metric in ['dice', 'box_dice']").reset_index(drop=True)
    rows["value"] = values[: len(rows)]
    axes = figures_cams.overview_figure(rows, "test").axes[:2]
    told = [(axis, text) for axis in axes for text in axis.texts if text.get_text()]
    assert len(told) == len(rows)
    inks = set()
    for axis, text in told:
        across, down = np.floor(text.get_position()).astype(int)
        mesh = axis.collections[0]
        behind = mesh.to_rgba(mesh.get_array().reshape(-1, 3)[down, across])
        assert contrast(behind, text.get_color()) >= 4.5
        inks.add(text.get_color())
    assert inks == {"black", "white"}


def test_an_exact_bound_of_nothing_marked_is_said_and_fills_no_panel():
    """0 in every patient has a bound that three patients leave at half; the other panels' scale."""
    table = results().astype({"interval": object})
    marked = table["metric"] == "healthy_brain_share"
    nothing = {"value": 0.0, "ci_low": 0.0, "ci_high": 0.52, "interval": "exact"}
    table.loc[marked, list(nothing)] = list(nothing.values())
    axis = figures_cams.overview_figure(table, "test").axes[2]
    assert {text.get_text().strip() for text in axis.texts} == {"0 (at most 52)"}
    assert axis.get_xlim()[1] < 52 and not axis.collections


def test_curves_and_trust_draw_every_method():
    parts = truth_part(seed=1, prefix="v"), truth_part(seed=2, prefix="t")
    scores = scored(
        parts,
        *[
            (noisy(parts[0], noise, 1), noisy(parts[1], noise, 2), *named)
            for noise, *named in (
                (0.0, "hires_cam", "-3"),
                (0.5, "hires_cam", "-1"),
                (50.0, "hu_threshold", None),
            )
        ],
    )
    layers = {"hires_cam": "-3", "hu_threshold": ""}
    figure = figures_cams.precision_recall_figure(scores, layers, 24, "t")
    shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    rival = pixel_average_precision(scores[2].scores, 24, parts[1].positive()).value()
    every = "every pixel marked"
    assert shown == ["HiResCAM [-3]: 1.000", f"HU 50-90 in the brain: {rival:.3f}", every]
    (chance,) = [line for line in figure.axes[0].lines if line.get_label() == every]
    share = parts[1].mask("any", parts[1].positive()).mean()
    assert chance.get_ydata()[0] == pytest.approx(share)
    trust = figures_cams.trust_figure(results(), "t", {"hires_cam": "-3", "hu_threshold": ""})
    assert [label.get_text() for label in trust.axes[0].get_yticklabels()] == [
        "HiResCAM [-3]",
        "HU 50-90 in the brain",
    ]


def test_every_method_is_drawn_at_its_best_depth_on_all_pages():
    parts = truth_part(seed=1, prefix="v"), truth_part(seed=2, prefix="t")
    named = (("hires_cam", "-1"), ("hires_cam", "-3"), ("hu_threshold", None))
    scores = scored(parts, *[(noisy(parts[0], 1, 1), noisy(parts[1], 1, 2), *n) for n in named])
    pages = dict(figures_cams.overview_figures(results(), scores, parts[1], "phantom"))
    assert list(pages) == ["overview", "trust", "precision_recall"]
    assert all("phantom" in figure.get_suptitle() for figure in pages.values())
    legend = pages["precision_recall"].axes[0].get_legend().get_texts()
    # Dice is 0.15 at [-3] and 0.05 at [-1]
    assert [text.get_text().split(":")[0] for text in legend] == [
        "HiResCAM [-3]",
        "HU 50-90 in the brain",
        "every pixel marked",
    ]
    labels = [label.get_text() for label in pages["trust"].axes[0].get_yticklabels()]
    assert labels == ["AblationCAM [-3]", "HU 50-90 in the brain", "HiResCAM [-3]"]


def test_07_draws_again_what_the_small_tables_hold(monkeypatch, tmp_path):
    table = pd.DataFrame({"method": ["b0"], "f1_top5": [0.7], "f1_top5_sd": [0.01]})
    asked, floors = [], []

    def drawn(*arguments):
        floors.append(arguments[-1])
        return [("figure_2", plt.figure())]

    monkeypatch.setattr(figures_cams, "table_one", lambda *named: asked.append(named) or table)
    monkeypatch.setattr(figures_cams, "classifier_figures", drawn)
    own = results().assign(study=figures_cams.STUDY, dataset="hemorica/test")
    other = results().assign(study="02_lse_unet", value=1.0)
    tables = pd.concat([own, other], ignore_index=True)
    pages = figures_cams.redrawn(tables, tmp_path, ["b0"], "h/test", "b0", "phantom")
    assert list(pages) == [f"06_cam_benchmark/{name}" for name in ("overview", "trust", "figure_2")]
    assert asked == [([tmp_path / "01_backbones" / "b0"], "h/test", "b0")]
    assert pages["06_cam_benchmark/overview"].get_suptitle().startswith("hemorica: phantom")
    assert figures_cams.redrawn(other, tmp_path, [], "h/test", "b0", "phantom") == {}
    floor = other.head(1).assign(method=METHOD, metric="f1_top5_gain", value=0.19)
    with_floor = pd.concat([tables, floor], ignore_index=True)
    figures_cams.redrawn(with_floor, tmp_path, ["b0"], "h/test", "b0", "phantom")
    assert floors == [None, 0.19]
    # filled boxes for truth
    boxes = own.assign(metric=own["metric"].replace("dice", "box_truth_dice"))
    page = dict(figures_cams.table_figures(boxes, "real"))["overview"]
    assert "filled boxes" in page.axes[0].get_title()


def test_the_classifiers_pages_are_of_the_named_part(monkeypatch):
    asked = []
    points = {"run": ["b0"], "sensitivity": [0.5], "precision": [0.5], "threshold": [0.4]}

    def curves(*arguments):
        asked.append(arguments)
        return pd.DataFrame(points)

    monkeypatch.setattr(figures_cams, "figure_three_curves", curves)
    monkeypatch.setattr(figures_cams, "all_called", lambda *named: {"SDH": 0.3}[named[2]])
    table = pd.DataFrame({"method": ["b0"], "f1_top5": [0.7], "f1_top5_sd": [0.01]})
    table["difference"] = np.nan
    pages = dict(figures_cams.classifier_figures(table, ["b0"], "d/test", "SDH", "phantom"))
    assert asked == [(["b0"], "d/test", "SDH")]
    assert pages["figure_2"].axes[0].get_title() == "phantom, as Figure 2"
    assert [text.get_text() for text in pages["figure_2"].legends[0].get_texts()] == [
        "F1 of calling every slice, 0.300"
    ]
    assert pages["figure_3"].get_suptitle() == "d/test: phantom, as Figure 3"
    assert list(pages) == ["figure_2", "figure_3"]


def test_figure_two_says_what_gains_are_counted_from_and_how_far_seeds_move_them():
    table = pd.DataFrame({"method": ["b0", "cam_baseline"], "f1_top5": [0.8, 0.7]})
    table = table.assign(f1_top5_sd=0.01, difference=[0.1, 0.0])
    figure = figures_cams.figure_two(table, "t", floor=0.05)
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "F1 of the baseline" in said[0] and said[1].endswith("0.050")
    (dashed,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert dashed.get_xdata() == [0.7, 0.7]
    (band,) = figure.axes[0].patches
    assert band.get_x() == pytest.approx(0.65) and band.get_width() == pytest.approx(0.1)
    # without a floor no band, without a baseline no line
    assert not figures_cams.figure_two(table, "t").axes[0].patches
    alone = figures_cams.figure_two(table.assign(difference=np.nan), "t", floor=0.05)
    assert not alone.legends and not alone.axes[0].patches


def test_figure_three_has_a_panel_per_run_that_marks_its_own_thresholds():
    points = {
        "sensitivity": [1.0, 0.5, 0.0],
        "precision": [0.2, 0.5, 1.0],
        "threshold": [0.1, 0.4, np.inf],
    }
    curves = pd.concat(
        [
            pd.DataFrame({"run": name, **points, "precision": np.array(points["precision"]) / part})
            for part, name in enumerate(("cam_baseline", "b0"), start=1)
        ]
    )
    figure = figures_cams.figure_three(curves, "t", "cam_baseline")
    for part, (axis, name) in enumerate(zip(figure.axes, ("baseline", "b0")), start=1):
        assert axis.get_title() == name
        own = [line.get_xydata() for line in axis.lines if len(line.get_xydata()) == 1]
        # the smallest threshold of the curve that is at least 0.3 is the point of 0.3
        assert own[0].tolist() == [[0.5, 0.5 / part]]
        drawn = [line for line in axis.lines if line.get_color() == "#0072B2"]
        assert drawn[0].get_ydata().tolist() == [0.2 / part, 0.5 / part, 1 / part]
        assert [line.get_linestyle() for line in axis.lines].count("--") == 1
        (chance,) = [line for line in axis.lines if line.get_linestyle() == ":"]
        assert chance.get_ydata() == [0.2 / part] * 2  # where every slice is called
