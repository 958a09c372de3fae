# As far as Procession uses it. Not generic on purpose: `F[...](g)` would write `__orig_class__`
# onto the user's function; `procession.typing` has the types that users see.
from collections.abc import Callable
from typing import Any

__version__: str

class ObjectProxy:
    __wrapped__: Any
    __name__: str
    __qualname__: str
    __module__: str
    def __init__(self, wrapped: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...

class CallableObjectProxy(ObjectProxy):
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class BoundFunctionWrapper(ObjectProxy):
    _self_instance: Any
    _self_wrapper: Callable[..., Any]
    _self_enabled: bool | Callable[[], bool] | None
    _self_binding: str
    _self_parent: Any
    _self_owner: Any
    def __init__(
        self,
        wrapped: Any,
        instance: Any,
        wrapper: Callable[..., Any],
        enabled: bool | Callable[[], bool] | None = None,
        binding: str = "callable",
        parent: Any = None,
        owner: Any = None,
    ) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any: ...

class FunctionWrapper(ObjectProxy):
    __bound_function_wrapper__: type[BoundFunctionWrapper]
    _self_instance: Any
    _self_wrapper: Callable[..., Any]
    _self_enabled: bool | Callable[[], bool] | None
    _self_binding: str
    _self_parent: Any
    _self_owner: Any
    def __init__(
        self,
        wrapped: Any,
        wrapper: Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any],
        enabled: bool | Callable[[], bool] | None = None,
    ) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any: ...
    def __set_name__(self, owner: type[Any], name: str) -> None: ...
