"""Checks of `tinyastd doctor` that need libraries of their own."""
