"""Channels, and the threads that wait on them."""
