"""Large data beside the pickle: its sender and its receiver."""
