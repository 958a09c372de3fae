"""The five decorators: each chooses what a plain call of the function does.

`procession.typing` says how a type checker sees what they give; at run time it is a
`procession.function.Function`, imported when the first function is decorated.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from procession.hints import (
    NOT_GIVEN,
    TYPE_CHECKING,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Unpack,
    overload,
)

if TYPE_CHECKING:
    from procession.configuration import OptionValues
    from procession.typing import Background, Isolated, Parallel, ParallelChunks, ParallelMap

P = ParamSpec("P")
R = TypeVar("R")

Style = Literal["parallel", "parallel_map", "parallel_chunks", "background", "isolated"]


@overload
def parallel(function: Callable[P, R], /, **options: Unpack[OptionValues]) -> Parallel[P, R]: ...
@overload
def parallel(**options: Unpack[OptionValues]) -> Callable[[Callable[P, R]], Parallel[P, R]]: ...
def parallel(function: Any = NOT_GIVEN, /, *extra: Any, **options: Any) -> Any:
    """Give a function the verbs, and leave its plain call as it is.

        @parallel
        def measure(path: Path) -> int: ...

        measure(path)         # as before, in this process
        measure.map(paths)    # list[int], in the pool

    A plain call runs here, in this process: existing callers see no change. ``map``, ``imap``,
    ``submit`` and the other verbs run the function in worker processes (see
    `procession.typing.Decorated`).

    It works bare or with options, on functions, methods, classmethods and staticmethods. It stands
    above ``@classmethod`` or ``@staticmethod`` then. As a plain call,
    ``measure_all = parallel(workers=2)(measure)``, it leaves the function as it is.

    In ``__main__``, the REPL and notebooks a function is sent by value, so a script needs no
    ``if __name__ == "__main__":`` guard.

    Ending a call: leaving a lazy verb's loop (or closing its iterator) gives up what has not
    started; `Future.cancel` ends one call; Ctrl-C ends those that the caller waits for.

    Args:
        function: The function, when the decorator is used bare.
        **options: See `procession.Options`. ``timeout`` is in seconds per item, ``memory_limit``
            in bytes (or ``"512MB"``) per worker.

    Returns:
        The decorated function; given options only, a decorator.

    Raises:
        OptionError: An option's name or value cannot be used.
        TypeError: What is decorated cannot be run in a worker. It is a class, an ``async def`` or
            generator function (those take `isolated`), or a function that is decorated already.
            Or ``@classmethod`` or ``@staticmethod`` stands above.
    """
    return _decorate("parallel", function, extra, options)


@overload
def parallel_map(
    function: Callable[P, R], /, **options: Unpack[OptionValues]
) -> ParallelMap[P, R]: ...
@overload
def parallel_map(
    **options: Unpack[OptionValues],
) -> Callable[[Callable[P, R]], ParallelMap[P, R]]: ...
def parallel_map(function: Any = NOT_GIVEN, /, *extra: Any, **options: Any) -> Any:
    """Make a plain call map the function over its first argument, in the pool.

        @parallel_map
        def measure(path: Path, depth: int = 1) -> int: ...

        sizes = measure(paths, depth=2)    # list[int], in the order of paths

    The function is written for one item. A call takes an iterable of items instead; the other
    arguments go to every item. The results come as a list, in order. ``measure.local(path)``
    runs one item here; the other verbs work as on every decorated function. On a method,
    ``self`` stays, and the first argument after it is mapped over.

    The first error ends the map and arrives as itself, with a note that names the item;
    ``measure.outcomes(paths)`` keeps the others' results. With ``inline="auto"`` items run in this
    process while that is faster than sending them.

    Where it works, what it does in ``__main__``, and how a call ends: as `parallel`.

    Args:
        function: The function, when the decorator is used bare.
        **options: See `procession.Options`.

    Returns:
        The decorated function; given options only, a decorator.

    Raises:
        OptionError: An option's name or value cannot be used.
        TypeError: What is decorated cannot be run in a worker; see `parallel`.
    """
    return _decorate("parallel_map", function, extra, options)


@overload
def parallel_chunks(
    function: Callable[P, R], /, **options: Unpack[OptionValues]
) -> ParallelChunks[P, R]: ...
@overload
def parallel_chunks(
    **options: Unpack[OptionValues],
) -> Callable[[Callable[P, R]], ParallelChunks[P, R]]: ...
def parallel_chunks(function: Any = NOT_GIVEN, /, *extra: Any, **options: Any) -> Any:
    """Split the first argument, run the function on each piece in the pool, and join the results.

        @parallel_chunks
        def normalise(samples: np.ndarray) -> np.ndarray: ...

        normalise(samples)    # the same call, the same type, several processes

    The function keeps its signature. Its first argument is a sequence or an iterable, or has rows:
    arrays, tensors, sparse matrices, tables and frames of numpy, pandas, polars, pyarrow, scipy,
    torch, xarray. It must not matter to the function where that is cut. The results are joined by
    their type (lists are chained, arrays and frames concatenated by rows), or by ``combine``, which
    is given the list of them in order. What is of another kind is refused, and
    so are results that do not fit together, because columns, dtypes or categories differ.

    Where it works, what it does in ``__main__``, and how a call ends: as `parallel`.

    Args:
        function: The function, when the decorator is used bare.
        **options: See `procession.Options`. ``chunk`` is the length of a piece; ``combine`` is
            for this decorator alone.

    Returns:
        The decorated function; given options only, a decorator.

    Raises:
        OptionError: An option's name or value cannot be used.
        TypeError: What is decorated cannot be run in a worker; see `parallel`.
    """
    return _decorate("parallel_chunks", function, extra, options)


@overload
def background(
    function: Callable[P, R], /, **options: Unpack[OptionValues]
) -> Background[P, R]: ...
@overload
def background(**options: Unpack[OptionValues]) -> Callable[[Callable[P, R]], Background[P, R]]: ...
def background(function: Any = NOT_GIVEN, /, *extra: Any, **options: Any) -> Any:
    """Make a plain call start in the pool and return a future at once.

        @background
        def render(scene: Scene) -> Image: ...

        future = render(scene)     # Future[Image]
        image = future.result()    # or: await future

    Arguments are pickled when the call is made: what happens to them later is not seen. A call
    never raises for its arguments or for the function; the error is in the future.

    `Future.cancel` ends a call also while it runs. A program that ends waits for the futures that
    are still running, as it would for `concurrent.futures`.

    Where it works and what it does in ``__main__``: as `parallel`.

    Args:
        function: The function, when the decorator is used bare.
        **options: See `procession.Options`.

    Returns:
        The decorated function; given options only, a decorator.

    Raises:
        OptionError: An option's name or value cannot be used.
        TypeError: What is decorated cannot be run in a worker; see `parallel`.
    """
    return _decorate("background", function, extra, options)


@overload
def isolated(function: Callable[P, R], /, **options: Unpack[OptionValues]) -> Isolated[P, R]: ...
@overload
def isolated(**options: Unpack[OptionValues]) -> Callable[[Callable[P, R]], Isolated[P, R]]: ...
def isolated(function: Any = NOT_GIVEN, /, *extra: Any, **options: Any) -> Any:
    """Run each plain call in a process of its own, used for this call alone.

        @isolated(timeout=5, memory_limit="1GB")
        def parse(data: bytes) -> Document: ...

        parse(data)    # Document; a crash is a WorkerDied here, nothing more

    A crash, ``os._exit``, a leak or a hang stays in that process. It is ended with the call, and
    so is what it started.

    It also takes what the other decorators refuse. On ``async def`` the call is awaitable and
    never blocks the event loop; cancelling the task ends the process. On a generator function the
    call gives an iterator that streams the values as they are produced, with bounded read-ahead;
    closing it ends the process.

    Where it works and what it does in ``__main__``: as `parallel`.

    Args:
        function: The function, when the decorator is used bare.
        **options: See `procession.Options`.

    Returns:
        The decorated function; given options only, a decorator.

    Raises:
        OptionError: An option's name or value cannot be used.
        TypeError: What is decorated is no function: a class, for example, or a function that is
            decorated already.
    """
    return _decorate("isolated", function, extra, options)


# The overloads say it to type checkers; `help` would show quoted names, which say nothing.
for _each in (parallel, parallel_map, parallel_chunks, background, isolated):
    _each.__annotations__ = {}


def _load() -> None:
    """Import what decorated functions are made of; how long it takes tells how fast starts are."""
    if "procession.function" in sys.modules:
        return
    from procession.system.pristine import time

    begin = time.process_time()
    from procession import function  # noqa: F401  # pyright: ignore[reportUnusedImport]
    from procession.start_costs import start_costs

    start_costs.imported(time.process_time() - begin, begin)


def _decorate(style: Style, function: Any, extra: tuple[Any, ...], options: dict[str, Any]) -> Any:
    _load()
    from procession import decoratable
    from procession.configuration import validate
    from procession.functions.reloads import note
    from procession.pitfalls.code_checks import warn_about

    if extra:
        raise decoratable.positional_options(style, (function, *extra))
    decorator = validate(options, caller=style)

    def decorate(function: Any, /) -> Any:
        from procession.function import Function

        decoratable.check(function, style)
        inner = decoratable.unwrapped(function)
        note(getattr(inner, "__module__", None))  # now it is as its file says
        warn_about(inner, by_value=decorator.get("pickling") == "by-value")
        return Function(function, style, decorator)

    if function is not NOT_GIVEN:
        return decorate(function)
    decorate.__name__ = decorate.__qualname__ = style
    return decorate
