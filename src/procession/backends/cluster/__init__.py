"""What Dask and Ray share: chunks that run in Procession's own workers on other machines."""
