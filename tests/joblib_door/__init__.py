"""`procession.joblib`: joblib and what stands on it, on Procession's workers."""
