"""The synthetic head CT and the writers of each data set's on-disk layout."""
