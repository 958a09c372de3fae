"""Large data beside the pickle."""
