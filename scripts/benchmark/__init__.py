"""Measure tinyast on this machine, alternating with other classifiers, in one run.

    python -m scripts.benchmark                          # everything, about half an hour
    python -m scripts.benchmark --part peers --part floor
    python -m scripts.benchmark --quick                  # a quick look: a minute or two

It starts real daemons on temporary folders and subscribes to them like any other program. Run it
on an idle machine: it prints with the figures how busy the machine was before.
"""

from tinyast.threads import one_maths_thread

one_maths_thread()  # before numpy is loaded, as the daemon does
