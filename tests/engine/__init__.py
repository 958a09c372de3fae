"""Tests of the map engine and its policies."""
