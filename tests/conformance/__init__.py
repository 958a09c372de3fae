"""One suite that every backend and start context runs: the same calls mean the same everywhere."""
