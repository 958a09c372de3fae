"""Rules without input or output: schedule, placement, blame."""
