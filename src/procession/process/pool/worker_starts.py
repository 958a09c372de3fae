"""Starting workers for a pool: as many as were ordered, in a helper thread, and not for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from procession.hints import Any
from procession.observer import observers
from procession.pickling.pickler import PackedInitializer, pack_initializer
from procession.pickling.references import resolve
from procession.process.far_side import worker_setup
from procession.process.io.black_box import BlackBox
from procession.process.io.reactor import reactor
from procession.process.pool.assignment import Assignment
from procession.process.pool.pool_state import TRIES, PoolState
from procession.process.pool.worker import Worker
from procession.process.start.launchers import launch
from procession.process.start.start_methods import Descriptors, method_of
from procession.system import NamedTuple, lifeline, owned_descriptors
from procession.system.alarm import short_turns
from procession.system.limits import explain
from procession.system.pristine import perf_counter, socket, start_new_thread
from procession.system.wakeup import Wakeups
from procession.worker.preparing import Cap


class WorkerSpec(NamedTuple):
    """How worker processes are started and set up.

    Attributes:
        context: ``"fork"``, ``"spawn"``, ``"forkserver"``, ``"loky"``, a `multiprocessing`
            context object, or `None` for the platform's safest fast one.
        initializer: Run once in each worker before its first item, with `initargs`.
        initargs: Its arguments.
        max_tasks_per_worker: Items after which a worker is replaced, or `None`. A chunk is never
            torn apart: a worker is replaced after the chunk that reaches the number.
        threads_per_worker: Cap for OpenMP and BLAS thread pools, or `None`.
        name: What the processes are called.
        preload: Modules that a worker imports before it is ready. What they raise is not lost: it
            is raised again by the items that need them.
        tell: Is told of each worker that has started: its process, when that began, when it ended.
    """

    context: Any = None
    initializer: Any = None
    initargs: tuple[Any, ...] = ()
    max_tasks_per_worker: int | None = None
    threads_per_worker: Cap | None = None
    name: str = "procession-worker"
    preload: tuple[str, ...] = ()
    tell: Callable[[int, float, float], None] = observers.worker_started


class Starter:
    """Starts the workers that the pool's state has ordered.

    Args:
        spec: What they are.
        lock: The pool's, which guards its state.
        state: The pool's state.
        gone: Rung when a start has ended.
        welcome: Takes a process that was just started.
        refuse: Is told which chunks are refused, and why, if none can be started.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        lock: Any,
        state: PoolState[Worker],
        gone: Wakeups,
        welcome: Callable[[Worker], None],
        refuse: Callable[[Sequence[Assignment], BaseException], None],
    ) -> None:
        self._spec = spec
        self._lock = lock
        self._state = state
        self._gone = gone
        self._welcome = welcome
        self._refuse = refuse
        self._initializer: PackedInitializer | None = None
        self._at_work: _Turn | None = None

    def start(self) -> None:
        """Start what was ordered, unless a thread does already. Call without the lock."""
        if not self._state.orders:
            return
        turn = _Turn()
        try:
            with self._lock:
                if not self._state.orders or self._at_work is not None:
                    return
                self._at_work = turn
            reactor.hold()
            try:
                # No `threading.Thread`. Ctrl-C in its `start` can leave the new thread waiting for
                # a lock of the one that starts it. Or Python knows of it, and it never runs.
                start_new_thread(self._work, (turn,))
            except RuntimeError:  # the interpreter is ending, or the system has no thread left
                self._work(turn)
        except BaseException as error:
            if turn.take():  # it does not run, and will not
                if self._at_work is turn:
                    self._at_work = None
                    turn.release()
                if not isinstance(error, Exception):  # Ctrl-C, but others may wait for a worker
                    reactor.call_soon(self.start)
            raise

    def _work(self, turn: _Turn) -> None:
        if not turn.take():
            return
        state = self._state
        while True:
            with self._lock:
                if not state.begin_start():
                    self._at_work = None
                    self._gone.wake()
                    break
            error = self._start_one()
            dropped: Sequence[Assignment] | None = None
            with self._lock:
                if error is None:
                    state.end_start()
                else:
                    # Of the system, it may pass; or the fork server has died amid the request.
                    dropped = state.start_failed(again=isinstance(error, (OSError, EOFError)))
                self._gone.wake()
            if error is not None and dropped is not None:
                explain(error, starting=True)
                self._refuse(dropped, error)
        turn.release()

    def _start_one(self) -> BaseException | None:
        """Start a worker. What stopped that, if anything has."""
        worker: Worker | None = None
        try:
            # If no chunk waits, there is time.
            rehearse = self._state.single_use and not self._state.queue
            with short_turns:
                worker = launch_worker(
                    self._spec, self._packed(), modules=self._modules(), rehearse=rehearse
                )
            self._welcome(worker)
        except BaseException as error:
            if worker is not None:
                worker.kill()
            return error
        return None

    def _modules(self) -> tuple[str, ...]:
        """What the chunk needs that waits for longest."""
        try:
            return self._state.queue[0].chunk.job.modules()
        except IndexError:
            return ()

    def _packed(self) -> PackedInitializer:
        if self._initializer is None:
            self._initializer = pack_initializer(self._spec.initializer, self._spec.initargs)
        return self._initializer


class _Turn:
    """The right to start workers. It is taken once: by the new thread, or by the one that could
    not start it. That one lets the reactor go when it is done."""

    def __init__(self) -> None:
        self._free = [True]
        self._left = [reactor.release]

    def take(self) -> bool:
        """Whether it was free."""
        try:
            return self._free.pop()
        except IndexError:
            return False

    def release(self) -> None:
        """The work is done, or never began."""
        try:
            release = self._left.pop()
        except IndexError:
            return
        release()


class _Main:
    """What a worker runs, by its name: only workers import it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return resolve, ("procession.process.far_side.worker_main", "main")

    def __call__(self, *args: Any) -> None:
        from procession.process.far_side.worker_main import main

        main(*args)


def launch_worker(
    spec: WorkerSpec,
    initializer: PackedInitializer,
    *,
    modules: tuple[str, ...] = (),
    rehearse: bool = False,
) -> Worker:
    """Start a process with its channel, black box and lifeline; it says HELLO when it is ready.

    Args:
        spec: How.
        initializer: The spec's initializer and its arguments, packed; or empty.
        modules: What it imports after that: its first chunk needs them.
        rehearse: Whether it is to prepare for one single item.

    Raises:
        OSError: The system refuses (processes, memory, descriptors).
    """
    launched = perf_counter()
    method = method_of(spec.context)
    around = worker_setup.surroundings()
    plan = worker_setup.Plan(
        method, around, spec.threads_per_worker, spec.preload, initializer, modules, rehearse
    )
    opened: list[int] = []
    lifeline.acquire()
    try:
        with owned_descriptors.forking:
            ours, theirs = socket.socketpair()
            opened += [ours.detach(), theirs.detach()]
            opened += [BlackBox.create()]
            opened += [lifeline.inheritable()]
            owned_descriptors.own(*opened)
        handed = Descriptors(opened[1:])
        popen = launch(spec.context, _Main(), (handed, plan), spec.name, keep=opened[1:])
        box = BlackBox(opened[2])
    except BaseException:
        owned_descriptors.close(*opened)
        lifeline.release()
        raise
    owned_descriptors.close(*opened[1:])
    # From here on its socket object closes it, in a forked child too.
    owned_descriptors.disown(opened[0])
    return Worker(method, popen, socket.socket(fileno=opened[0]), box, launched)


def never_ready(worker: Worker, code: int | None) -> BaseException:
    """What chunks are told if worker after worker ends before it is ready, this one the last."""
    import signal

    try:
        from procession.errors import WorkerDied
    except ImportError as error:  # after a chroot, or as a user who may not read our modules
        explain(error, starting=True)
        return error
    name = None
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
    how = f"killed by {name}" if name else f"exit code {code}"
    report = worker.box.report()
    return WorkerDied(
        f"{TRIES} workers in a row ended before they were ready ({how}), so no work was started. "
        f"Look at what runs when a worker starts: the initializer, sitecustomize, .pth files; and "
        "at what was printed to stderr." + (f"\n{report}" if report else ""),
        exitcode=code,
        signal=name,
        stack=report,
    )
