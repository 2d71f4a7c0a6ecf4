"""MIL detector: a map of instance scores, max-pooling or attention, peaks as points.

What notebook 05 calls is here by name, so that the notebook opens one room.
"""

from ich_study.methods.mil.boxes import grid_boxes, tell_boxes, with_known_boxes
from ich_study.methods.mil.figures import Panel, free_response_figure, panel_figure
from ich_study.methods.mil.network import HEADS
from ich_study.methods.mil.one_slice import (
    detector_in_shares,
    draw_detection,
    input_panels,
    largest_boxes,
    side_by_side,
)
from ich_study.methods.mil.peak_tuning import Search, tuning_bounds_of
from ich_study.methods.mil.peaks import (
    Detector,
    are_h_maxima,
    local_maxima,
    spaced,
    upsampled,
)
from ich_study.methods.mil.pipeline import run_network, score_slices
from ich_study.methods.mil.report import classifier_rows, time_row
from ich_study.methods.mil.study import (
    better_than_chance,
    columns_of,
    evaluate_published,
    head_differences,
    part_name,
    pointing_rows,
    table_1,
    tune_and_test,
    write_points,
)
from ich_study.methods.mil.train import (
    going_on,
    published_networks,
    train_head,
    training_config,
)
from ich_study.metrics.points import point_counts, point_f1
