"""Does the top of a map lie on the lesion? Several classifiers, and what knows no network.

Each classifier is read at the stage where its maps point best at the lesions of the validation
patients, so that no depth is chosen on the patients it is scored on: networks, and weights from
other pictures, localise at other depths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from ich_study.errors import ParameterError, StudyError
from ich_study.evaluate.rows import OF_SLICES, Row, Rows
from ich_study.evaluate.score import Scores, score
from ich_study.evaluate.truth import read_truth
from ich_study.methods.cams.heat import layer_heats, rival_heats
from ich_study.methods.cams.layers import stages_of
from ich_study.methods.cams.recipe import CamRecipe, archive_part, load_subject
from ich_study.metrics.statistics import mean_of_items
from ich_study.schema import result_table
from ich_study.store.read import Store

METRIC = "pointing_at_chosen_depth"
PARTS = ("validation", "test")


@dataclass(frozen=True)
class PointingGame:
    """Whose maps point at which slices. method: of CAM_METHODS, its raw map. slices: by PARTS, of
    which those with `class_name` are read. truth: "masks" or "boxes"."""

    method: str
    store: Store = field(repr=False)
    slices: Mapping[str, pd.DataFrame] = field(repr=False)
    truth: str
    class_name: str = "any"
    device: str = "cpu"
    batch_size: int = 16

    def of_run(self, run: str, folder: Path) -> Scores:
        """Scores on the test part of the maps of the classifier of `run`, which are kept in
        `folder`.

        Of depths that point equally well on the validation part the deepest is taken. Errors are
        those of `recipe.load_subject`.
        """
        subject = load_subject(run, self.class_name, self.device)
        stages = len(stages_of(subject.model))
        depths = tuple(f"[-{number}]" for number in range(1, stages + 1))
        recipe = CamRecipe((self.method,), depths, ablations=("zero",))
        found: dict[str, list[Scores]] = {}
        for part in PARTS:
            rows, what = self._positive(part), f"{part} maps of {folder.name}"
            archive = archive_part(
                folder / part, subject, recipe, self.store, rows, self.batch_size, what
            )
            known = read_truth(self.store, rows, subject.preprocessing, self.truth)
            heats = layer_heats(archive, subject.preprocessing.size, self.class_name)
            raw = [heat for heat in heats if heat.variant == "raw"]
            found[part] = [score(heat, known, (), self.class_name) for heat in raw]
        validation = [np.nanmean(each.pointing) for each in found["validation"]]
        return found["test"][int(np.argmax(validation))]

    def of_all(
        self, runs: Sequence[str], folder: Path, smoothness_px: float, seed: int
    ) -> dict[str, Scores]:
        """`of_run` of each run, by the name of its folder, then the trivial rivals, by theirs.

        The rivals stand on the first run's grid. Raises ParameterError for two runs of one name.
        """
        names = [Path(run).name for run in runs]
        if len(set(names)) < len(names):
            raise ParameterError(f"runs {list(runs)}: two have the same name")
        found = {name: self.of_run(run, folder / name) for name, run in zip(names, runs)}
        preprocessing = load_subject(runs[0], self.class_name, self.device).preprocessing
        known = read_truth(self.store, self._positive("test"), preprocessing, self.truth)
        for rival in rival_heats(known, self.class_name, smoothness_px, seed):
            found[rival.name] = score(rival, known, (), self.class_name)
        return found

    def _positive(self, part: str) -> pd.DataFrame:
        rows = self.slices[part]
        positive = rows[self.class_name].to_numpy(bool, na_value=False)
        return rows[positive].reset_index(drop=True)


def pointing_rows(found: Mapping[str, Scores], rows: Rows) -> list[Row]:
    """The share of lesions pointed at, METRIC, and `METRIC_difference` of every pair, first minus
    second, on the same drawn patients."""
    table, statistics, shared = [], {}, {}
    for name, scores in found.items():
        statistics[name] = mean_of_items(scores.rows["patient_id"].to_numpy(), scores.pointing)
        shared[name] = {
            **scores.columns(),
            **OF_SLICES,
            "method": name,
            "subset": "positive",
            "brain_mask": False,
        }
        table.append(rows.statistic(statistics[name], METRIC, **shared[name]))
    for first, second in combinations(found, 2):
        columns = {**shared[first], "method": f"{first} - {second}"}
        both = statistics[first], statistics[second]
        table.append(rows.difference(*both, f"{METRIC}_difference", **columns))
    return table


def pointing_table(rows: list[Row]) -> pd.DataFrame:
    """Of all result rows those of `pointing_rows`, for a reader."""
    results = result_table(rows)
    chosen = results[results["metric"].str.startswith(METRIC)]
    return chosen[["method", "layer", "metric", "value", "ci_low", "ci_high"]].round(3)


def require_above(results: pd.DataFrame, others: Sequence[str]) -> pd.DataFrame:
    """Differences of the first map that pointed from `others`; StudyError where the interval of one
    does not lie above zero, or where one was not compared."""
    first = results.loc[results["metric"] == METRIC, "method"].iloc[0]
    chosen = results[results["metric"] == f"{METRIC}_difference"].set_index("method")
    wanted = [f"{first} - {other}" for other in others]
    missing = [pair for pair in wanted if pair not in chosen.index]
    if missing:
        raise StudyError(f"no difference {missing} among {list(chosen.index)}")
    found = chosen.loc[wanted, ["value", "ci_low", "ci_high"]]
    if not (found["ci_low"] > 0).all():
        raise StudyError(f"{first} does not point better than all it was asked to:\n{found}")
    return found
