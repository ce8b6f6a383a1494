"""Publish committed messages and answer replay requests over ZeroMQ."""
