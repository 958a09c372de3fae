"""What frameworks want done in each process: the errors that say so, and the mend."""

from __future__ import annotations

__all__ = ["DJANGO_ERRORS", "DJANGO_MEND"]

DJANGO_ERRORS = ("AppRegistryNotReady", "ImproperlyConfigured")
DJANGO_MEND = (
    "Django was not set up in this worker. Write initializer=django.setup, with "
    "DJANGO_SETTINGS_MODULE in the environment: each worker then does what manage.py does."
)
