"""What a segmentation of whole volumes is worth: measures per volume, Tables 1 and 2 of
ResNet-LSTM, and their tests.

Dice, RVD, TPR, Hausdorff distance and surface Dice are of volumes on the scan's own grid (Section
3); means run over volumes with hemorrhage, intervals over patients. Table 2 tests each row against
the row above it by a two-tailed paired t-test; the corrected p stands beside it here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch

from ich_study.errors import DataError, StudyError
from ich_study.evaluate import localisation_report
from ich_study.evaluate.results import with_interval
from ich_study.evaluate.scaling import resized_maps
from ich_study.methods.resnet_lstm.volumes import resized_masks
from ich_study.metrics import overlap, surface, volume
from ich_study.metrics.significance import holm, paired_t_test
from ich_study.metrics.statistics import PatientStatistic, mean_of_items, patient_bootstrap

METRICS: tuple[str, ...] = ("dice", "rvd", "tpr", "hausdorff", "surface_dice")
TESTED: tuple[str, ...] = ("dice", "rvd", "tpr")
ABLATION: tuple[str, ...] = (
    "resnet_unet",
    "resnet_lstm_unet",
    "resnet_kmeans_unet",
    "resnet_lstm_kmeans_unet",
)
"""Rows of Table 2, from the top."""
OVER_VOLUMES: dict[str, str] = {
    "class": "any",
    "unit": "scan",
    "subset": "all",
    "threshold_source": "none",
}
"""Columns of the result table that are the same for all of these measures."""
COLUMNS = (
    "fold",
    "patient_id",
    "scan_id",
    "method",
    "variant",
    *METRICS,
    "predicted_ml",
    "truth_ml",
)


def on_scan_grid(
    probability: np.ndarray, shape: tuple[int, int], threshold: float = 0.5
) -> np.ndarray:
    """Probabilities (slices, S, S) brought to the scan's grid bilinearly and cut above `threshold`,
    bool."""
    return (
        resized_maps(torch.from_numpy(np.ascontiguousarray(probability)), shape).numpy() > threshold
    )


def volume_measures(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
) -> dict[str, float]:
    """METRICS, `predicted_ml` and `truth_ml` of one volume, masks bool (slices, rows, columns) on
    one grid.

    A truth without hemorrhage leaves Dice, RVD and TPR without a value (NaN); an empty prediction
    has Dice 0, RVD 1, TPR 0, surface Dice 0 and no Hausdorff distance. Unknown spacing leaves what
    is in mm or mL NaN. Raises StudyError where the shapes differ.
    """
    counts = overlap.overlap_counts(prediction, truth, spatial=3)
    known = all(np.isfinite(side) for side in spacing_mm)
    millilitres = {
        name: volume.volume_ml(mask, spacing_mm) if known else float("nan")
        for name, mask in (("predicted_ml", prediction), ("truth_ml", truth))
    }
    hausdorff, surface_dice = (
        surface.surface_measures(prediction, truth, spacing_mm, tolerance_mm)
        if known
        else (float("nan"),) * 2
    )
    return {
        "dice": float(overlap.dice(counts)),
        "tpr": float(overlap.sensitivity(counts)),
        "rvd": float(volume.relative_volume_difference(prediction.sum(), truth.sum())),
        "hausdorff": hausdorff,
        "surface_dice": surface_dice if truth.any() else float("nan"),
        **millilitres,
    }


def measured_volumes(
    predictions: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
    patients: Mapping[str, str],
    spacings: Mapping[str, tuple[float, float, float]],
    *,
    method: str,
    variant: str,
    fold: int,
    tolerance_mm: float = 1.0,
) -> pd.DataFrame:
    """A row of COLUMNS per scan. predictions: bool, on any grid of the scan's slices; brought to
    the truth's by nearest neighbour.

    tolerance_mm: of the surface Dice; the challenge's is not printed.

    Raises DataError for no scan, or a prediction with another number of slices than the scan.
    """
    if not predictions:
        raise DataError(f"no volumes to measure for {method}: the test part is empty")
    rows = []
    for scan, prediction in predictions.items():
        truth = np.asarray(truths[scan]) > 0
        if len(prediction) != len(truth):
            raise DataError(
                f"scan {scan} has {len(truth)} slices, the prediction of {method} has"
                f" {len(prediction)}"
            )
        measures = volume_measures(
            resized_masks(prediction, truth.shape[1:]), truth, spacings[scan], tolerance_mm
        )
        rows.append(
            {
                "fold": fold,
                "patient_id": patients[scan],
                "scan_id": scan,
                "method": method,
                "variant": variant,
                **measures,
            }
        )
    return pd.DataFrame(rows)[list(COLUMNS)]


def statistic_of(volumes: pd.DataFrame, metric: str) -> PatientStatistic:
    """Mean of one measure over volumes, as a statistic over patients."""
    return mean_of_items(volumes["patient_id"].to_numpy(), volumes[metric].to_numpy())


def result_rows(
    volumes: pd.DataFrame, common: Mapping[str, Any], replicates: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """Mean (with interval) and SD of every measure and method, as rows of the result table.

    `common` holds `study`, `dataset` and `seed`. `sd` rows carry the SD over volumes (n - 1) that
    the paper prints after its means.
    """
    rows = []
    for (method, variant), part in volumes.groupby(["method", "variant"], sort=False):
        described = {**common, **OVER_VOLUMES, "method": method, "variant": variant}
        for metric in METRICS:
            columns = patient_bootstrap(statistic_of(part, metric), replicates, seed).columns()
            rows.append(
                {
                    **described,
                    "metric": metric,
                    **{name: columns[name] for name in ("value", "ci_low", "ci_high", "n")},
                }
            )
            spread = float(part[metric].std(ddof=1))
            rows.append(
                {
                    **described,
                    "metric": f"{metric}_sd",
                    "value": spread,
                    "n": int(part[metric].notna().sum()),
                }
            )
    return rows


def table_2(volumes: pd.DataFrame, replicates: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Our Table 2: methods of ABLATION that were measured, mean +- SD and interval of Dice, RVD and
    TPR, with stars.

    Stars as printed: * p < 0.05, ** p < 0.001 of the uncorrected test against the row above.
    """
    tests = row_above_tests(volumes).set_index(["method", "metric"])
    rows = []
    for method in _present(volumes):
        part = volumes[volumes["method"] == method]
        row: dict[str, Any] = {"method": method, "volumes": int(part["dice"].notna().sum())}
        for metric in TESTED:
            p = (
                float(tests.loc[(method, metric), "p"])
                if (method, metric) in tests.index
                else float("nan")
            )
            columns = pd.Series(
                patient_bootstrap(statistic_of(part, metric), replicates, seed).columns()
            )
            stars = "**" if p < 0.001 else "*" if p < 0.05 else ""
            low_high = with_interval(columns, 2).partition(" ")[2]
            row[metric] = (
                f"{columns['value']:.2f} ± {part[metric].std(ddof=1):.2f}{stars} {low_high}".strip()
            )
        rows.append(row)
    return pd.DataFrame(rows)


def row_above_tests(volumes: pd.DataFrame, order: Sequence[str] = ABLATION) -> pd.DataFrame:
    """Two-tailed paired t-tests over volumes, each method against the one above it, for Dice, RVD
    and TPR.

    Columns method, above, metric, difference (method - above), t, p, p_holm (over all these tests),
    n. Raises StudyError where two methods were measured on different volumes.
    """
    rows = []
    present = _present(volumes, order)
    for above, method in pairwise(present):
        first, second = (
            volumes[volumes["method"] == name].sort_values("scan_id") for name in (method, above)
        )
        if first["scan_id"].tolist() != second["scan_id"].tolist():
            raise StudyError(
                f"{method} and {above} were measured on different volumes; a paired test needs the"
                " same"
            )
        for metric in TESTED:
            test = paired_t_test(first[metric].to_numpy(), second[metric].to_numpy())
            rows.append(
                (method, above, metric, test.mean_difference, test.statistic, test.p, test.n)
            )
    table = pd.DataFrame(rows, columns=["method", "above", "metric", "difference", "t", "p", "n"])
    return table.assign(p_holm=holm(table["p"].to_numpy()) if len(table) else [])


def paired_rows(
    volumes: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    common: Mapping[str, Any],
    metrics: Sequence[str] = TESTED,
    replicates: int = 2000,
    seed: int = 0,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Paired differences of means with patient-bootstrap intervals, as a table and as
    `<metric>_difference` rows.

    pairs: of methods measured on the same volumes; pairs with a method that was not measured are
    left out.
    """
    known = set(volumes["method"])
    kept = [pair for pair in pairs if set(pair) <= known]
    described = {**common, **OVER_VOLUMES}
    tables, rows = [], []
    for metric in metrics:
        statistics = {
            name: statistic_of(part, metric) for name, part in volumes.groupby("method", sort=False)
        }
        table = localisation_report.paired_differences(statistics, kept, replicates, seed)
        tables.append(table.assign(metric=metric))
        rows += [
            {**row, "seed": common.get("seed")}
            for row in localisation_report.difference_rows(table, described, metric, seed)
        ]
    return pd.concat(tables, ignore_index=True), rows


def _present(volumes: pd.DataFrame, order: Sequence[str] = ABLATION) -> list[str]:
    twice = volumes.duplicated(["scan_id", "method"])
    if twice.any():
        raise StudyError(
            f"{volumes.loc[twice, 'method'].iloc[0]} was measured twice on a volume; select one"
            " variant"
        )
    return [method for method in order if method in set(volumes["method"])]
