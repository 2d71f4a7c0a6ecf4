"""ResNet-LSTM: class activation maps, K-means pseudo-masks, 3-D U-Net."""

from ich_study.methods.resnet_lstm import class_activation
from ich_study.methods.resnet_lstm.arms import (
    cluster_choices,
    prepared_volumes,
    recipe_results,
    run_arms,
    score_maps,
    stage_1_volumes,
    teaching_quality,
)
from ich_study.methods.resnet_lstm.class_activation import cam_region
from ich_study.methods.resnet_lstm.figures import (
    Step,
    explored_slice,
    figure_3,
    sequence_figure,
    steps_figure,
    volumes_figure,
)
from ich_study.methods.resnet_lstm.fold_masks import labellers_of, make_pseudo_masks
from ich_study.methods.resnet_lstm.pseudo_labels import (
    as_grey,
    blanked,
    cluster_mask,
    clustered,
    differential_choice,
)
from ich_study.methods.resnet_lstm.skull_removal import equalised, find_skull, stripped_slice
from ich_study.methods.resnet_lstm.study import (
    MethodSettings,
    make_fold,
    position_rival,
    train_stage_1,
)
from ich_study.methods.resnet_lstm.tables import (
    ABLATION,
    classifier_results,
    joined,
    map_results,
    printed_tables,
    row_above_tests,
    table_2,
    volume_results,
)

__all__ = [
    "ABLATION",
    "MethodSettings",
    "Step",
    "as_grey",
    "blanked",
    "cam_region",
    "class_activation",
    "classifier_results",
    "cluster_choices",
    "cluster_mask",
    "clustered",
    "differential_choice",
    "equalised",
    "explored_slice",
    "figure_3",
    "find_skull",
    "joined",
    "labellers_of",
    "make_fold",
    "make_pseudo_masks",
    "map_results",
    "position_rival",
    "prepared_volumes",
    "printed_tables",
    "recipe_results",
    "row_above_tests",
    "run_arms",
    "score_maps",
    "sequence_figure",
    "stage_1_volumes",
    "steps_figure",
    "stripped_slice",
    "table_2",
    "teaching_quality",
    "train_stage_1",
    "volume_results",
    "volumes_figure",
]
