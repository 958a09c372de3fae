"""What users see of a decorated function: its verbs, and the function's own attributes."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable

from procession.configuration import Options
from procession.configuration.choices import short
from procession.engine.call import Call
from procession.hints import TYPE_CHECKING, Any
from procession.pickling.references import asks_by_class
from procession.pitfalls.misuse import check_call, first_argument, wrong_keyword

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from procession.futures import Future
    from procession.outcome import Outcome
    from procession.worker.job_header import Style

_VERBS = (
    *("aimap", "imap", "imap_unordered", "local", "map", "map_async", "options", "outcomes"),
    *("starmap", "submit", "with_options"),
)


_submit: Any = None


class Annotations:
    """The function's own annotations.

    It stands in each class itself: Python puts an empty dict there when a class is asked for its
    annotations, and that would hide what a base has.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> dict[str, Any]:
        if instance is None:
            return {}
        annotations: dict[str, Any] = instance.__wrapped__.__annotations__
        return annotations

    def __set__(self, instance: Any, annotations: dict[str, Any]) -> None:
        instance.__wrapped__.__annotations__ = annotations


class Verbs:
    """The verbs, the same on a decorated function and on a decorated method bound to an object."""

    __procession_function__ = True
    __wrapped__: Any

    @property
    def __class__(self) -> Any:
        # As wrapt has it, what is decorated says that it is a function. Not to cloudpickle: that
        # would take it apart as one, and send the undecorated function in its place.
        if asks_by_class(sys._getframe(1)):
            return type(self)
        return self.__wrapped__.__class__

    @__class__.setter
    def __class__(self, cls: Any) -> None:
        self.__wrapped__.__class__ = cls

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The function's own: `functools.wraps` copies it, and is to find nothing of ours there."""
        attributes: dict[str, Any] = self.__wrapped__.__dict__
        return attributes

    def __dir__(self) -> list[str]:
        return sorted({*dir(self.__wrapped__), *_VERBS})

    def __str__(self) -> str:
        return repr(self)

    def _call(self) -> Call:
        """Who is called, with which options, as of now."""
        raise NotImplementedError

    def _check_order(self) -> None:
        """Refuse to run if ``@classmethod`` or ``@staticmethod`` stands above our decorator."""
        raise NotImplementedError

    @property
    def local(self) -> Callable[..., Any]:
        """The undecorated function: ``f.local(*args)`` runs it here, in this process.

            total = f.local(2)    # no worker, no option, no pickling

        It raises what the function raises, and no option holds for it: ``timeout`` does not end it.
        """
        function: Callable[..., Any] = self.__wrapped__
        return function

    @property
    def options(self) -> Options:
        """The options in force for this function here and now, resolved: an `Options`.

            f.options.workers      # after the environment, the decorator, configure and defaults
            f.options.explicit     # the names that are set on the function itself

        Raises:
            OptionError: A variable of the environment has no valid text, or options from two places
                contradict each other.
        """
        return self._call().options

    def submit(self, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start one call in the pool and return its future at once.

            future = f.submit(2, unit="cm")
            future.result()    # or: await future

        The arguments are pickled now: what happens to them later is not seen. `Future.cancel` ends
        the call, also while it runs.

        Args:
            *args: As for the function.
            **kwargs: As for the function.

        Returns:
            The future. It carries what the function raises, and what Procession raises: this verb
            never raises for an argument.

        Raises:
            BackendUnavailable: There is no such backend here, so no call can be made.
            OptionError: Options from two places contradict each other.
        """
        global _submit
        call = self._call()
        if _submit is None:  # an import that is done already still takes a microsecond
            if "procession.engine.call_verbs" not in sys.modules:  # else it is not the first one
                from procession.engine.local.first_pool import expect_pool

                expect_pool(call)
            from procession.engine.call_verbs import submit as _submit
        wrong = wrong_keyword(call, kwargs, "submit") if kwargs else None
        if wrong is not None:
            from procession.futures import Future

            refused: Future[Any] = Future()
            refused.settle(None, wrong)
            return refused
        future: Future[Any] = _submit(call, args, kwargs)
        return future

    def map(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> list[Any]:
        """Run the function on every item, in the pool; return the results in order.

            f.map([1, 2, 3])              # [f(1), f(2), f(3)]
            f.map([1, 2, 3], unit="cm")   # [f(1, unit="cm"), ...]

        Ctrl-C, or the first error, ends the map: what runs is ended, what has not started is given
        up.

        Args:
            items: Any iterable. It is read in this thread, and each item pickled when it is taken.
            *args: Further arguments, the same for every item.
            **kwargs: The same, by name.

        Returns:
            A list as long as the input.

        Raises:
            BaseException: The first error in the order of the items, with a note that names the
                item: what the function raised, or a `ProcessionError` (`WorkerDied`, `TimedOut`,
                `NotPicklable` ...). `outcomes` keeps the others' results.
        """
        return self._map("map", items, args, kwargs)

    def _map(
        self, verb: str, items: Iterable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Any]:
        from procession.engine.map.whole_list import map_list  # by this name: it is cheaper

        return map_list(self._checked(verb, items, args, kwargs), items)

    def _checked(
        self,
        verb: str,
        items: Iterable[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        style: Style = "value",
    ) -> Call:
        """The call of these items, refused or warned of if it cannot mean what it says."""
        call = self._call().of_items(style, args, kwargs)
        check_call(call, items, verb)
        return call

    def starmap(
        self, argtuples: Iterable[Iterable[Any]], /, *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Run the function on every tuple of arguments; return the results in order.

            f.starmap([(1, 2), (3, 4)])    # [f(1, 2), f(3, 4)]
            f.starmap(zip(xs, ys))

        Ctrl-C, or the first error, ends it, as it ends a `map`.

        Args:
            argtuples: An iterable of tuples or lists, one for each call.
            *args: Further arguments, after those of each tuple.
            **kwargs: Arguments by name, the same for every call.

        Returns:
            A list as long as the input.

        Raises:
            BaseException: The first error in the order of the tuples, as from `map`.
        """
        from procession.engine.map.whole_list import map_list

        return map_list(self._checked("starmap", argtuples, args, kwargs, "star"), argtuples)

    def imap(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Like `map`, lazily: results in order, each as soon as it is there.

            for result in f.imap(endless_input()): ...

        At most ``window`` items are taken from the input ahead of what was yielded, so the input
        may be infinite. Leaving the loop, closing the iterator, or Ctrl-C ends what runs and gives
        up what has not started.

        Args:
            items: Any iterable. It is read in this thread, and each item pickled when it is taken.
            *args: Further arguments, the same for every item.
            **kwargs: The same, by name.

        Returns:
            An iterator with ``close()``.

        Raises:
            BaseException: By ``next``, the error of an item where that item stands. The next
                ``next`` goes on with what follows.
        """
        return self._imap("imap", items, args, kwargs)

    def imap_unordered(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Like `imap`, but the results come as they finish, in any order.

            for result in f.imap_unordered(items): ...

        It is ended as `imap` is. To know which item a result is of, return it from the function,
        or take `outcomes`.

        Args:
            items: As for `imap`.
            *args: Further arguments, the same for every item.
            **kwargs: The same, by name.

        Returns:
            An iterator with ``close()``.

        Raises:
            BaseException: By ``next``, the error of an item when it comes. The next ``next`` goes
                on with the others.
        """
        return self._imap("imap_unordered", items, args, kwargs, ordered=False)

    def outcomes(
        self, items: Iterable[Any], /, *args: Any, **kwargs: Any
    ) -> Iterator[Outcome[Any]]:
        """One `Outcome` per item, in order; never raises for an item.

            for outcome in f.outcomes(items):
                print(outcome.item, outcome.value if outcome.ok else outcome.error)

        It is lazy, and is ended as `imap` is. Of n items exactly n outcomes come, each index once.
        That also holds for items that raised, exited, crashed their process, or were ended at a
        limit.

        Args:
            items: As for `imap`.
            *args: Further arguments, the same for every item.
            **kwargs: The same, by name.

        Returns:
            An iterator of outcomes, with ``close()``.

        Raises:
            BaseException: What reading the input raises.
        """
        return self._imap("outcomes", items, args, kwargs, outcomes=True)

    def _imap(
        self,
        verb: str,
        items: Iterable[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        **how: Any,
    ) -> Iterator[Any]:
        from procession.engine.map.map_verbs import imap

        return imap(self._checked(verb, items, args, kwargs), items, **how)

    def map_async(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> Future[list[Any]]:
        """Start a `map` and return its future at once.

            future = f.map_async([1, 2, 3])
            future.result()    # a list; or: await future

        The input is read in a thread of its own. `Future.cancel` ends the whole map.

        Args:
            items: Any iterable, read in that thread.
            *args: Further arguments, the same for every item.
            **kwargs: The same, by name.

        Returns:
            The future of the list. It carries the first error in the order of the items; this
            verb never raises for an item.

        Raises:
            TypeError: What was given is no iterable, or the function does not take such arguments.
        """
        from procession.engine.map.map_verbs import map_async

        return map_async(self._checked("map_async", items, args, kwargs), items)

    def aimap(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Like `imap`, for ``async for``: never blocks the event loop.

            async for result in f.aimap(items): ...

        The input is an ordinary iterable, and is read in a thread of its own. Cancelling the task,
        or leaving the loop, ends what runs and gives up what has not started.

        Args:
            items: Any iterable that is not asynchronous.
            *args: Further arguments, the same for every item.
            **kwargs: The same, by name.

        Returns:
            An asynchronous iterator: results in order, at most ``window`` ahead.

        Raises:
            BaseException: In the loop, the error of an item where that item stands.
        """
        from procession.engine.map.map_verbs import amap

        return amap(self._checked("aimap", items, args, kwargs), items)

    def _plain(self, style: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A plain call, as the decorator chose it."""
        self._check_order()
        if style == "parallel":
            return self.__wrapped__(*args, **kwargs)
        if style == "background":
            return self.submit(*args, **kwargs)
        call = self._call()
        if style == "isolated":
            _refuse_wrong(call, kwargs)
            if "procession.engine.call_verbs" not in sys.modules:
                from procession.engine.local.first_pool import expect_pool

                expect_pool(call)
            from procession.engine.call_verbs import isolated

            return isolated(call, args, kwargs)
        first, args, kwargs = first_argument(call, args, kwargs)
        if style == "parallel_map":
            return self._map("", first, args, kwargs)
        from procession.engine.pieces.splitting import run_on_pieces

        _refuse_wrong(call, kwargs)
        return run_on_pieces(call, first, args, kwargs)


def _refuse_wrong(call: Call, kwargs: dict[str, Any]) -> None:
    wrong = wrong_keyword(call, kwargs, "") if kwargs else None
    if wrong is not None:
        raise wrong


def shown(function: Any, bound: object = None) -> str:
    """The repr: its decorator, the options it was given, its name, and what it is bound to."""
    defaults, given = Options(workers=0), function._set_options().items()
    told = {name: value for name, value in given if value != getattr(defaults, name)}
    options = ", ".join(f"{name}={short(value)}" for name, value in told.items())
    brackets = f"({options})" if options else ""
    wrapped: Any = function.__wrapped__
    what, owner = "function", ""
    if isinstance(wrapped, classmethod):
        what = "classmethod"
    elif isinstance(wrapped, staticmethod):
        what = "staticmethod"
    elif bound is not None:
        what, owner = "method", f" of {bound!r}"
    return f"<{function._self_style}{brackets} {what} {name_of(wrapped)}{owner}>"


def name_of(function: Any) -> str:
    """A name for a function or another callable."""
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__qualname__", None) or type(function).__name__
    return name
