"""Tests of what crosses between processes."""
