"""From a call and its options to a job and its items."""
