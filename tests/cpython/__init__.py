"""CPython's own tests of concurrent.futures, run against Procession."""
