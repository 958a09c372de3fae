"""Tests of what happens in a worker."""
