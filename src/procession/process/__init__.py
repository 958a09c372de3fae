"""Our own worker processes: how they start, talk, are watched and end; and the pool of them."""
