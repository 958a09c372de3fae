"""Programs whose world is not the usual one: patched modules, privileges, interpreters."""
