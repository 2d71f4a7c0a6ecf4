"""CAM benchmark: nine class activation maps at several layers of a classifier, against the truth.

layers, capture: which layers, and what is captured of them. formulas, ablation (tails,
tail_layers): captured activations and gradients to raw maps. cams: all maps of a batch. recipe:
which maps, of which classifier, into archives. heat, scores, rows, tables: against the truth, to
Table II and its answers. faithfulness, imputation, sanity, trust, pointing: what Table II does not
ask. one_slice, pictures, figures, classifiers: for a reader.
"""

from ich_study.methods.cams import (
    ablation,
    cams,
    capture,
    classifiers,
    faithfulness,
    figures,
    formulas,
    heat,
    layers,
    one_slice,
    pictures,
    pointing,
    recipe,
    rows,
    sanity,
    scores,
    tables,
    trust,
)

__all__ = [
    "ablation",
    "cams",
    "capture",
    "classifiers",
    "faithfulness",
    "figures",
    "formulas",
    "heat",
    "layers",
    "one_slice",
    "pictures",
    "pointing",
    "recipe",
    "rows",
    "sanity",
    "scores",
    "tables",
    "trust",
]
