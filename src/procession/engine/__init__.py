"""The map engine: what is sent when, in which order it comes back, and what is tried again."""
