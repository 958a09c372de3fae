"""Executors as backends: loky's, the standard library's, any, and their far side."""
