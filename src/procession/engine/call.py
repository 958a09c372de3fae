"""What is asked: a call of a decorated function, and what its calls leave for the next ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from types import MappingProxyType

from procession.configuration import Options
from procession.engine.policy.placement import Pace
from procession.hints import TYPE_CHECKING, Any
from procession.system import NamedTuple
from procession.system.pristine import threading

if TYPE_CHECKING:
    from procession.engine.policy.blame import Rules
    from procession.forwarding.outgoing import Outgoing
    from procession.worker.job_header import Settings, Style


class History:
    """What a decorated function's calls leave for the next ones.

    Attributes:
        pace: How long its items take, and whether they kill workers.
        job: The job of the last single call (`engine.job.single_job`).
        route: Where the last single call went (`engine.local.where.route`).
        numbers: The numbers of its single calls.
    """

    __slots__ = ("job", "numbers", "pace", "route")

    def __init__(self) -> None:
        self.pace = Pace()
        self.job: Any = None
        self.route: Any = None
        self.numbers = count()


class Call(NamedTuple):
    """What is called, and how.

    Attributes:
        function: The undecorated function.
        decorated: The decorated object it belongs to, or `None`.
        name: For messages and notes.
        prefix: The instance or class of a method.
        options: The options in force.
        isolated: Whether each call has a process of its own.
        history: Of the decorated object, if there is one.
        style: How an item is handed over.
        args: Positional arguments that go to every item of a map.
        kwargs: The same, by name.
    """

    function: Callable[..., Any]
    decorated: Any
    name: str
    prefix: tuple[Any, ...]
    options: Options
    isolated: bool = False
    history: History | None = None
    style: Style = "call"
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})

    def of_items(self, style: Style, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        """The call of many items, each handed over like this, with what goes to every one."""
        return Call._make((*self[:7], style, args, kwargs))  # which counts them: `_replace` is slow

    @property
    def common(self) -> tuple[Any, ...]:
        """The values that go to every item."""
        return (*self.prefix, *self.args, *self.kwargs.values())

    @property
    def pace(self) -> Pace | None:
        """What is known of the times of the function's items, and of their deaths."""
        return None if self.history is None else self.history.pace

    @property
    def far(self) -> bool:
        """Whether what is pickled for it goes to another machine."""
        if not self.options.on_cluster:
            return False
        from procession.worker.current import in_worker

        return not in_worker()

    def rules(self, *, single: bool = False) -> Rules:
        """The options that decide about retries."""
        from procession.engine.policy.blame import Rules

        options = self.options
        code = getattr(self.function, "__code__", None)
        names = code.co_varnames[len(self.prefix) : code.co_argcount] if code is not None else ()
        return Rules(
            self.name,
            options.retries,
            options.retry_on,
            single,
            tuple(names),
            self.pace,
            options.retry_delay,
        )

    def settings(self, out: Outgoing | None = None, **more: Any) -> Settings:
        """How its items are run; `more` as in `Settings`."""
        from procession.worker.job_header import Settings

        options = self.options
        return Settings(
            self.name, self.style, options.pickling, options.seed, options.nested, out, **more
        )

    def refusal(
        self, error: BaseException, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> BaseException:
        """Why these arguments of it cannot cross, by the parameters that they are for."""
        from procession.explaining.explain import explain_call

        return explain_call(
            error,
            args,
            kwargs,
            target=self.function,
            function=self.name,
            pickling=self.options.pickling,
        )

    def number(self) -> int:
        """The number of a single call that is made now; from 0, in the order of the calls.

        ``seed=`` gives it numbers by that. A ``with_options`` copy counts with its original. Calls
        made inside an item are counted from 0 for each item, so that they do not depend on what
        else its worker has run.
        """
        if self.history is None:
            return 0
        from procession.worker import current

        task = current.current_task()
        if task is None:
            return next(self.history.numbers)
        entered, index = _nested.item
        now: Any = current.entered() or task
        if entered is not now or index != task.index:
            _nested.item = now, task.index
            _nested.counts = {}
        kept = _nested.counts.setdefault(id(self.history), (self.history, count()))
        return next(kept[1])


class _Nested(threading.local):
    """How many single calls the item that this thread runs has made, by function.

    Attributes:
        item: What tells this item from others.
        counts: By the history's id; the history is kept, so that no id is used again.
    """

    item: tuple[Any, int] = (None, 0)
    counts: dict[int, tuple[History, count[int]]] = {}


_nested = _Nested()
