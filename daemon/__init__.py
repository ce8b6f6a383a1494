"""The service: sources, workers, decisions, journal and delivery over ZeroMQ."""

import os

# One window is classified by one thread; a math library that brings its own threads only makes
# them wait for each other (features took 40 times as long). Read when numpy is first imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
