"""Starting a process by any start method, without the caller's ``__main__``."""
