"""Metrics, liveness, status and logs."""
