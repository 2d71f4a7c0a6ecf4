"""LSE-UNet: score maps pooled by log-sum-exp, consistency loss, Algorithm 1."""

from ich_study.methods.lse_unet.algorithm1 import heat_levels, label_maps
from ich_study.methods.lse_unet.pictures import (
    SliceView,
    Walk,
    chosen_slices,
    map_figures,
    volume_figure,
)
from ich_study.methods.lse_unet.pooling import LSEPooling
from ich_study.methods.lse_unet.report import (
    auroc_table,
    class_thresholds,
    classification,
    dice_table,
    finished,
    localisation,
    localisation_table,
    report_masks,
    required_differences,
    size_table,
)
from ich_study.methods.lse_unet.score_maps import (
    class_numbers,
    gradcam_heatmaps,
    lse_heatmaps,
    scaled_heatmaps,
)
from ich_study.methods.lse_unet.shipped import SHIPPED, pointing, shipped_rows
from ich_study.methods.lse_unet.study import (
    baseline_maps,
    empty_share,
    labels_of,
    lse_maps,
    rivals_of,
)
from ich_study.methods.lse_unet.train import (
    LSERecipe,
    arm_loss,
    check_arms,
    checked_encoder,
    lse_parts,
    train_variant,
    variant_table,
)

__all__ = [
    "SHIPPED",
    "LSEPooling",
    "LSERecipe",
    "SliceView",
    "Walk",
    "arm_loss",
    "auroc_table",
    "baseline_maps",
    "check_arms",
    "checked_encoder",
    "chosen_slices",
    "class_numbers",
    "class_thresholds",
    "classification",
    "dice_table",
    "empty_share",
    "finished",
    "gradcam_heatmaps",
    "heat_levels",
    "label_maps",
    "labels_of",
    "localisation",
    "localisation_table",
    "lse_heatmaps",
    "lse_maps",
    "lse_parts",
    "map_figures",
    "pointing",
    "report_masks",
    "required_differences",
    "rivals_of",
    "scaled_heatmaps",
    "shipped_rows",
    "size_table",
    "train_variant",
    "variant_table",
    "volume_figure",
]
