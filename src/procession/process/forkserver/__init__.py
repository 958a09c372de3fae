"""Our fork server: its client, and what runs in it."""
