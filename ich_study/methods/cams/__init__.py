"""CAM benchmark: nine class activation maps at several layers of a classifier, against the truth.

layers, capture: which layers, and what is captured of them. formulas, ablation (tails,
tail_layers): captured activations and gradients to raw maps. cams: all maps of a batch. recipe:
which maps, of which classifier, into archives. heat, scores, rows, tables: against the truth, to
Table II and its answers. faithfulness, imputation, sanity, trust, pointing: what Table II does not
ask. one_slice, pictures, figures, classifiers: for a reader.
"""

from ich_study.methods.cams import capture
from ich_study.methods.cams.ablation import Ablation, ablation_cam
from ich_study.methods.cams.cams import METHOD_IDS
from ich_study.methods.cams.classifiers import table_one
from ich_study.methods.cams.faithfulness import Probability
from ich_study.methods.cams.figures import classifier_figures, overview_figures
from ich_study.methods.cams.formulas import (
    eigen_cam,
    eigen_grad_cam,
    grad_cam,
    grad_cam_element_wise,
    grad_cam_plus_plus,
    hires_cam,
    layer_cam,
    xgrad_cam,
)
from ich_study.methods.cams.heat import layer_heats, rival_heats, rival_maps
from ich_study.methods.cams.layers import timm_layers
from ich_study.methods.cams.one_slice import (
    Browser,
    method_figure,
    settings_table,
    variant_maps,
    variant_results,
    variants_figure,
)
from ich_study.methods.cams.pictures import map_pictures, shown_slices
from ich_study.methods.cams.pointing import (
    PointingGame,
    pointing_rows,
    pointing_table,
    require_above,
)
from ich_study.methods.cams.recipe import (
    CamRecipe,
    archive_part,
    archived_maps,
    choose_slices,
    describe_layers,
    load_subject,
)
from ich_study.methods.cams.rows import compare_all, prefix_of, score_rows
from ich_study.methods.cams.scores import score_all, threshold_table
from ich_study.methods.cams.tables import all_answers, broken_rules, table_two
from ich_study.methods.cams.trust import (
    check_batch_independence,
    cost_table,
    faithfulness_rows,
    faithfulness_table,
    randomisation,
    repeatability,
    surest_slices,
    trust_rows,
)
