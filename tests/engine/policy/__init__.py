"""Pure rules: chunk sizes, placement, blame."""
