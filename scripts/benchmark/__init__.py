"""Measure tinyast on this machine, alternating with other classifiers, in one run.

    python -m scripts.benchmark                          # everything, about half an hour
    python -m scripts.benchmark --part peers --part floor
    python -m scripts.benchmark --quick                  # a quick look: a minute or two

It starts real daemons on temporary folders and subscribes to them like any other program. Run it
on an idle machine: it prints with the figures how busy the machine was before.
"""

import os

# Before numpy is loaded, as in the daemon: one thread for each window.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
