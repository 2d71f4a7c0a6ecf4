"""What trained methods answer on one scan, here or in other processes.

Every method is given whole scans and sees them as it was trained to. What it says comes back to the
scan's own grid and from there to one grid for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch.nn import functional

from ich_study.cross.memory import PeakMemory
from ich_study.errors import StudyError
from ich_study.evaluate.scan_methods import OneScan, ScanMethod
from ich_study.new_scan.apply import marked, open_methods
from ich_study.run.workers import worker_pool
from ich_study.store.read import Store

ANY = "any"


@dataclass(frozen=True, repr=False)
class ScanTask:
    """One scan of which some slices are scored, by the named methods. rows: of these slices. side:
    rows and columns of the common grid."""

    store: Store
    scan_id: str
    rows: pd.DataFrame
    side: int
    methods: Sequence[str]


@dataclass(frozen=True, repr=False)
class Answer:
    """What a method says of the scored slices of one scan, on the common grid.

    heat: float32 (n, S, S), of any hemorrhage. gated: the same of the classes that the method's own
    gate lets through, -inf where it lets none; `heat` itself of a method without a gate. marked:
    bool (n, S, S), at the method's own threshold. logit: (n,), that a slice holds hemorrhage.
    points: of each slice, (n, 2) of row and column, None where the method gives heat alone.
    seconds: for the whole scan, as if the method ran alone. memory_mib: the most that it took,
    without shared steps that were done before.
    """

    heat: np.ndarray
    gated: np.ndarray
    marked: np.ndarray
    logit: np.ndarray
    points: list[np.ndarray | None]
    seconds: float
    memory_mib: float


Crew = Callable[[Iterable[ScanTask]], Iterator[dict[str, Answer]]]
"""Tasks to the answers of all methods, in the order of the tasks."""


def ask_all(methods: Mapping[str, ScanMethod], task: ScanTask) -> dict[str, Answer]:
    """The answer of every method of the task; what several need of a scan is computed once."""
    pixel_mm = tuple(task.rows[["spacing_y_mm", "spacing_x_mm"]].iloc[0].astype(float))
    scan = OneScan(task.scan_id, np.array(task.store.volume(task.scan_id)), pixel_mm)
    return {name: _ask(methods[name], scan, task) for name in task.methods}


def _ask(method: ScanMethod, scan: OneScan, task: ScanTask) -> Answer:
    slices, native = task.rows["slice_index"].to_numpy(), scan.hu.shape[1:]
    recipe = method.recipe

    def read() -> tuple:
        said = method.say(scan)
        return said, torch.from_numpy(said.heat.read(slices))

    with PeakMemory() as peak:
        (said, maps), seconds = scan.timed(read)
    heat = _on_grid(maps, method, native, task.side)
    logits = said.logits[slices]
    of_any = logits[:, recipe.classes.index(ANY)] if ANY in recipe.classes else logits.max(1)
    highest = gated = heat.max(1)
    if any(recipe.gates):
        opened = recipe.opened(expit(logits))[..., None, None]
        gated = np.where(opened, heat, np.float32(-np.inf)).max(1)
    points = [None if said.points is None else said.points[number] for number in slices]
    return Answer(
        highest,
        gated,
        marked(heat.swapaxes(0, 1), expit(logits), recipe) > 0,
        of_any,
        [each if each is None else _scaled(each, method, native, task.side) for each in points],
        seconds,
        peak.mib,
    )


def _on_grid(
    maps: torch.Tensor, method: ScanMethod, native: tuple[int, ...], side: int
) -> np.ndarray:
    """Maps (n, classes, s, s) of the network's grid, by way of the slice's, on the common grid."""
    parts = []
    for number in range(maps.shape[1]):
        whole = method.preprocessing.native(maps[:, number], *native)
        size = {"size": (side, side), "mode": "bilinear", "align_corners": False}
        parts.append(functional.interpolate(whole[None], antialias=True, **size)[0].numpy())
    return np.stack(parts, 1)


def _scaled(
    points: np.ndarray, method: ScanMethod, native: tuple[int, ...], side: int
) -> np.ndarray:
    """Points (n, 2) of the network's grid, by way of the slice's, on the common grid."""
    found = method.preprocessing.native_points(torch.from_numpy(np.asarray(points)), *native)
    return (found.numpy() + 0.5) * (side / np.array(native)) - 0.5


_METHODS: dict[str, ScanMethod] = {}


def _open(sources: Sequence[str], device: torch.device) -> None:
    torch.set_num_threads(1)
    _METHODS.update(open_methods(sources, device))


def _ask_here(task: ScanTask) -> dict[str, Answer]:
    return ask_all(_METHODS, task)


@contextmanager
def crew_of(workers: int, sources: Sequence[str], device: torch.device) -> Iterator[Crew | None]:
    """Processes that open the methods of `sources` and take scan after scan; None for one worker,
    since all is then done in this process."""
    if workers == 1:
        yield None
        return
    with worker_pool(workers, _open, sources, device) as pool:
        try:
            yield lambda tasks: pool.map(_ask_here, tasks)
        except BrokenProcessPool as error:
            raise StudyError(
                f"one of {workers} processes that apply the methods died, most likely for lack of"
                " memory; run again with fewer workers"
            ) from error
