"""Making a worker: its channel, black box and lifeline, and the process that gets their ends."""

from __future__ import annotations

from procession.pickling.packed_initializer import Packed
from procession.process.far_side import worker_main as child
from procession.process.far_side import worker_setup as environment
from procession.process.io.flight_recorder import BlackBox
from procession.process.pool.exit_report import watch_oom
from procession.process.pool.worker import Worker
from procession.process.start import starting
from procession.process.start.worker_spec import WorkerSpec
from procession.system import lifeline, owned_descriptors
from procession.system.pristine import socket

__all__ = ["launch_worker"]


def launch_worker(spec: WorkerSpec, initializer: Packed, *, rehearse: bool = False) -> Worker:
    """Start a process; it says HELLO when it is ready.

    Args:
        spec: How.
        initializer: The spec's initializer and its arguments, packed; or empty.
        rehearse: Whether it is to prepare for one single item.

    Raises:
        OSError: The system refuses (processes, memory, descriptors).
    """
    watch_oom()
    method = starting.method_of(spec.context)
    around = environment.surroundings()
    plan = child.Plan(method, around, spec.threads_per_worker, spec.preload, initializer, rehearse)
    opened: list[int] = []
    lifeline.acquire()
    try:
        with owned_descriptors.forking:
            ours, theirs = socket.socketpair()
            opened += [ours.detach(), theirs.detach()]
            opened += [BlackBox.create()]
            opened += [lifeline.inheritable()]
            owned_descriptors.own(*opened)
        handed = starting.Descriptors(opened[1:])
        popen = starting.launch(
            spec.context, child.main, (handed, plan), spec.name, keep=opened[1:]
        )
        box = BlackBox(opened[2])
    except BaseException:
        owned_descriptors.close(*opened)
        lifeline.release()
        raise
    owned_descriptors.close(*opened[1:])
    owned_descriptors.disown(
        opened[0]
    )  # from here on its socket object closes it, in a forked child too
    return Worker(method, popen, socket.socket(fileno=opened[0]), box)
