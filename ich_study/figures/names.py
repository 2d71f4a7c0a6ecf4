"""The names in tables and pictures, as a radiologist reads them."""

from __future__ import annotations

import re

from ich_study.ct.windows import WINDOWS

DATASETS = {
    "rsna": "RSNA",
    "bhsd": "BHSD",
    "physionet": "PhysioNet",
    "cq500": "CQ500",
    "instance2022": "INSTANCE 2022",
    "hemorica": "Hemorica",
    "phe_sich": "PHE-SICH",
}
NETWORKS = {"phe_sich": "small ResNet"}
"""Runs of 01_backbones that bear the name of the data they learned from."""
EFFICIENTNETS = ("b0", "b1", "b2", "b3", "s", "l")
NAMES: dict[str, str] = {
    **DATASETS,
    "lse_unet": "LSE-UNet",
    "resnet152": "ResNet152",
    "densenet121": "DenseNet121",
    "densenet121_scratch": "DenseNet121, untrained start",
    "resnetrs200": "ResNetRS",
    "rdnet_tiny": "RDNet",
    "cam_baseline": "baseline",
    "cam_size_448": "448 px",
    "cam_size_512": "512 px",
    "cam_augment": "augmentation",
    "cam_posweight_2": "positive weight 2",
    "cam_posweight_3": "positive weight 3",
    "cam_final": "final classifier",
    **{f"efficientnetv2_{size}": f"EfficientNetV2-{size.upper()}" for size in EFFICIENTNETS},
    "resnet": "ResNet",
    "resnet_lstm": "ResNet-LSTM",
    "resnet_lstm_refitted": "ResNet-LSTM, refitted",
    "resnet_cam": "CAM of ResNet",
    "resnet_lstm_cam": "CAM of ResNet-LSTM",
    "resnet_kmeans": "ResNet + K-means",
    "resnet_lstm_kmeans": "ResNet-LSTM + K-means",
    "resnet_unet": "ResNet + U-Net",
    "resnet_lstm_unet": "ResNet-LSTM + U-Net",
    "resnet_kmeans_unet": "ResNet + K-means + U-Net",
    "resnet_lstm_kmeans_unet": "ResNet-LSTM + K-means + U-Net",
    "no_contrast_enhancement": "ResNet-LSTM + K-means + U-Net, plain grey",
    "unet": "U-Net (supervised)",
    "supervised_unet": "U-Net (supervised)",
    "supervised_unet_3d": "U-Net 3-D (supervised)",
    "swin_unetr": "Swin-UNETR (supervised)",
    "supervised_swin_unetr": "Swin-UNETR (supervised)",
    "swin_hgi_sam": "Swin-HGI-SAM",
    "swin_sam_binary": "Swin-SAM binary",
    "swin_sam_multi_label": "Swin-SAM multi-label",
    "swin_grad_cam": "Swin-Grad-CAM",
    "mil_max_pooling": "MIL, max-pooling",
    "mil_attention": "MIL, attention",
    "best_cam": "best CAM",
    "grad_cam": "GradCAM",
    "hires_cam": "HiResCAM",
    "grad_cam_element_wise": "GradCAM element-wise",
    "grad_cam_plus_plus": "GradCAM++",
    "xgrad_cam": "XGradCAM",
    "ablation_cam": "AblationCAM",
    "eigen_cam": "EigenCAM",
    "eigen_grad_cam": "EigenGradCAM",
    "layer_cam": "LayerCAM",
    "hu_threshold": "HU 50-90 in the brain",
    "centred_blob": "centred blob",
    "random_map": "random map",
    "slice_position": "height in the head",
    "all_called": "every slice called",
    "mil_raw": "all HU, no window",
    **{
        name: "level {0.center:g}, width {0.width:g} HU".format(WINDOWS[name])
        for name in ("mil_80", "mil_130")
    },
    "hgi_sam": "HGI-SAM",
    "mil_detector": "MIL detector",
    "cam_benchmark": "CAM benchmark",
    "seed_to_seed": "largest change from seed to seed",
    "average_subtypes": "average over subtypes",
    "pooled_subtypes": "all subtypes together",
    "any": "any hemorrhage",
    "auroc": "AUROC",
    "dice": "Dice",
    "iou": "IoU",
    "box_dice": "Dice of boxes",
    "box_iou": "IoU of boxes",
    "f1@0.5": "F1 at 0.5",
    "point_f1": "point F1",
    **{
        f"sensitivity_at_{count}_false": f"sensitivity at {count} false points a scan"
        for count in ("0.5", "1", "2", "4")
    },
    "median_hu": "median density",
    "volume_ml": "volume",
    "loose_hit": "loose hit rate",
    "pointing_game": "pointing game",
    "mass_inside": "heat inside the lesion",
}
"""Names that are more than their words; see `readable`."""
ENDS = {
    "_shipped": "shipped",
    "_published": "published weights",
    "_difference": "difference",
}
"""Ends of names: weights that travel with the study, those that a paper's authors released, and one
measure minus another."""


def readable(name: str) -> str:
    """The name that a table or a picture shows.

    >>> readable("average_subtypes"), readable("box_match_f1"), readable("grad_cam_of_rdnet_tiny")
    ('average over subtypes', 'box match f1', 'GradCAM of RDNet')
    >>> readable("lse_unet_shipped"), readable("lse_unet (no_consistency_loss)")
    ('LSE-UNet, shipped', 'LSE-UNet (no consistency loss)')
    >>> readable("mil_attention_published"), readable("lse_unet_large_seed_2")
    ('MIL, attention, published weights', 'LSE-UNet, large seed 2')
    >>> readable("auroc_difference")
    'AUROC, difference'
    """
    if name.endswith(")"):
        own, _, variant = name[:-1].partition(" (")
        return f"{readable(own)} ({variant.replace('_', ' ')})"
    for end, words in ENDS.items():
        if name.endswith(end):
            return f"{readable(name.removesuffix(end))}, {words}"
    first, *networks = name.split("_of_")
    return " of ".join([_words(first), *map(method_name, networks)])


def method_name(name: str) -> str:
    """`readable` of what is a method or a network, and never a data set.

    >>> method_name("phe_sich"), readable("phe_sich"), readable("grad_cam_of_phe_sich_seed_2")
    ('small ResNet', 'PHE-SICH', 'GradCAM of small ResNet, seed 2')
    """
    for run, words in NETWORKS.items():
        if name == run or name.startswith(f"{run}_"):
            more = name.removeprefix(run)[1:].replace("_", " ")
            return f"{words}, {more}" if more else words
    return readable(name)


def window_words(name: str) -> str:
    """A window of `ct.windows` as a radiologist says it.

    >>> window_words("brain"), window_words("mil_raw"), window_words("mil_130")
    ('brain window', 'all HU, no window', 'level 50, width 130 HU')
    """
    return NAMES.get(name) or f"{readable(name)} window"


def _words(name: str) -> str:
    if name in NAMES:
        return NAMES[name]
    methods = [each for each in _UNMISTAKABLE if name.startswith(f"{each}_")]
    if not methods:
        return name.replace("_", " ")
    # a second network of a method, named by its run
    method = max(methods, key=len)
    return f"{NAMES[method]}, {name.removeprefix(method)[1:].replace('_', ' ')}"


def in_words(text: str) -> str:
    """`text` with the names that stand in it as a reader knows them. A name that is also a word,
    such as `any`, stays, and so does what is no name here, such as a scan of a user's own.

    >>> in_words("mil_max_pooling on instance2022/test, any of john_doe")
    'MIL, max-pooling on INSTANCE 2022/test, any of john_doe'
    """
    names = rf"(?<![\w/-])(?:{'|'.join(_UNMISTAKABLE)})(?!\w)"
    return re.sub(names, lambda found: NAMES[found.group()], text)


_UNMISTAKABLE = [name for name in NAMES if "_" in name or name in DATASETS]
