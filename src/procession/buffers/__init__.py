"""Large data out of band: its sender and its receiver."""
