"""What CPython's private names mean that Procession uses: a release that changes one fails here."""

from __future__ import annotations

import concurrent.futures as cf
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest

from procession.system import cpython, cpython_processes, pristine

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def in_child(run: Callable[[], object]) -> int:
    """The exit code of a forked child that runs this: 0 if what it returns is true."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if run() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_thread(run: Callable[[], object]) -> threading.Thread:
    """A thread that runs this."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def python(code: str, *arguments: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, *arguments, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


# -- locks ---------------------------------------------------------------------------------------


def test_the_owner_of_a_lock_is_known() -> None:
    """A reentrant lock says whether the calling thread holds it."""
    lock: Any = pristine.threading.RLock()
    assert not cpython.is_owned(lock)
    with lock, lock:
        assert cpython.is_owned(lock)
        seen: list[bool] = []
        in_thread(lambda: seen.append(cpython.is_owned(lock))).join()
        assert seen == [False]
    assert not cpython.is_owned(lock)


def lock_of(make: str) -> tuple[Any, Any]:
    """A lock, and what it is renewed by."""
    if make == "Event":
        event: Any = threading.Event()
        return event._cond, event
    lock: Any = getattr(pristine.threading, make)()
    return lock, lock


@needs_fork
@pytest.mark.parametrize("make", ["Lock", "RLock", "Event"])
def test_a_child_opens_a_lock_that_another_thread_held(make: str) -> None:
    """Locks, reentrant ones and events of `threading` can be renewed."""
    held, renewed = lock_of(make)
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        with held:
            taken.set()
            over.wait(30)

    thread = in_thread(hold)
    taken.wait(30)

    def use() -> Any:
        before: Any = held.acquire(blocking=False)
        cpython.renew_lock(renewed)
        return not before and held.acquire(blocking=False)

    try:
        assert in_child(use) == 0
    finally:
        over.set()
        thread.join()


# -- imports -------------------------------------------------------------------------------------


def test_locks_that_are_taken_at_a_fork() -> None:
    """`logging` and the threads of executors have the locks that a fork takes."""
    import_module("concurrent.futures.thread")
    found = cpython.locked_at_fork()
    assert set(found) == {"logging", "concurrent.futures.thread"}
    assert found["logging"] is logging._lock  # type: ignore[attr-defined]
    for lock in found.values():
        assert lock.acquire(timeout=30)
        lock.release()


IMPORTS = """
import builtins, os, sys, threading, warnings
from contextlib import contextmanager
from importlib import import_module
from procession.system import cpython

warnings.simplefilter("ignore", DeprecationWarning)
sys.path.insert(0, {folder!r})
begun, over = builtins._slow = threading.Event(), threading.Event()
thread = threading.Thread(target=import_module, args=("slow_to_load",))
thread.start()
begun.wait(30)
assert ("slow_to_load", True) in cpython.imports_elsewhere()
assert cpython.imports_elsewhere(["slow_to_load"]) == []
if (child := os.fork()) == 0:
    cpython.go_on_importing("slow_to_load")
    os._exit(40 + hasattr(import_module("slow_to_load"), "DONE"))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
if (child := os.fork()) == 0:
    over.set()
    cpython.import_anew("slow_to_load")
    os._exit(50 + import_module("slow_to_load").DONE)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
over.set()
thread.join()
assert cpython.imports_elsewhere() == []
"""


@needs_fork
def test_imports_of_other_threads(tmp_path: Path) -> None:
    """A module that another thread imports is known; a forked child goes on, or imports it anew."""
    (tmp_path / "slow_to_load.py").write_text(
        "import builtins\nbuiltins._slow[0].set()\nbuiltins._slow[1].wait(30)\nDONE = 1\n"
    )
    assert python(IMPORTS.format(folder=str(tmp_path))).split() == ["40", "51"]


def test_a_module_that_is_half_imported_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is `None` until its import is over, and the module from then on."""
    (tmp_path / "asks_for_itself.py").write_text(
        "from procession.system import cpython\nSEEN = cpython.loaded(__name__)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert cpython.loaded("asks_for_itself") is None
    module = import_module("asks_for_itself")
    assert module.SEEN is None
    assert cpython.loaded("asks_for_itself") is module
    del sys.modules["asks_for_itself"]


# -- threads and the program's end ---------------------------------------------------------------


@needs_fork
def test_a_forked_thread_becomes_the_main_one() -> None:
    """It has the main one's name, is no daemon, and `threading` takes it for the main one."""

    def main() -> bool:
        cpython.become_main_thread()
        me = threading.current_thread()
        return me is threading.main_thread() and not me.daemon and me.name == "MainThread"

    codes: list[int] = []
    in_thread(lambda: codes.append(in_child(main))).join()
    assert codes == [0]


def test_the_order_at_the_end_of_a_program() -> None:
    """What is registered last runs first, after the main thread and before `atexit`."""
    assert python(
        "import atexit\n"
        "from procession.system.cpython import at_threads_end\n"
        "atexit.register(print, 'atexit')\n"
        "at_threads_end(lambda: print('first'))\n"
        "at_threads_end(lambda: print('last'))\n"
        "print('main')"
    ).split() == ["main", "last", "first", "atexit"]


def test_exit_handlers() -> None:
    """Those of the parent are forgotten; those of `multiprocessing` and later ones run."""
    printed = python(
        "import atexit, os, sys\n"
        "from multiprocessing import util\n"
        "from procession.system import cpython, cpython_processes\n"
        "atexit.register(print, 'parent')\n"
        "cpython.clear_exit_handlers()\n"
        "util.Finalize(None, print, ('multiprocessing',), exitpriority=1)\n"
        "atexit.register(print, 'own')\n"
        "cpython.run_exit_handlers()\n"
        "sys.stdout.flush()\n"
        "os._exit(0)"
    )
    assert printed.split() == ["own", "multiprocessing"]


# -- multiprocessing -----------------------------------------------------------------------------


def test_the_resource_tracker() -> None:
    """It is lost, adopted and renewed by its own attributes."""
    assert (
        python(
            "import os, sys\n"
            "from procession.system import cpython, cpython_processes\n"
            "assert 'multiprocessing.resource_tracker' not in sys.modules\n"
            "cpython.renew_tracker(), cpython_processes.lose_tracker()\n"
            "cpython_processes.adopt_tracker(None)\n"
            "from multiprocessing import resource_tracker as tracker\n"
            "assert not cpython_processes.has_tracker()\n"
            "first = tracker.getfd()\n"
            "assert cpython_processes.has_tracker()\n"
            "copy = os.dup(first)\n"
            "cpython_processes.adopt_tracker(copy)\n"
            "assert tracker.getfd() == copy\n"
            "cpython.renew_tracker()\n"
            "assert tracker._resource_tracker._lock.acquire(blocking=False)\n"
            "tracker._resource_tracker._lock.release()\n"
            "pid = tracker._resource_tracker._pid\n"
            "os.close(first), os.close(copy)\n"
            "cpython_processes.lose_tracker()\n"
            "assert os.waitpid(pid, 0)[0] == pid\n"
            "again = tracker.getfd()\n"
            "assert os.fstat(again) and tracker._resource_tracker._pid != pid\n"
            "print('done')"
        )
        == "done"
    )


def test_options_of_the_interpreter() -> None:
    """They are given as another interpreter takes them."""
    code = (
        "from procession.system.cpython_processes import interpreter_arguments as given\n"
        "print(given())"
    )
    found = python(code, "-W", "error::BytesWarning", "-O", "-X", "dev")
    assert "-O" in found
    assert "-Werror::BytesWarning" in found
    assert "-X" in found
    assert "dev" in found


def test_start_methods_do_not_become_the_default() -> None:
    """Contexts are found and named, and the program's start method stays open."""
    assert (
        python(
            "import multiprocessing as mp\n"
            "from procession.system import cpython, cpython_processes\n"
            "for method in ('spawn', 'forkserver', 'fork'):\n"
            "    assert cpython_processes.context_of(method) is mp.get_context(method)\n"
            "    assert cpython.method_of(mp.get_context(method)) == method\n"
            "with cpython_processes.default_context_kept():\n"
            "    mp.get_start_method()\n"
            "assert mp.get_start_method(allow_none=True) is None\n"
            "cpython.method_of(mp)\n"
            "print(mp.get_start_method(allow_none=True))"
        )
        != ""
    )


def test_the_logger_of_multiprocessing() -> None:
    """A child is told whether it logs to stderr, and how much."""
    assert (
        python(
            "import logging, multiprocessing\n"
            "from procession.system import cpython, cpython_processes\n"
            "assert cpython_processes.log_settings() == {'log_to_stderr': False}\n"
            "multiprocessing.log_to_stderr(logging.INFO)\n"
            "settings = cpython_processes.log_settings()\n"
            "print(settings == {'log_to_stderr': True, 'log_level': logging.INFO})"
        )
        == "True"
    )


def launch_nothing(process: Any) -> Any:
    """Stands in for a launcher."""
    raise RuntimeError(f"launched {process.name}")


def test_what_a_process_is_started_with() -> None:
    """Its key, its launcher, and whether it is a daemon, are set on the process."""
    process: Any = multiprocessing.get_context("spawn").Process(name="one")
    key = type(process.authkey)(b"another")
    cpython_processes.set_process_key(process, key, daemon=True)
    assert process.authkey == key
    assert process.daemon
    cpython_processes.set_launcher(process, launch_nothing)
    with pytest.raises(RuntimeError, match="launched one"):
        process.start()


@needs_fork
def test_a_process_runs_in_a_child_made_by_hand() -> None:
    """`bootstrap` runs what a process is for, and gives its exit code."""
    process = multiprocessing.get_context("fork").Process(target=sys.exit, args=(7,))
    reader, writer = os.pipe()
    try:
        assert in_child(lambda: cpython_processes.bootstrap(process, reader) == 7) == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_what_a_spawned_process_reads() -> None:
    """`run_spawned` loads two pickles, what it is told of its parent and what it is to run."""
    context = multiprocessing.get_context("spawn")
    process: Any = context.Process(target=print, args=("it ran",))
    from multiprocessing import spawn
    from multiprocessing.context import set_spawning_popen

    set_spawning_popen(process)  # as its launcher does
    try:
        data = pickle.dumps({"name": "one"}) + pickle.dumps(process)
    finally:
        set_spawning_popen(None)
    assert callable(spawn._main)
    code = (
        "import os\n"
        "from procession.system import cpython, cpython_processes\n"
        "reader, writer = os.pipe()\n"
        "end, _ = os.pipe()\n"
        f"os.write(writer, {data!r})\n"
        "os.close(writer)\n"
        "print(cpython_processes.run_spawned(reader, end))"
    )
    assert python(code).split("\n") == ["it ran", "0"]


# -- executing -----------------------------------------------------------------------------------


@pytest.mark.skipif(not cpython_processes.can_fork_exec(), reason="no such call on this system")
def test_fork_exec() -> None:
    """The program has its arguments, its variables and its descriptors, and no others."""
    reader, writer = os.pipe()
    says, end = os.pipe()
    code = f"import os; os.write({writer}, os.environb[b'WORD'])"
    path = os.fsencode(sys.executable)
    arguments = [path, b"-S", b"-c", code.encode()]
    try:
        kept = tuple(sorted((writer, end)))
        pid = cpython_processes.fork_exec(path, arguments, [b"WORD=said"], kept, (says, end))
        os.close(end)
        end = -1
        assert os.read(says, 100) == b""
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert os.read(reader, 100) == b"said"
    finally:
        for descriptor in (reader, writer, says, end):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.mark.skipif(not cpython_processes.can_fork_exec(), reason="no such call on this system")
def test_fork_exec_says_why_it_failed() -> None:
    """Type, number in hexadecimal and message, with colons between."""
    says, end = os.pipe()
    pid = cpython_processes.fork_exec(b"/nothing/there", [b"there"], [], (end,), (says, end))
    os.close(end)
    kind, number, _ = os.read(says, 1000).split(b":", 2)
    os.close(says)
    os.waitpid(pid, 0)
    assert kind == b"OSError"
    assert int(number, 16) == 2


# -- others --------------------------------------------------------------------------------------


def test_semaphores_at_an_address() -> None:
    """Two objects on one ``sem_t`` are one semaphore."""
    semaphores = import_module("procession.shared.memory.posix_semaphores")
    if not semaphores.usable():
        pytest.skip("not with this C library")
    import mmap

    with mmap.mmap(-1, mmap.PAGESIZE) as memory:
        semaphores.clear(memory, 64, 1)
        one, other = semaphores.open_at(memory, 64), semaphores.open_at(memory, 64)
        assert one.acquire(False)
        assert not other.acquire(False)
        one.release()
        assert other.acquire(False)
        assert other._count() == 1
        del one, other


def test_the_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `os.environ` keeps them in changes with it, and is that of its own keys."""
    assert cpython.environment is not None
    key = cpython.variable("PROCESSION_TESTS_WORD")
    assert key not in cpython.environment
    monkeypatch.setenv("PROCESSION_TESTS_WORD", "one")
    assert os.fsdecode(cpython.environment[key]) == "one"


@pytest.mark.skipif(sys.platform != "linux", reason="needs abstract sockets")
def test_accepting_a_connection() -> None:
    """A bare socket gives the descriptor of a connection."""
    socket = pristine.socket
    name = b"\0procession-tests-%d" % os.getpid()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client,
    ):
        listener.bind(name)
        listener.listen(1)
        client.connect(name)
        with socket.socket(fileno=cpython.accept(listener)) as accepted:
            client.send(b"word")
            assert accepted.recv(10) == b"word"


def test_the_lock_of_the_interpreter() -> None:
    """There is one, unless Python was built without."""
    import sysconfig

    assert cpython.has_gil() or sysconfig.get_config_var("Py_GIL_DISABLED") == 1


def test_filters_that_are_put_in_place_are_seen() -> None:
    """After `warning_filters_changed` a warning that was shown once is looked at anew."""
    code = (
        "import warnings\n"
        "from procession.system import cpython, cpython_processes\n"
        "warnings.simplefilter('default')\n"
        "shown = []\n"
        "warnings.showwarning = lambda *_: shown.append(1)\n"
        "def warn(): warnings.warn('text')\n"
        "warn(), warn()\n"
        "assert shown == [1]\n"
        "warnings.filters[:] = [('always', None, Warning, None, 0)]\n"
        "cpython.warning_filters_changed()\n"
        "warn(), warn()\n"
        "print(len(shown))"
    )
    assert python(code) == "3"


def test_the_unpickler_in_python_code() -> None:
    """Its steps are methods in a table, by opcode, and it has a stack."""
    unpickler: Any = cpython.python_unpickler()
    assert pickle.REDUCE[0] in unpickler.dispatch

    class Mine(unpickler):  # type: ignore[misc]
        dispatch = dict(unpickler.dispatch)

        def load_reduce(self) -> None:
            arguments = self.stack.pop()
            self.stack[-1] = ("instead", arguments)

        dispatch[pickle.REDUCE[0]] = load_reduce

    import io

    assert Mine(io.BytesIO(pickle.dumps(range(3)))).load() == ("instead", (0, 3, 1))


def test_threads_of_executors() -> None:
    """Those of a thread pool, and the one that manages processes; none after the end."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(abs, 1).result()
        assert [each.is_alive() for each in cpython_processes.executor_threads(threads)] == [True]
    assert cpython_processes.executor_threads(threads) == []


def test_an_executor_s_processes() -> None:
    """The queue of results has a writing end in this process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        assert executor.submit(abs, -2).result(timeout=60) == 2
        assert [each.is_alive() for each in cpython_processes.executor_threads(executor)] == [True]
        assert not cpython_processes.result_writer(executor).closed
    assert cpython_processes.executor_threads(executor) == []


def test_an_executor_says_who_works_for_it() -> None:
    """Its processes by pid, which hold pipes; and a count of idle ones that can be replaced."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        cpython_processes.never_idle(executor)
        executor.submit(abs, -2).result(timeout=60)
        executor.submit(abs, -2).result(timeout=60)
        processes = cpython_processes.executor_processes(executor)
        assert [process.pid for process in processes.values()] == list(processes)
        assert len(processes) == 2  # though the first one was idle
        assert all(
            cpython_processes.process_pipes(process).sentinel for process in processes.values()
        )
    assert cpython_processes.executor_processes(ThreadPoolExecutor(1)) is None


def test_what_a_future_is_made_of() -> None:
    """The attributes that `procession.futures` and `procession.waiting` share with its base."""
    future: Any = Future[int]()
    assert future._state == "PENDING"
    assert (future._result, future._exception) == (None, None)
    assert (future._waiters, future._done_callbacks) == ([], [])

    class Waiter:
        told: Any = None

        def add_result(self, future: Any) -> None:
            self.told = future

    waiter = Waiter()
    with future._condition:
        future._waiters.append(waiter)
    future.set_result(3)
    assert waiter.told is future
    assert (future._state, future._result) == ("FINISHED", 3)
    cancelled: Any = Future[int]()
    cancelled.cancel()
    assert cancelled._state == "CANCELLED"
    cancelled.set_running_or_notify_cancel()
    assert cancelled._state == "CANCELLED_AND_NOTIFIED"
    logger: Any = cf._base.LOGGER
    assert logger.name == "concurrent.futures"


def test_who_waits_for_standard_futures() -> None:
    """A waiter of `concurrent.futures` has an event, and perhaps a lock: both can be renewed."""
    future: Any = Future[int]()
    thread = in_thread(lambda: cf.wait([future], timeout=30))
    while not future._waiters:
        time.sleep(0.001)
    [waiter] = future._waiters
    assert isinstance(waiter.event, threading.Event)
    assert hasattr(waiter.event, "_at_fork_reinit")
    assert not hasattr(waiter, "lock") or hasattr(waiter.lock, "_at_fork_reinit")
    future.set_result(None)
    thread.join()


def test_bare_copies_of_modules() -> None:
    """Clocks, polling, sockets and threads are made anew: no patch of the shared ones is seen."""
    assert pristine.time is not time
    assert pristine.time.monotonic is not time.monotonic
    assert abs(pristine.monotonic() - time.monotonic()) < 60
    assert pristine.natural()
    assert pristine.queues_are_natural()
    lock = pristine.threading.Lock()
    assert lock.acquire(timeout=0)
    assert not lock.acquire(timeout=0)
    local: Any = pristine.threading.local()
    local.here = 1
    seen: list[bool] = []
    thread = pristine.threading.Thread(target=lambda: seen.append(hasattr(local, "here")), name="t")
    thread.start()
    thread.join()
    assert seen == [False]


def test_the_pickle_that_needs_no_other_import() -> None:
    """The C module has the very functions and classes that `pickle` gives."""
    assert cpython.pickle.Pickler is pickle.Pickler
    assert cpython.pickle.dumps is pickle.dumps
    assert cpython.pickle.PicklingError is pickle.PicklingError


def test_imports_wait_for_the_lock() -> None:
    """While a module's lock is held, another thread does not begin to import it."""
    sys.modules.pop("antigravity_of_procession", None)
    begun, refused = threading.Event(), threading.Event()

    def imports() -> None:
        begun.set()
        try:
            import_module("antigravity_of_procession")
        except ModuleNotFoundError:
            refused.set()

    with cpython.import_lock("antigravity_of_procession"):
        thread = in_thread(imports)
        begun.wait(30)
        assert not refused.wait(0.05)
    thread.join(30)
    assert refused.is_set()


def test_an_extension_imports_by_the_function_given() -> None:
    """C code that imports while it is loaded asks the builtins of its caller."""
    import importlib.machinery

    asked: list[str] = []

    def importing(name: str, *more: Any) -> Any:
        asked.append(name)
        return __import__(name, *more)

    spec = importlib.machinery.PathFinder.find_spec("wrapt._wrappers", _folder_of("wrapt"))
    assert spec is not None
    module: Any = cpython.module_from_spec(spec)
    cpython.execute_extension(module, importing)
    assert module.FunctionWrapper is not None
    assert set(asked) <= {"builtins", "wrapt.exceptions", "math"}


def _folder_of(package: str) -> Any:
    return import_module(package).__path__


# -- objects -------------------------------------------------------------------------------------


class Slotted:
    """Has a slot of its own, whose name is mangled."""

    __slots__ = ("__hidden", "shown")


class MoreSlots(Slotted):
    """Has one more."""

    __slots__ = ("more",)


def test_slots_by_their_mangled_names() -> None:
    """Those of the bases too."""
    assert set(cpython.slot_names(MoreSlots)) == {"_Slotted__hidden", "shown", "more"}
    assert cpython.slot_names(int) == []


def test_the_call_that_made_a_context_manager() -> None:
    """Known until it is entered."""

    @contextmanager
    def named(name: str, *, times: int = 1) -> Iterator[str]:
        yield name * times

    manager = named("a", times=2)
    assert cpython.manager_call(manager) == (cast("Any", named).__wrapped__, ("a",), {"times": 2})
    with manager:
        assert cpython.manager_call(manager) is None


class Plain:
    """Takes a keyword when it is made again."""

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (), {}


def test_what_makes_objects_again() -> None:
    """One for each of the ways of ``object.__reduce_ex__``."""
    one, with_keywords, before = cpython.object_makers()
    assert Slotted().__reduce_ex__(2)[0] is one
    assert Plain().__reduce_ex__(4)[0] in (one, with_keywords)
    assert object().__reduce_ex__(1)[0] is before


def test_abstract_classes_are_begun_and_asked() -> None:
    """A class that its metaclass did not make can be begun; what is registered with it is told."""
    import abc

    made: Any = type.__new__(abc.ABCMeta, "Made", (), {})
    cpython.begin_abstract(made)
    made.register(Slotted)
    assert issubclass(Slotted, made)
    assert cpython.virtual_subclasses(made) == [Slotted]


def test_settings_are_those_of_the_c_modules() -> None:
    """What `locale`, `socket` and `csv` keep is kept, and can be asked for, in C."""
    import csv
    import locale
    import socket

    c: Any = import_module("_locale")
    assert c.setlocale(c.LC_ALL) == locale.setlocale(locale.LC_ALL)
    assert import_module("_socket").getdefaulttimeout is socket.getdefaulttimeout
    assert import_module("_csv").field_size_limit is csv.field_size_limit


def test_a_new_level_empties_the_caches_of_loggers() -> None:
    """So a mark that was left in the root logger's is gone."""
    root: Any = logging.getLogger()
    root._cache["mark"] = True
    logger = logging.getLogger("procession.tests.level")
    logger.setLevel(logging.ERROR)
    assert "mark" not in root._cache
    logger.setLevel(logging.NOTSET)
