"""Locks, semaphores, conditions, events and barriers between processes."""
