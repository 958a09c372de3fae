"""What is said of an object that must not cross to another process, or was not set up there."""

from __future__ import annotations

from procession.system import NamedTuple


class Refusal(NamedTuple):
    """Why a type cannot cross.

    Attributes:
        what: The thing with its article, as a reader would call it.
        reason: Why it cannot cross, in one sentence.
        mend: What to do instead; ``{leave_out}`` stands for "leave it out in X.__getstate__".
    """

    what: str
    reason: str
    mend: str


class Refused(Exception):
    """Raised while pickling at an object that must not cross."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal

    def __str__(self) -> str:
        return f"{self.refusal.what} cannot be pickled: {self.refusal.reason}"


def framework_mend(error: BaseException) -> str:
    """What to do where a framework says that it was not set up in this process."""
    if type(error).__name__ not in ("AppRegistryNotReady", "ImproperlyConfigured"):
        return ""
    return (
        "Django was not set up in this worker. Write initializer=django.setup, with "
        "DJANGO_SETTINGS_MODULE in the environment: each worker then does what manage.py does."
    )
