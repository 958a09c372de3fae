"""The two classes of wrapt that bind functions, without all else that `import wrapt` loads.

wrapt 2 imports asyncio, inspect and importlib.metadata for what Procession does not use: 80 ms of
a script's first 100. Both classes are C code in a module of their own, ``wrapt._wrappers``, which
needs nothing but ``wrapt.exceptions``. These two are loaded here, under their own names. A program
that imports wrapt gets wrapt, whole, with these same classes in it: wrapt's own ``__init__`` runs
then, and finds them in `sys.modules`.

Where that is not so (wrapt is loaded already, has no C code, or `WRAPT_DISABLE_EXTENSIONS` is set)
wrapt is imported as usual.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ExtensionFileLoader
from types import ModuleType

from procession.hints import TYPE_CHECKING, Any
from procession.system import cpython

if TYPE_CHECKING:
    from wrapt import BoundFunctionWrapper as BoundFunctionWrapper
    from wrapt import FunctionWrapper as FunctionWrapper


class _Unbound(ModuleType):
    """A module of a package that is not loaded yet.

    An import binds a module to its package, but not one that it finds loaded. So this one does so
    itself, as soon as the package takes something from it.
    """

    def __getattribute__(self, name: str) -> Any:
        module: Any = super()
        package, _, own = module.__getattribute__("__name__").rpartition(".")
        loaded = sys.modules.get(package)
        if loaded is not None:
            self.__class__ = ModuleType  # type: ignore[assignment]
            if own not in vars(loaded):
                setattr(loaded, own, self)
        return module.__getattribute__(name)


def _found(name: str, path: Any = None) -> Any:
    """The spec of a module, by the finders that an import asks."""
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None


class _Loading:
    """Loads modules of the package without the package, from its folders."""

    def __init__(self, path: Any) -> None:
        self._path = path
        self.modules: list[Any] = []

    def load(self, name: str) -> Any:
        """Load a module, and what it imports of the package."""
        spec = _found(name, self._path)
        module = cpython.module_from_spec(spec)
        sys.modules[name] = module
        self.modules.append(module)
        if isinstance(spec.loader, ExtensionFileLoader):
            cpython.execute_extension(module, self._import)
        else:
            spec.loader.exec_module(module)
        return module

    def _import(self, name: str, *more: Any) -> Any:
        # An import of ``wrapt.exceptions``, as its C code makes it, would load the package first.
        ours = name.startswith("wrapt.") and name not in sys.modules
        return self.load(name) if ours else sys.modules.get(name) or __import__(name, *more)

    def give_up(self) -> None:
        """Leave nothing behind."""
        for module in self.modules:
            sys.modules.pop(module.__name__, None)


def _core() -> Any:
    """wrapt's C module; `None` if it is to be had with wrapt only."""
    if os.environ.get("WRAPT_DISABLE_EXTENSIONS"):
        return None
    with cpython.import_lock("wrapt"):
        if any(name.partition(".")[0] == "wrapt" for name in list(sys.modules)):
            return None
        path = getattr(_found("wrapt"), "submodule_search_locations", None)
        if not path:
            return None
        loading = _Loading(path)
        try:
            core = loading.load("wrapt._wrappers")
            found = core.FunctionWrapper, core.BoundFunctionWrapper
        except Exception:
            loading.give_up()
            return None  # what is wrong with it, wrapt itself says
        except BaseException:
            loading.give_up()
            raise
        for module in loading.modules:
            module.__class__ = _Unbound
    return core if all(found) else None


if not TYPE_CHECKING:
    _classes = _core()
    if _classes is None:
        import wrapt as _classes
    BoundFunctionWrapper = _classes.BoundFunctionWrapper
    FunctionWrapper = _classes.FunctionWrapper
