"""`python -m daemon` is `tinyastd`."""

from daemon.cli import main

main()
