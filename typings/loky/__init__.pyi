# As far as Procession uses it.
from concurrent.futures import Executor as Executor

from loky.backend.context import cpu_count as cpu_count
from loky.process_executor import BrokenProcessPool as BrokenProcessPool
from loky.process_executor import ProcessPoolExecutor as ProcessPoolExecutor

__version__: str
