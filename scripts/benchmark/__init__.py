"""What tinyast costs on this machine, beside what else does the same, in one run.

    python -m scripts.benchmark                          # everything, about half an hour
    python -m scripts.benchmark --part peers --part floor
    python -m scripts.benchmark --quick                  # a look: a minute or two

Real daemons are started on folders of their own and listened to as any other program would. Run it
with nothing else running: how busy the machine was before is printed with the figures.
"""

import os

# As the daemon does, before numpy is loaded: one thread for each window.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
