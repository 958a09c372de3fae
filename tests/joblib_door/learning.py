"""What the tests with scikit-learn use. They import it as they run: it takes a second."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate

__all__ = [
    "GridSearchCV",
    "Located",
    "LogisticRegression",
    "RandomForestClassifier",
    "X",
    "cross_val_score",
    "cross_validate",
    "permutation_importance",
    "y",
]

X, y = make_classification(n_samples=300, n_features=10, random_state=0)


class Located(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Scores with the number of the process that fits it."""

    def fit(self, X: Any, y: Any) -> Located:
        """Say where."""
        self.classes_ = np.unique(y)
        self.where_ = os.getpid()
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Where."""
        return float(self.where_)
