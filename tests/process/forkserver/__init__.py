"""The fork server."""
