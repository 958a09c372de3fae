"""A warning of a module that workers load late, or never."""


class RareWarning(UserWarning):
    """Given by nobody but `crossing.warn_rarely`."""
