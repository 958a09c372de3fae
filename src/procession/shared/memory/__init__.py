"""What shared objects stand on: segments, nameless files, mutexes, waiting."""
