"""MIL detector: a map of instance scores, max-pooling or attention, peaks as points."""
