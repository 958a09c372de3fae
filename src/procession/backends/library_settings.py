"""Settings of libraries that workers do not bring along.

A library keeps its settings where it likes, and workers do not see those that the program has made.
So the common ones are looked at when a pool is made. That takes less than a millisecond, where
starting its workers takes a hundred. Nothing is imported for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import reduce
from operator import getitem

from procession.configuration import Options
from procession.errors import warn_user
from procession.hints import Any

__all__ = ["warn_of_settings"]

_said: set[str] = set()

_LOOKS_ONLY = ("display.", "plotting.", "styler.", "io.")
"""Options of pandas that change how something is shown or written, and no result."""

_OF_XARRAY = {"arithmetic_join": "inner", "keep_attrs": "default"}
"""Those options of xarray that change results, and their defaults, which it keeps nowhere."""

_MOST_PIXELS = 1024 * 1024 * 1024 // 4 // 3
"""Pillow's default."""


def warn_of_settings(options: Options) -> None:
    """Warn once of each library whose settings a pool's workers will not have."""
    if options.initializer is not None or options.backend in ("thread", "serial", "dask", "ray"):
        return
    try:
        found = list(_settings())
    except Exception:  # another release of a library keeps them elsewhere
        return
    for library, setting, write in found:
        if library not in _said:
            _said.add(library)
            warn_user(
                f"{setting} was set in this process, and workers do not see it: each imports "
                f"{library} with its defaults. Write a function that does so ({write}), call it "
                "here, and give it to the workers with initializer=."
            )


def _settings() -> Iterator[tuple[str, str, str]]:
    modules = sys.modules
    yield from _sklearn(modules.get("sklearn._config"))
    yield from _pandas(modules.get("pandas._config.config"))
    yield from _xarray(modules.get("xarray.core.options"))
    image: Any = modules.get("PIL.Image")
    if image is not None and image.MAX_IMAGE_PIXELS != _MOST_PIXELS:
        yield "PIL", "Pillow's MAX_IMAGE_PIXELS", "PIL.Image.MAX_IMAGE_PIXELS = ..."
    torch: Any = modules.get("torch")
    if torch is None:
        return
    if torch.get_default_dtype() is not torch.float32:
        yield "torch", "torch's default dtype", "torch.set_default_dtype(...)"
    if torch.are_deterministic_algorithms_enabled():
        call = "torch.use_deterministic_algorithms(True)"
        yield "torch", "torch's choice of deterministic algorithms", call


def _sklearn(config: Any) -> Iterator[tuple[str, str, str]]:
    if config is None:
        return
    for name, value in config.get_config().items():
        if value != config._global_config[name]:
            yield "sklearn", f"scikit-learn's {name}={value!r}", f"sklearn.set_config({name}=...)"


def _pandas(config: Any) -> Iterator[tuple[str, str, str]]:
    if config is None:
        return
    for name, option in config._registered_options.items():
        # Not by get_option, which warns of what it deprecates.
        value = reduce(getitem, name.split("."), config._global_config)
        if not name.startswith(_LOOKS_ONLY) and value != option.defval:
            yield "pandas", f"pandas' option {name}", f"pandas.set_option({name!r}, ...)"


def _xarray(options: Any) -> Iterator[tuple[str, str, str]]:
    if options is None:
        return
    for name, default in _OF_XARRAY.items():
        value = options.OPTIONS.get(name, default)
        if value != default:
            yield "xarray", f"xarray's {name}={value!r}", f"xarray.set_options({name}=...)"
