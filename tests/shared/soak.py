"""A world of shared objects, workers that use all of it without rest, and a killer."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
import warnings
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any

from procession import ParallelWarning, WorkerDied, shared

WORKERS = 4
PATIENCE = 30.0
"""Seconds without any step of any worker that count as a deadlock."""


@dataclass
class World:
    """What the workers share, and what they must not see."""

    lock: shared.Lock = field(default_factory=shared.Lock)
    rlock: shared.RLock = field(default_factory=shared.RLock)
    semaphore: shared.Semaphore = field(default_factory=lambda: shared.Semaphore(2))
    condition: shared.Condition = field(default_factory=shared.Condition)
    event: shared.Event = field(default_factory=shared.Event)
    queue: shared.Queue[Any] = field(default_factory=lambda: shared.Queue(50))
    mapping: shared.Dict[int, Any] = field(default_factory=lambda: shared.Dict[int, Any]())
    items: shared.List[Any] = field(default_factory=lambda: shared.List[Any]())
    inside: Any = field(default_factory=lambda: shared.Array("q", 2, lock=False))
    steps: Any = field(default_factory=lambda: shared.Value("q", 0, lock=False))
    faults: shared.List[str] = field(default_factory=lambda: shared.List[str]())
    stop: shared.Event = field(default_factory=shared.Event)


def work(world: World, seed: int) -> None:
    """Use everything until told to stop."""
    warnings.simplefilter("ignore", ParallelWarning)
    chance = random.Random(seed)
    deeds = [_locks, _semaphore, _wait, _queue, _containers]
    number = 0
    while not world.stop.is_set():
        number += 1
        try:
            chance.choice(deeds)(world, number)
        except WorkerDied:
            pass
        except Exception as error:
            world.faults.append(f"{type(error).__name__}: {error}")
        world.steps.value += 1


def _locks(world: World, number: int) -> None:
    for at, lock in enumerate((world.lock, world.rlock)):
        with lock:
            world.inside[at] = os.getpid()
            for _ in range(number % 50):
                pass
            if world.inside[at] != os.getpid():
                world.faults.append(f"two at a time inside lock {at}")


def _semaphore(world: World, number: int) -> None:
    with world.semaphore:
        if world.semaphore.get_value() > 1:
            world.faults.append("too many permits")


def _wait(world: World, number: int) -> None:
    with world.condition:
        if number % 3:
            world.condition.notify()
        else:
            world.condition.wait(0.01)
    world.event.set()
    if not world.event.wait(0.001):
        world.event.clear()


def _queue(world: World, number: int) -> None:
    import queue

    try:
        if number % 2:
            world.queue.put((os.getpid(), number, b"x" * (number % 5000)), timeout=0.05)
        else:
            _, n, blob = world.queue.get(timeout=0.05)
            if blob != b"x" * (n % 5000):
                world.faults.append("a corrupt item")
    except (queue.Empty, queue.Full):
        pass


def _containers(world: World, number: int) -> None:
    world.mapping[number % 20] = (os.getpid(), number)
    world.mapping.get(number % 7)
    if len(world.items) > 100:
        del world.items[:50]
    world.items.append(number)


def soak(seconds: float, seed: int) -> int:
    """Let the workers work, and kill one now and then.

    Returns:
        How many were killed.

    Raises:
        AssertionError: If there was a deadlock, or a worker saw what must not be.
    """
    context: Any = multiprocessing.get_context("fork")
    chance = random.Random(seed)
    world = World()
    killed = 0

    def start() -> BaseProcess:
        process: BaseProcess = context.Process(target=work, args=(world, chance.random()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        return process

    workers = [start() for _ in range(WORKERS)]
    try:
        end = time.monotonic() + seconds
        last_step, last_seen = -1, time.monotonic()
        while time.monotonic() < end and not world.faults:
            time.sleep(chance.random() * 0.1)
            steps = world.steps.value
            if steps != last_step:
                last_step, last_seen = steps, time.monotonic()
            assert time.monotonic() - last_seen < PATIENCE, f"no step after {killed} kills"
            unlucky = chance.randrange(WORKERS)
            workers[unlucky].kill()
            workers[unlucky].join()
            workers[unlucky].close()
            workers[unlucky] = start()
            killed += 1
        world.stop.set()
        for process in workers:
            process.join(PATIENCE)
            assert process.exitcode == 0, f"a worker hangs, after {killed} kills"
    finally:
        for process in workers:
            process.kill()
            process.join()
            process.close()
    assert not world.faults, world.faults.copy()
    check(world)
    return killed


def check(world: World) -> None:
    """After all of that, everything still works."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParallelWarning)
        for lock in (world.lock, world.rlock):
            assert lock.acquire(timeout=PATIENCE)
            lock.release()
    with world.semaphore, world.semaphore:
        assert world.semaphore.get_value() == 0
    assert world.semaphore.get_value() == 2
    while not world.queue.empty():
        _, n, blob = world.queue.get(timeout=PATIENCE)
        assert blob == b"x" * (n % 5000)
    assert all(number % 20 == key for key, (_, number) in world.mapping.items())
    assert len(world.items) <= 200
