"""Options: what there is, what is valid, and where each one comes from."""

from procession.configuration.compatibility import BACKENDS, CONTEXTS, SUPPORTED
from procession.configuration.precedence import configure, options, resolve
from procession.configuration.schema import (
    DEFAULT_BACKEND,
    NEVER_INLINE,
    Options,
    OptionValues,
)
from procession.configuration.validation import validate

__all__ = [
    "BACKENDS",
    "CONTEXTS",
    "DEFAULT_BACKEND",
    "NEVER_INLINE",
    "SUPPORTED",
    "OptionValues",
    "Options",
    "configure",
    "options",
    "resolve",
    "validate",
]
