"""Speed over the number of actors, and memory over the number of files: `PART=cluster` runs it.

    python -m pytest -s tests/daemon/cluster/check_scale.py

It prints its figures. Speeds are marginal, from a tenth of the clips to all, so that the start of
processes does not count. Ratios of wall-clock time need a machine without other work; the
processor time of actors bears some. Ray's other processes take their share of each second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import STRESS
from sounds import noise, short_wav, wav_bytes

pytestmark = pytest.mark.timeout(7200)
CLIPS = max(400, round(10_000 * STRESS))
SHORT = max(2_000, round(100_000 * STRESS))
CALM = os.getloadavg()[0] < 0.5  # without other work
TICK = os.sysconf("SC_CLK_TCK")
BARE = """
import sys
from pathlib import Path
from daemon.commands.batch.classify import Batch
from daemon.commands.batch.finding import folder_settings
from daemon.settings.schema import Settings
settings = Settings(engine="onnx", workers=1)
batch = Batch.load(settings, folder_settings(settings, None))
for folder in sys.argv[1:]:
    for path in Path(folder).iterdir():
        batch.classify(bytes(path))
"""


@dataclass
class Cost:
    """What a command took, with all processes below it."""

    wall_s: float
    cpu_s: float  # of all processes
    actors_s: float  # of actors alone, or of all processes without actors
    driver_mb: float  # most resident memory of the command, and of one actor
    actor_mb: float

    def __sub__(self, other: Cost) -> Cost:
        wall, cpu = self.wall_s - other.wall_s, self.cpu_s - other.cpu_s
        actors_s = self.actors_s - other.actors_s
        return Cost(wall, cpu, actors_s, self.driver_mb, self.actor_mb)


def measured(*commands: Sequence[object]) -> Cost:
    """Run commands at the same time to their end, and look at /proc all the while."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    began = time.monotonic()
    running = [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={**os.environ, **limits, "RAY_worker_niceness": "0"},
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    used: dict[tuple[int, int], float] = {}
    actors: set[tuple[int, int]] = set()
    driver_mb, actor_mb = 0.0, 0.0
    while any(each.poll() is None for each in running):
        for pid in _below([each.pid for each in running]):
            try:
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                name = Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:
                continue
            process = pid, int(stat[19])
            used[process] = (int(stat[11]) + int(stat[12])) / TICK
            megabytes = int(stat[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
            if pid == running[0].pid:
                driver_mb = max(driver_mb, megabytes)
            elif "ray::Map" in name:
                actor_mb = max(actor_mb, megabytes)
                actors.add(process)
        time.sleep(0.2)
    assert [each.returncode for each in running] == [0] * len(running)
    total = sum(used.values())
    actors_s = sum(used[each] for each in actors) if actors else total
    return Cost(time.monotonic() - began, total, actors_s, driver_mb, actor_mb)


def _below(roots: list[int]) -> set[int]:
    """These processes and all their descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat[1])
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def on_ray(folder: Path, output: Path, actors: int) -> Cost:
    words = ["-m", "daemon", "classify", folder, "--on", "ray", "--workers", actors]
    return measured([*words, "--engine", "onnx", "--output", output])


def test_actors_are_nearly_as_fast_as_bare_classification(tmp_path: Path) -> None:
    for number in range(CLIPS):
        size = "few" if number < CLIPS // 10 else "many"
        folder = tmp_path / size / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        sound = noise(5, 44_100, seed=number)
        (folder / f"{number:06}.wav").write_bytes(wav_bytes(sound, 44_100))
    few, many = tmp_path / "few", tmp_path / "many"
    more = CLIPS * 8 // 10  # clips in many beyond those in few
    both: dict[str, Cost] = {}
    for actors in (1, 2):
        halves = [(many / "0", many / "1")] if actors == 1 else [(many / "0",), (many / "1",)]
        halves_few = [(few / "0", few / "1")] if actors == 1 else [(few / "0",), (few / "1",)]
        one = measured(*[("-c", BARE, *half) for half in halves])
        both[f"bare {actors}"] = one - measured(*[("-c", BARE, *half) for half in halves_few])
        all_of_it = on_ray(many, tmp_path / f"out{actors}", actors)
        both[f"ray {actors}"] = all_of_it - on_ray(few, tmp_path / f"few{actors}", actors)
    for name, cost in both.items():
        rest = (cost.cpu_s - cost.actors_s) / cost.wall_s
        print(
            f"{name}: {more / cost.wall_s:.0f} clips/s, {cost.actors_s / more * 1e3:.2f} ms of "
            f"processor a clip, {rest:.0%} of one for the rest, driver {cost.driver_mb:.0f} MB, "
            f"actor {cost.actor_mb:.0f} MB"
        )
    if STRESS >= 0.3:
        assert both["bare 2"].cpu_s >= 0.8 * both["ray 2"].actors_s
    if STRESS >= 0.3 and CALM:
        assert both["ray 1"].wall_s >= 1.5 * both["ray 2"].wall_s
        assert both["bare 2"].wall_s >= 0.8 * both["ray 2"].wall_s


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    costs = []
    sound = short_wav(seconds=0.1)
    for count in (SHORT // 10, SHORT):
        for number in range(count):
            folder = tmp_path / f"{count}" / f"{number // 1000:03}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:06}.wav").write_bytes(sound)
        costs.append(on_ray(tmp_path / f"{count}", tmp_path / f"out{count}", 2))
        print(f"{count} files: driver {costs[-1].driver_mb:.0f} MB, "
              f"actor {costs[-1].actor_mb:.0f} MB, {costs[-1].wall_s:.0f} s")  # fmt: skip
    few, many = costs
    assert many.driver_mb < few.driver_mb * 1.1 + 20
    assert many.actor_mb < few.actor_mb * 1.1 + 20
