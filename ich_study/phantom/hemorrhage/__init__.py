"""Hemorrhage of the five subtypes: where it lies, how it grows to its volume, what it displaces."""
