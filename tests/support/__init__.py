"""What several rooms of tests use."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The project's folder: its sources, pages and examples."""
