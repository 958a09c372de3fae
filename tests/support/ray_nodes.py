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


def main() -> None:
    """Start the nodes, say so, and end them when stdin ends."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets' paths must be short
    os.environ["TMPDIR"] = folder
    os.mkdir(os.path.join(folder, "ray"))
    utilities: Any = importlib.import_module("ray.cluster_utils")
    logging.getLogger("ray").setLevel(logging.ERROR)
    cluster = utilities.Cluster()
    number = 0
    try:
        for cpus in map(int, sys.argv[1:]):
            number += 1
            more: dict[str, Any] = {"node_ip_address": f"127.0.0.{number}"}
            if number == 1:  # a program on this machine finds the head by the machine's address
                more = {"include_dashboard": False}
            cluster.add_node(num_cpus=cpus, object_store_memory=_STORE, wait=False, **more)
        cluster.wait_for_nodes()
        nodes = [cluster.head_node, *cluster.worker_nodes]
        pids = [
            {
                kind: [each.process.pid for each in found]
                for kind, found in node.all_processes.items()
            }
            for node in nodes
        ]
        print(json.dumps({"address": cluster.address, "nodes": pids}), flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
