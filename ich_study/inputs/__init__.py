"""From HU to what a network sees: preprocessing, stacks of slices, augmentation, sampling, seeds,
devices."""
