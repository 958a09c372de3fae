"""Another module whose global is set at run time."""

from typing import Any

MODEL: Any = None
