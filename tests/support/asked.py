"""Which clusters this run is to test; a module of its own, as workers do not start them."""

import os

PLACES = ("dask", "dask-nanny", "dask-local", "ray")
"""Dask's scheduler and two workers over TCP, the same with nannies, in threads of this process; two
nodes of Ray's."""


def asked_for() -> tuple[str, ...]:
    """The places on clusters that this run is to test, such as ``dask``; usually none."""
    return tuple(os.environ.get("PROCESSION_TEST_CLUSTERS", "").split())
