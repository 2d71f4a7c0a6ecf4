"""One room a method. No method imports another; they meet in `ich_study.evaluate`."""
