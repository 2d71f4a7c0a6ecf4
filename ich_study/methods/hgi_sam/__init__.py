"""HGI-SAM: hemorrhage from head-wise gradient-weighted self-attention of Swin transformers.

`attention_capture` and `attention_maps` are the method for one batch, `maps` its heat over a data
set; the other modules are the study around it, each named by what notebook 04 asks of it.
"""

from ich_study.methods.hgi_sam import (
    attention_capture,
    attention_maps,
    detection,
    figures,
    folds,
    maps,
    segmentations,
    swin,
    tables,
    thresholds,
    timing,
    train,
)

__all__ = [
    "attention_capture",
    "attention_maps",
    "detection",
    "figures",
    "folds",
    "maps",
    "segmentations",
    "swin",
    "tables",
    "thresholds",
    "timing",
    "train",
]
