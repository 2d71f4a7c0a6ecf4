"""The pictures of notebook 08 on scans whose answers are known."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd

from ich_study.cross import figures, tables
from ich_study.metrics.calibration import expected_calibration_error


def test_quality_and_cost_lists_the_choice_and_is_drawn_again(study, cost, tmp_path, capsys):
    _, _, rows, _ = study
    choose = tables.choosing_table(rows, cost)
    figure = figures.quality_cost_figure(rows, cost, "synthetic squares")
    said = figure.axes[0].get_xlabel()
    assert "1  bright: 1.00 [" in said and "5 ms" in said and "hollow: 1 that" in said
    # 07 draws the same again from what 08 wrote
    assert figures.redrawn(rows, tmp_path, "synthetic squares") == {}
    assert "no ranks.csv" in capsys.readouterr().out
    folder = tmp_path / figures.STUDY
    folder.mkdir()
    choose.to_csv(folder / "choose.csv")
    placed = {"method": ["bright", "flat"], "dataset": "squares", "mean_rank": [1.0, 2.0]}
    pd.DataFrame({**placed, "critical": 0.5}).to_csv(folder / "ranks.csv")
    again = figures.redrawn(rows.assign(study=figures.STUDY), tmp_path, "synthetic squares")
    assert list(again) == [f"{figures.STUDY}/{name}" for name in ("quality_cost", "ranks_squares")]
    assert again[f"{figures.STUDY}/quality_cost"].axes[0].get_xlabel() == said
    # were the HU threshold as good, nothing would be left to choose
    equal = rows.assign(value=rows["value"].where(rows["method"] != "hu_threshold", 1.0))
    said = figures.quality_cost_figure(equal, cost, "synthetic squares").axes[0].get_xlabel()
    assert "no method is better" in said and "hollow: 2 that" in said


def test_panels_of_several_data_sets_share_an_axis_and_leave_each_other_room(study, cost):
    rows = study[2]
    # a second data set with higher values raises the axis that both share
    lower = rows.assign(value=rows["value"] / 4, ci_low=0.0, ci_high=rows["value"] / 4)
    both = pd.concat([lower, rows.assign(dataset="more", ci_high=1.2)])
    costs = pd.concat([cost, cost.assign(dataset="more")])
    panels = figures.quality_cost_figure(both, costs, "synthetic squares").axes
    assert [panel.get_ylim()[0] for panel in panels] == [0, 0]
    assert min(panel.get_ylim()[1] for panel in panels) > 1.2
    # five data sets stand in three rows, and the empty place shows no axes
    five = [f"set{number}" for number in range(5)]
    many = pd.concat([rows.assign(dataset=name) for name in five])
    costs = pd.concat([cost.assign(dataset=name) for name in five])
    drawn = figures.quality_cost_figure(many, costs, "synthetic squares")
    assert [panel.axison for panel in drawn.axes] == [True] * 5 + [False]
    assert drawn.get_figwidth() * 150 <= 1200
    # however long a method's name is, its line stands in its own half, apart from all others
    long = {"method": {"bright": "a method with a name of sixty letters, as no method has"}}
    named, costs = many.replace(long), costs.replace(long)
    drawn = figures.quality_cost_figure(named, costs, "synthetic squares")
    drawn.draw_without_rendering()
    places = [panel.get_tightbbox() for panel in drawn.axes[:5]]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(places, 2))
    assert all(place.x0 >= 0 and place.x1 <= drawn.bbox.width for place in places)
    assert min(panel.get_window_extent().width for panel in drawn.axes) > 0.38 * drawn.bbox.width


def test_the_choice_is_what_nothing_beats_in_quality_and_cost():
    rows = [
        ("slow, best", 0.9, 900, False),
        ("slow, good", 0.8, 950, False),
        ("quick", 0.5, 10, False),
        ("as quick, worse", 0.45, 10, False),
        ("free, but below the rival", 0.2, 1, False),
        ("rival", 0.3, np.nan, True),
    ]
    table = pd.DataFrame(rows, columns=["method", "value", "milliseconds", "rival"])
    assert figures.choice_of(table)["method"].tolist() == ["slow, best", "quick"]


def test_a_slice_names_what_its_truth_is_and_many_methods_take_several_pictures(study):
    truth, scored, _, _ = study
    shown = tables.shown_slices(truth, 2)
    boxed = replace(truth, kind="boxes", annotated=truth.boxes())
    for known, named in ((boxed, "truth: box"), (truth, "truth")):
        (drawn,) = figures.heat_figures(scored, known, shown, "synthetic squares")
        assert drawn.legends[0].get_texts()[0].get_text() == named
    many = {f"{name}_{number}": each for number in range(3) for name, each in scored.items()}
    drawn = figures.heat_figures(many, truth, shown, "synthetic squares")
    assert len(drawn) == -(-len(many) // figures.METHODS_BESIDE) > 1


def test_ranks_are_drawn_with_the_best_on_top(study):
    truth, scored, _, _ = study
    order, distance = tables.ranks(scored, truth)
    (axis,) = figures.ranks_figure(order, distance, "synthetic squares").axes
    assert axis.get_yticklabels()[0].get_text() == "bright" and axis.yaxis_inverted()
    assert f"critical difference {distance:.2f}" in axis.get_xlabel()


def test_methods_that_say_the_same_share_a_panel(study):
    truth, scored, _, _ = study
    curves = tables.reliability_tables(scored, truth)
    # two methods of one network say the same, and share a panel
    alike = {"grad_cam": curves["bright"], "layer_cam": curves["bright"], **curves}
    drawn = figures.reliability_figure(alike, "synthetic squares")
    titles = [axis.get_title() for axis in drawn.axes]
    assert [title.split("\n")[0] for title in titles] == ["GradCAM and 2 more", "flat"]
    error = expected_calibration_error(curves["flat"])
    assert titles[1].endswith(f"error {error:.2f}")
