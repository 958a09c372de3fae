"""The pool of workers."""
