"""Data sets: download, check, split, preprocess."""
