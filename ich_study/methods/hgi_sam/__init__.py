"""HGI-SAM: hemorrhage from head-wise gradient-weighted self-attention of Swin transformers.

`attention_capture` and `attention_maps` are the method for one batch, `maps` its heat over a data
set; the other modules are the study around it, each named by what notebook 04 asks of it.
"""

from ich_study.methods.hgi_sam.attention_capture import capture_attention
from ich_study.methods.hgi_sam.attention_maps import (
    HGI_STAGES,
    HGI_VARIANTS,
    fused_map,
    head_weights,
    layer_maps,
    swin_grad_cam,
)
from ich_study.methods.hgi_sam.detection import (
    decisions,
    detection_of_masks,
    detection_rows,
    detection_table,
    detections_of_classifiers,
    position_rows,
    predictions_of,
)
from ich_study.methods.hgi_sam.figures import (
    Step,
    comparison_figure,
    explore_figure,
    heat_steps,
    layer_figure,
    layer_steps,
    steps_figure,
    weight_steps,
)
from ich_study.methods.hgi_sam.folds import supervised_masks, with_folds
from ich_study.methods.hgi_sam.maps import TARGET, archives_of, attention_heats
from ich_study.methods.hgi_sam.segmentations import (
    box_rows,
    mask_rows,
    pointing_table,
    segmented,
    supervised,
)
from ich_study.methods.hgi_sam.swin import create_swin
from ich_study.methods.hgi_sam.tables import (
    as_printed,
    order_line,
    printed_rows,
    readings_table,
    significance_table,
    table_1,
)
from ich_study.methods.hgi_sam.thresholds import (
    of_other_folds,
    rival_heats,
    scores_of,
    thresholds_table,
    without_masks,
)
from ich_study.methods.hgi_sam.timing import method_calls, milliseconds_rows, milliseconds_table
from ich_study.methods.hgi_sam.train import train_swins
