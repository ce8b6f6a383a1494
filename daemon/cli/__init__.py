"""The command line `tinyastd`."""
