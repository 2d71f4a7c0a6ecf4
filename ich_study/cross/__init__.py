"""All methods on the same slices under one protocol: what notebook 08 compares."""
