"""The parts of a measurement: each gives a list of figures."""
