"""How complex is Python's own standard library? Measured with `@parallel_map`.

Parses every module of the running Python's standard library (its test suites left out), counts
lines and functions, and gives each function its cyclomatic complexity: one more than its
decisions (T. J. McCabe, "A Complexity Measure", IEEE Transactions on Software Engineering SE-2,
no. 4, 1976, pp. 308-320). The same work is timed twice: as a plain loop, and in parallel. Then
`p.summary()` says why the ratio is what it is.

    python examples/codebase_metrics.py [FOLDER]

There is no `if __name__ == "__main__":` guard here, because none is needed.
"""

import ast
import heapq
import platform
import sys
import sysconfig
import time
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from procession import parallel_map, profile, usable_cpus

NOT_MODULES = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@dataclass(frozen=True, order=True)
class FunctionMetrics:
    complexity: int
    name: str
    line: int
    path: str


@dataclass(frozen=True)
class ModuleMetrics:
    path: str
    lines: int
    functions: list[FunctionMetrics]


def decisions(node: ast.AST) -> int:
    """How many decisions a node makes; each condition of `and` and `or` is one, as in McCabe."""
    match node:
        case ast.If() | ast.IfExp() | ast.For() | ast.AsyncFor() | ast.While():
            return 1
        case ast.ExceptHandler():
            return 1
        case ast.BoolOp(values=values):
            return len(values) - 1
        case ast.comprehension(ifs=ifs):
            return 1 + len(ifs)
        case ast.match_case(pattern=ast.MatchAs(pattern=None), guard=None):
            return 0  # `case _:` is the else branch
        case ast.match_case():
            return 1
        case _:
            return 0


def complexity(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Cyclomatic complexity of a function's own body; functions inside it count for themselves."""
    total = 1
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            total += decisions(node)
            pending.extend(ast.iter_child_nodes(node))
    return total


def functions_in(scope: ast.AST, prefix: str, path: str) -> Iterator[FunctionMetrics]:
    """Every function below a node, under the name that Python itself gives it."""
    for node in ast.iter_child_nodes(scope):
        inner = prefix
        if isinstance(node, ast.ClassDef):
            inner = f"{prefix}{node.name}."
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield FunctionMetrics(complexity(node), prefix + node.name, node.lineno, path)
            inner = f"{prefix}{node.name}.<locals>."
        yield from functions_in(node, inner, path)


@parallel_map
def measure(path: Path) -> ModuleMetrics:
    """Parse one module and measure it."""
    with tokenize.open(path) as file:
        source = file.read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        tree = ast.parse(source, str(path))
    return ModuleMetrics(str(path), source.count("\n"), list(functions_in(tree, "", str(path))))


folder = Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("stdlib"))
paths = sorted(
    path for path in folder.rglob("*.py") if NOT_MODULES.isdisjoint(path.relative_to(folder).parts)
)
for path in paths:
    path.read_bytes()  # so that neither run is the one that waits for the disk

started = time.perf_counter()
looped = [measure.local(path) for path in paths]
loop_seconds = time.perf_counter() - started

started = time.perf_counter()
with profile() as p:
    modules = measure(paths)
parallel_seconds = time.perf_counter() - started

assert modules == looped, "the parallel run must give what the loop gave, in the same order"

functions = [function for module in modules for function in module.functions]
print(
    f"Python {platform.python_version()}, {folder}: {len(modules):,} modules, "
    f"{sum(module.lines for module in modules):,} lines, {len(functions):,} functions.\n"
)
print("The ten most complex functions:\n")
for function in heapq.nlargest(10, functions):
    place = Path(function.path).relative_to(folder)
    print(f"{function.complexity:5}  {function.name:<44} {place}:{function.line}")
print(
    f"\nPlain loop {loop_seconds:.2f} s, @parallel_map {parallel_seconds:.2f} s on "
    f"{usable_cpus()} CPUs, starting the workers included: "
    f"{loop_seconds / parallel_seconds:.2f} times as fast.\n\nWhy that, and not more:\n"
)
print(p.summary())
