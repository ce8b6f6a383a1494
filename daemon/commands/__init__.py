"""The subcommands of `tinyastd`."""
