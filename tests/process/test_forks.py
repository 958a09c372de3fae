"""User code that forks: what a child finds of its parent's locks, futures and executors."""

from __future__ import annotations

import pytest

from tests.support.forking import run

LOCKS = {
    "configure": ("precedence._configured_lock", "procession.configure(retries=0)"),
    "per_worker": ("tasks._lock", "procession.per_worker(dict).value"),
    "seed": ("seeding._one_at_a_time", "seeding.preserve().__enter__()"),
    "guard": ("remote._guarding", "remote._guarding.acquire()"),
    "broadcast": ("broadcast._lock", "broadcast.sendable()"),
    "segments": ("segments._lock", "segments.clear()"),
    "pools": ("registry._lock", "mapped()"),
    "initializers": ("initializing._lock", "initializing.run_initializer_here(int, ())"),
    "shared objects": ("segment._registry_lock", "shared.Lock()"),
    "shared pipes": ("pipe._lock", "shared.Pipe()"),
    "put": ("put._lock", "shared.put(bytes(10**6))"),
    "profile": ("profile._lock", "profile.summary()"),
    "profiles": ("switch._lock", "procession.profile().__enter__()"),
}


@pytest.mark.parametrize("name", LOCKS)
def test_locks_held_by_another_thread(name: str) -> None:
    """A child can use what another thread was just using when it was forked."""
    lock, use = LOCKS[name]
    out = run(f"""
    import procession
    from procession import shared, tasks
    from procession.backends import registry
    from procession.configuration import precedence
    from procession.profiling.switch import switch
    from procession.shared import broadcast as put, pipe, segment
    from procession.wire.beside import Broadcast
    from procession.wire.segments import segments
    from procession.worker import initializing, remote, seeding
    from tests.chaos.jobs import square
    broadcast, profile = Broadcast([]), procession.profile()

    def mapped():
        assert square.with_options(inline=False, workers=1).map(range(3)) == [0, 1, 4]
        procession.shutdown()

    held, over = threading.Event(), threading.Event()
    def hold():
        with {lock}:
            held.set()
            over.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    print(in_child(lambda: {use}), flush=True)
    over.set()
    thread.join()
    """)
    assert out == "0\n"


def test_a_lock_that_the_forking_thread_holds() -> None:
    """A child forked by what a `per_worker` factory does goes on within it."""
    out = run("""
    import procession
    codes = []
    def factory():
        codes.append(in_child(lambda: None))
        return codes
    print(procession.per_worker(factory).value, flush=True)
    """)
    assert out == "[0]\n"
