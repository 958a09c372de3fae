"""Tests of what the backends share."""
