"""Checks of `tinyastd doctor` that need libraries of the subscribers."""
