"""Tests of procession.shared."""
