"""The running daemon: build its components, start and stop them."""
