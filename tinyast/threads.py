"""Limit the threads of the mathematics libraries."""

from __future__ import annotations

import os

# Read by OpenMP, OpenBLAS and MKL when numpy is first imported.
LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def one_maths_thread() -> None:
    """Limit them to one thread each, unless the environment says otherwise. Call before numpy.

    One thread classifies one window; with more threads, the libraries would make it wait
    for them (features took 40 times as long). For a program to call: it changes the environment
    of the whole process and of those that it starts.
    """
    for name in LIMITS:
        os.environ.setdefault(name, "1")
