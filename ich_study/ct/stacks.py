"""Stacks of neighbouring slices as channels (LSE-UNet, Section 4: three consecutive slices)."""

from __future__ import annotations


def neighbours(slice_index: int, slices: int, depth: int) -> list[int]:
    """Indices of the `depth` slices, an odd number, centred on `slice_index`; the scan's ends are
    repeated."""
    reach = depth // 2
    return [min(max(slice_index + offset, 0), slices - 1) for offset in range(-reach, reach + 1)]
