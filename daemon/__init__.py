"""The service: sources, workers, decisions, journal and delivery over ZeroMQ."""
