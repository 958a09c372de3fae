"""What crosses between processes: pickling, explanations, functions, exceptions, buffers."""
