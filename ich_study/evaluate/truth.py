"""Truth of slices on a network's grid: masks or boxes, HU, brain, and what a pixel measures.

Heat is scored where the network sees: mask, brain and boxes go through the same resizing and crop
as the input (nearest neighbour for masks; HGI-SAM's code does so too, printed_and_authors, 003.6).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from ich_study.ct.brain_mask import brain_mask
from ich_study.ct.planes import PixelGrid
from ich_study.errors import DataError, first_of, require_known
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.metrics.boxes import component_boxes, fill_boxes
from ich_study.metrics.cores import side_by_side
from ich_study.schema import MASK_CODES
from ich_study.store.read import Store

KINDS: tuple[str, ...] = ("masks", "boxes", "none")
SHOWN = 4
"""Scans that a message names."""
Index = slice | np.ndarray | int
_PIXEL = torch.tensor([[0.0, 0.0, 1.0, 1.0]])


@dataclass(frozen=True)
class PackedMasks:
    """Masks (slices, size, size) as bits, an eighth of their size; indexing gives bool masks."""

    bits: np.ndarray = field(repr=False)
    size: int

    @classmethod
    def of(cls, masks: np.ndarray) -> PackedMasks:
        """Pack bool (slices, size, size)."""
        return cls(np.packbits(masks.reshape(len(masks), -1), axis=1), masks.shape[-1])

    def __getitem__(self, index: Index) -> np.ndarray:
        bits = self.bits[index]
        flat = np.unpackbits(bits, axis=-1, count=self.size**2).astype(bool)
        return flat.reshape(*bits.shape[:-1], self.size, self.size)


@dataclass(frozen=True, repr=False)
class Truth:
    """Slices with all that is known of them.

    rows: of the slice index. kind: what the truth is, "masks", "boxes" or "none". hu: int16 (N, S,
    S), not clipped. codes: uint8 (N, S, S) of mask codes, None unless masks were asked for. brain:
    bool when indexed, None where not asked for. annotated: boxes of each slice as the data set has
    them, float64 (n, 4) of x, y, width, height on the grid. pixel_ml, pixel_cm2: what a pixel of
    the grid measures, (N,), NaN where the scan's spacing is unknown.
    """

    rows: pd.DataFrame
    kind: str
    size: int
    hu: np.ndarray
    codes: np.ndarray | None
    brain: PackedMasks | None
    annotated: list[np.ndarray]
    pixel_ml: np.ndarray
    pixel_cm2: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def mask(self, name: str = "any", index: Index = slice(None)) -> np.ndarray:
        """Mask of one subtype or of any hemorrhage, or the boxes filled, bool (n, S, S); (S, S) of
        one slice.

        Boxes do not know a subtype: they stand for every class that is asked for. DataError where
        no truth was read.
        """
        if self.kind == "masks":
            codes = self.codes[index]
            return codes > 0 if name == "any" else codes == MASK_CODES[name]
        if self.kind == "none":
            raise DataError("no truth of these slices was read; ask read_truth for masks or boxes")
        numbers = np.arange(len(self))[index]
        filled = np.zeros((numbers.size, self.size, self.size), bool)
        for row, number in enumerate(np.atleast_1d(numbers)):
            filled[row] = fill_boxes(self.annotated[number], (self.size,) * 2)
        return filled.reshape(*numbers.shape, self.size, self.size)

    def boxes(self, name: str = "any") -> list[np.ndarray]:
        """Boxes of every slice, (n, 4): as annotated, or around the components of the masks."""
        if self.kind == "boxes":
            return self.annotated
        return [component_boxes(mask) for mask in self.mask(name)]

    def positive(self, name: str = "any") -> np.ndarray:
        """Slices with truth of a class, bool (N,)."""
        return self.mask(name).any((1, 2))

    @property
    def healthy(self) -> np.ndarray:
        """Slices known to hold no hemorrhage at all, bool (N,)."""
        return ~self.rows["any"].to_numpy(bool, na_value=True) & ~self.positive()


def read_truth(
    store: Store,
    rows: pd.DataFrame,
    preprocessing: Preprocessing,
    kind: str = "masks",
    brain: bool = True,
    progress: bool = True,
) -> Truth:
    """Truth of `rows` of the store's index, in their order, on the grid of `preprocessing`.

    kind: "masks", "boxes" (filled boxes stand for masks: all that a data set without masks can
    say), or "none" for HU and brain alone. The brain is found on the whole scan. Raises DataError
    for no rows and for rows without the truth asked for, ParameterError for another kind.
    """
    require_known("truth", kind, KINDS)
    if rows.empty:
        raise DataError("no slices to score: the part is empty")
    _check_known(rows, kind)
    rows = rows.reset_index(drop=True)
    shape = (len(rows), preprocessing.size, preprocessing.size)
    hu, codes, brains = (np.zeros(shape, kind) for kind in (np.int16, np.uint8, bool))
    pixel_ml, pixel_cm2 = np.full((2, len(rows)), np.nan)
    annotated = [np.zeros((0, 4)) for _ in range(len(rows))]

    def read(scan: tuple[str, pd.Index]) -> None:
        scan_id, index = scan
        slices = rows.loc[index, "slice_index"].to_numpy()
        volume = np.array(store.volume(scan_id))
        grid = PixelGrid.of(store.index[store.index["scan_id"] == scan_id])
        native = volume.shape[1:]
        hu[index] = preprocessing.resized(torch.from_numpy(volume[slices]), clipped=False)
        if kind == "masks":
            mask = torch.from_numpy(np.array(store.mask(scan_id)[slices]))
            codes[index] = preprocessing.resized_codes(mask)
        if brain:
            inside = torch.from_numpy(brain_mask(volume, grid.pixel_mm)[slices])
            brains[index] = preprocessing.resized_codes(inside)
        for number, boxes in zip(index, _boxes_of(store, scan_id, slices)):
            annotated[number] = preprocessing.on_grid(torch.tensor(boxes), *native).numpy()
        grid_pixels = preprocessing.on_grid(_PIXEL, *native)[0, 2:].prod().item()
        pixel_ml[index] = grid.pixel_ml[slices] / grid_pixels
        pixel_cm2[index] = grid.pixel_mm[0] * grid.pixel_mm[1] / 100 / grid_pixels

    scans = rows.groupby("scan_id", sort=False).groups
    bar = {"unit": "scan", "mininterval": 5, "leave": False, "disable": not progress}
    done = side_by_side(read, scans.items())
    for _ in tqdm(done, "reading scans with their truth", len(scans), **bar):
        pass
    return Truth(
        rows,
        kind,
        preprocessing.size,
        hu,
        codes if kind == "masks" else None,
        PackedMasks.of(brains) if brain else None,
        annotated,
        pixel_ml,
        pixel_cm2,
    )


def with_known(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows of the slice index whose truth is known: `column` is `has_mask` or `has_boxes`. How
    many are left out is printed, and whose."""
    known = rows[rows[column].astype(bool)]
    scans = sorted(set(rows["scan_id"]) - set(known["scan_id"]))
    print(
        f"left out, as nobody drew in them: {len(rows) - len(known)} of {len(rows)} slices,"
        f" {len(scans)} scans as a whole{': ' if scans else ''}{first_of(scans, SHOWN)}"
    )
    return known


def truth_kind(rows: pd.DataFrame) -> str:
    """Return "masks" where every slice has one, else "boxes" where any positive slice's are known.

    Raises DataError where there are neither.
    """
    if rows["has_mask"].all():
        return "masks"
    if rows.loc[rows["any"].to_numpy(bool, na_value=False), "has_boxes"].any():
        return "boxes"
    raise DataError(f"{len(rows)} slices have neither masks nor boxes to score heat against")


def largest_lesions(truth: Truth, classes: tuple[str, ...], count: int = 1) -> pd.DataFrame:
    """Which slices to show, by rule: of each class the `count` slices of different patients with
    the largest truth. A table `class, index`; a class without truth has no row."""
    picked = []
    for name in classes:
        areas = truth.mask(name).sum((1, 2))
        if name != "any" and truth.kind == "boxes":
            # a box has no subtype; the slice's label says which it is
            areas = areas * truth.rows[name].to_numpy(bool, na_value=False)
        order = truth.rows.assign(area=areas).sort_values("area", ascending=False, kind="stable")
        largest = order[order["area"] > 0].drop_duplicates("patient_id").index[:count]
        picked += [(name, int(number)) for number in largest]
    return pd.DataFrame(picked, columns=["class", "index"])


def _check_known(rows: pd.DataFrame, kind: str) -> None:
    if kind == "none":
        return
    known = rows["has_mask" if kind == "masks" else "has_boxes"].astype(bool)
    if not known.all():
        scans = rows.loc[~known, "scan_id"].drop_duplicates()
        raise DataError(
            f"{int((~known).sum())} slices of {len(scans)} scans have no {kind}, first"
            f" {scans.iloc[0]}; set the parameter truth, or choose a data set with {kind}"
        )


def _boxes_of(store: Store, scan_id: str, slices: np.ndarray) -> list[np.ndarray]:
    boxes = store.boxes[store.boxes["scan_id"] == scan_id]
    columns = ["x", "y", "width", "height"]
    return [
        boxes.loc[boxes["slice_index"] == number, columns].to_numpy(np.float64) for number in slices
    ]
