"""What every notebook opens first and writes last: stores, splits, output folder, record.

study = Study.open("02_lse_unet", output_dir, data_dir, ["rsna", "bhsd"], ["rsna"])
train = study.rows("rsna", "rsna", "train")
study.write(table, "metrics")
study.save(figure, "history")
study.record(weights={"trained": sha256})
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ich_study import manifest, paths
from ich_study.atomic import write_csv
from ich_study.errors import ParameterError, StudyError
from ich_study.figures import style
from ich_study.figures.explore import explore
from ich_study.figures.names import in_words
from ich_study.inputs.shared import SharedNumbers
from ich_study.splits.overlap import assert_disjoint
from ich_study.splits.split import read_split, rows_of, split_hash
from ich_study.store import Store, open_stores
from ich_study.store.joined import JoinedStores

SYNTHETIC = "synthetic phantom"


@dataclass(frozen=True)
class Study:
    """One notebook's data and its folder. name: of the notebook, the column `study` of results.

    stores: by data set. splits: a row per patient, by name of the split. output: where tables,
    pictures and weights go. synthetic: data sets that are a phantom.
    """

    name: str
    output: Path
    data: Path
    stores: Mapping[str, Store] = field(repr=False)
    splits: Mapping[str, pd.DataFrame] = field(repr=False)
    synthetic: frozenset[str] = frozenset()

    @classmethod
    def open(
        cls,
        name: str,
        output_dir: str,
        data_dir: str,
        datasets: Iterable[str],
        splits: Iterable[str] = (),
        **numbers: float,
    ) -> Study:
        """Open a finished run of `00_data` and set the look of all figures; a record of an earlier
        run in the output folder is set aside.

        numbers: parameters of `inputs.shared`, so that a wrong one is refused here in JupyterLab
        too, and not after a training; ParameterError.

        Paths are relative to the project's folder. Raises DataError or SplitError where the run has
        no such store or split, StudyError where it failed or its files changed since.
        """
        wrong = SharedNumbers.problems(numbers)
        if wrong:
            raise ParameterError("\n".join(wrong))
        style.use_study_style()
        output, data = paths.resolve(output_dir), paths.resolve(data_dir)
        manifest.check_run(data, "00_data")
        manifest.begin(output)
        stores = open_stores(data / "store", dict.fromkeys(datasets))
        tables = {
            split: read_split(data / "splits" / f"{split}.csv") for split in dict.fromkeys(splits)
        }
        return cls(name, output, data, stores, tables, synthetic_datasets(data))

    def rows(self, dataset: str, split: str | None = None, part: str | None = None) -> pd.DataFrame:
        """Slices of a data set, of one part of a split where both are named; ParameterError where
        one of them is, or is not known."""
        if (split is None) != (part is None):
            raise ParameterError(f"split {split!r} and part {part!r}; name both or neither")
        if dataset not in self.stores or (split is not None and split not in self.splits):
            raise ParameterError(
                f"data set {dataset!r}, split {split!r}; this study opened the data sets"
                f" {', '.join(self.stores)} and the splits {', '.join(self.splits) or 'none'}"
            )
        index = self.stores[dataset].index
        return index if split is None else rows_of(index, self.splits[split], part)

    def rows_together(self, splits: Mapping[str, str], part: str) -> pd.DataFrame:
        """Slices of one part of several data sets: data set -> its split, in that order."""
        found = [self.rows(dataset, split, part) for dataset, split in splits.items()]
        return found[0] if len(found) == 1 else pd.concat(found, ignore_index=True)

    def source(self, datasets: Iterable[str]) -> Store | JoinedStores:
        """Where training reads the slices of these data sets; DataError where two name a scan
        alike."""
        chosen = [self.stores[name] for name in datasets]
        return chosen[0] if len(chosen) == 1 else JoinedStores(chosen)

    def write(self, table: pd.DataFrame, name: str) -> pd.DataFrame:
        """Write `<name>.csv`, whole or not at all, and give the table back."""
        write_csv(self.output / f"{name}.csv", table)
        return table

    def save(self, figure: Figure, name: str, shown: bool = True) -> None:
        """Write `<name>.png`. The figure stays open, so that the notebook shows it; shown false
        closes it, where another cell shows it again."""
        style.save_figure(self.titled(figure), self.output / f"{name}.png")
        if not shown:
            plt.close(figure)

    def save_history(self, history: pd.DataFrame, title: str, name: str = "history") -> None:
        """`save` the curves of a training, as `style.history_figure` draws them."""
        self.save(style.history_figure(history, title), name)

    def titled(self, figure: Figure) -> Figure:
        """`figure`, whose title says of a phantom that it is synthetic: where it names a data set
        that is one, or where all data sets are."""
        said = in_words(style.titles_of(figure))
        known = [in_words(name) for name in self.synthetic]
        named = any(re.search(rf"\b{re.escape(name)}\b", said) for name in known)
        everything = bool(self.synthetic) and self.synthetic >= set(self.stores)
        if (named or everything) and "synthetic" not in said:
            style.before_title(figure, SYNTHETIC)
        style.fit_titles(figure)
        return figure

    def explore(self, draw: Callable[..., object], **choices: Sequence[Any]) -> None:
        """`figures.explore.explore` of `draw`, which makes one figure; the figure is `titled`."""

        def drawn(**chosen: object) -> Figure:
            draw(**chosen)
            return self.titled(plt.gcf())

        explore(drawn, **choices)

    def record(
        self,
        weights: Mapping[str, str | Path] | None = None,
        licences: Mapping[str, str] | None = None,
    ) -> None:
        """Note in the run's record which data, which splits and which weights it is of, and under
        which licences published weights are."""
        data = {name: store.content_hash for name, store in self.stores.items()}
        splits = {name: split_hash(table) for name, table in self.splits.items()}
        manifest.record(
            self.output, data=data, split=splits or None, weights=weights, licences=licences
        )


def synthetic_datasets(data: Path) -> frozenset[str]:
    """Data sets that a run of `00_data` wrote itself; none where it has no `summary.csv`.

    Raises StudyError where that does not say.
    """
    path = data / "summary.csv"
    if not path.is_file():
        return frozenset()
    summary = pd.read_csv(path)
    if "synthetic" not in summary:
        raise StudyError(f"{path} does not say which data sets are synthetic; run 00_data again")
    return frozenset(summary.loc[summary["synthetic"], "dataset"])


def parts_table(
    parts: Mapping[str, pd.DataFrame], classes: Iterable[str] = ("any",)
) -> pd.DataFrame:
    """Patients, slices and positive slices of each class, a row per part."""
    rows = []
    for name, part in parts.items():
        positive = {label: int(part[label].sum()) for label in classes}
        patients = part["patient_id"].nunique()
        rows.append({"part": name, "patients": patients, "slices": len(part), **positive})
    return pd.DataFrame(rows)


def assert_all_disjoint(*parts: pd.DataFrame) -> None:
    """Raise SplitError where two parts share a patient."""
    for first, second in combinations(parts, 2):
        assert_disjoint(first, second)
