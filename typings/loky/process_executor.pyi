from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool as _BrokenProcessPool
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

class BrokenProcessPool(_BrokenProcessPool): ...
class TerminatedWorkerError(BrokenProcessPool): ...
class ShutdownExecutorError(RuntimeError): ...

class ProcessPoolExecutor(Executor):
    _max_workers: int
    _processes: dict[int, BaseProcess]
    def __init__(
        self,
        max_workers: int | None = None,
        job_reducers: Mapping[type, Callable[[Any], Any]] | None = None,
        result_reducers: Mapping[type, Callable[[Any], Any]] | None = None,
        timeout: float | None = None,
        context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> None: ...
    # Not as Executor has it: there is no cancel_futures.
    def shutdown(self, wait: bool = True, kill_workers: bool = False) -> None: ...  # type: ignore[override]
