import sys
from multiprocessing.process import BaseProcess
from typing import ClassVar

if sys.platform != "win32":
    from multiprocessing.popen_fork import Popen as Popen
else:
    class Popen:
        finalizer: object
        method: ClassVar[str]
        pid: int
        returncode: int | None
        sentinel: int

        def __init__(self, process_obj: BaseProcess) -> None: ...
        def duplicate_for_child(self, fd: int) -> int: ...
        def poll(self, flag: int = 1) -> int | None: ...
