"""A Ray cluster of several nodes on this machine, in a separate process.

    python tests/support/servers/clusters.py NODES PORT

It prints the address, and takes `kill N` and `stop` on stdin.

Each node has one processor, except the first, which has the address.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from types import TracebackType

from running import PYTHON_PATH

START_S = 120.0


class Nodes:
    """The cluster as tests see it."""

    def __init__(self, count: int, port: int) -> None:
        self.port = port  # of Ray's client
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_worker_niceness": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            # A node counts as dead after 30 s without an answer; a killed one after this.
            "RAY_health_check_initial_delay_ms": "5000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "10",
            "PYTHONPATH": PYTHON_PATH,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(count), str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **self.environment},
        )
        self.environment["RAY_ADDRESS"] = self._answer()

    def kill(self, number: int) -> None:
        """Kill all processes of a node, 0 for the first with a processor."""
        self._say(f"kill {number}")

    def __enter__(self) -> Nodes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._say("stop")
        self._process.wait(60)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def _say(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        assert self._answer() == words

    def _answer(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("> "):
                return line.removeprefix("> ").strip()
        raise AssertionError("the cluster did not start")


def serve(count: int) -> None:
    """The process of the cluster."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": 100 << 20,
            "ray_client_server_port": int(sys.argv[2]),
        },
    )
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=100 << 20) for _ in range(count)]
    cluster.wait_for_nodes()
    print(f"> {cluster.address}", flush=True)
    for line in sys.stdin:
        if line.startswith("kill"):
            cluster.remove_node(nodes[int(line.split()[1])], allow_graceful=False)
        else:
            cluster.shutdown()
        print(f"> {line}", flush=True)
        if line.startswith("stop"):
            return


if __name__ == "__main__":
    serve(int(sys.argv[1]))
