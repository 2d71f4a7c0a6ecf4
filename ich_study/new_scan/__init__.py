"""A scan of one's own: found on disk, read, seen by trained methods, and what they find written."""
