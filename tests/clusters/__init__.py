"""Clusters: Dask, started once for all of these tests."""
