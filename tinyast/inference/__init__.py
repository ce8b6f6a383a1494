"""Run a checkpoint."""
