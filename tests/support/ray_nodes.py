"""A cluster of Ray's on this machine, as a program: `python -m tests.support.ray_nodes CPUS ...`.

It has a node for each number of CPUs; the first one is the head. A line on stdout tells the address
and what each node consists of. The cluster ends when stdin does, so also when its caller is killed.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import sys
import tempfile
from typing import Any

_STORE = 100_000_000
"""Bytes of each node's object store."""

_TRIES = 3
"""Ray gives a node 30 s to start, which may not be enough on a busy machine."""


def main() -> None:
    """Start the nodes, say so, and end them when stdin ends."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets' paths must be short
    os.environ["TMPDIR"] = folder
    os.mkdir(os.path.join(folder, "ray"))
    utilities: Any = importlib.import_module("ray.cluster_utils")
    logging.getLogger("ray").setLevel(logging.ERROR)
    cluster: Any = None
    try:
        for left in reversed(range(_TRIES)):
            cluster = utilities.Cluster()
            try:
                _add_nodes(cluster, list(map(int, sys.argv[1:])))
                break
            except Exception:
                cluster.shutdown()
                if not left:
                    raise
        nodes = [cluster.head_node, *cluster.worker_nodes]
        print(json.dumps({"address": cluster.address, "nodes": list(map(_pids, nodes))}))
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _add_nodes(cluster: Any, cpus: list[int]) -> None:
    for number, count in enumerate(cpus, 1):
        more: dict[str, Any] = {"node_ip_address": f"127.0.0.{number}"}
        if number == 1:  # a program on this machine finds the head by the machine's address
            more = {"include_dashboard": False}
        cluster.add_node(num_cpus=count, object_store_memory=_STORE, wait=False, **more)
    cluster.wait_for_nodes()


def _pids(node: Any) -> dict[str, list[int]]:
    """The processes of a node, by what they are."""
    return {kind: [each.process.pid for each in some] for kind, some in node.all_processes.items()}


if __name__ == "__main__":
    main()
