"""Stacks of neighbouring slices as channels (LSE-UNet, Section 4: three consecutive slices)."""

from __future__ import annotations

from ich_study.errors import ParameterError


def neighbours(slice_index: int, slices: int, depth: int) -> list[int]:
    """Indices of the `depth` slices centred on `slice_index`; the scan's ends are repeated.

    Raises ParameterError for an even or non-positive depth, or an index outside the scan.
    """
    if depth < 1 or depth % 2 == 0:
        raise ParameterError(f"stack depth is {depth}; expected an odd number of slices")
    if not 0 <= slice_index < slices:
        raise ParameterError(f"slice {slice_index} of a scan with {slices} slices")
    reach = depth // 2
    return [min(max(slice_index + offset, 0), slices - 1) for offset in range(-reach, reach + 1)]
