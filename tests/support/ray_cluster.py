"""A Ray cluster on loopback: a head without processors, and nodes of one each that can be killed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

OBJECT_STORE_BYTES = 80_000_000
"""about the smallest that Ray accepts"""
NODE = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES}


@contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """Yield a cluster, which RAY_ADDRESS names until the block ends."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray import cluster_utils  # it takes seconds

    head = {**NODE, "num_cpus": 0, "include_dashboard": False}
    started = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    before = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = started.address
    try:
        for _ in range(nodes):
            started.add_node(**NODE)
        yield started
    finally:
        os.environ.pop("RAY_ADDRESS")
        if before:
            os.environ["RAY_ADDRESS"] = before
        with suppress(Exception):  # a killed node does not answer
            started.shutdown()


def kill_node(cluster: Any) -> None:
    """Kill the processes of the node that was added last."""
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
