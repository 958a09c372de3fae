"""Namespace: attributes that several processes read and write."""

from __future__ import annotations

from typing import Any

from procession.shared.containers.dict import Dict

__all__ = ["Namespace"]


class Namespace:
    """An object whose attributes are shared, without a manager process.

    Like ``multiprocessing.Manager().Namespace()``: reading gives a copy of the value, so after
    ``ns.x.append(y)`` assign it again. Names that begin with an underscore are not shared.

    Args:
        **attributes: What it has at first.
    """

    _values: Dict[str, Any]

    def __init__(self, /, **attributes: Any) -> None:
        self._values = Dict(attributes)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(
                f"'Namespace' object has no attribute {name!r}", name=name, obj=self
            )
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(
                f"'Namespace' object has no attribute {name!r}", name=name, obj=self
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self._values[name] = value

    def __delattr__(self, name: str) -> None:
        if name.startswith("_"):
            super().__delattr__(name)
            return
        try:
            del self._values[name]
        except KeyError:
            raise AttributeError(
                f"'Namespace' object has no attribute {name!r}", name=name, obj=self
            ) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __repr__(self) -> str:
        return f"Namespace({', '.join(f'{k}={v!r}' for k, v in self._values.items())})"
