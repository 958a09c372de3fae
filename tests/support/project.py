"""Where the project is. A module of its own, as a worker of the tests can do without `pathlib`."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The project's folder: its sources, pages and examples."""
