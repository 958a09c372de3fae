"""The root of the tree of errors, on which both `procession.errors` and its slow part stand."""

from procession.hints import Any

__all__ = ["ProcessionError"]


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    """Make an error again without calling its constructor, which may ask for more."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ProcessionError(Exception):
    """Base of every error that Procession raises itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())
