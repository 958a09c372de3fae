"""The tests, in the shape of the package they test."""

from tests.support.light_imports import lend

lend()
