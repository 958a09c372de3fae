"""scikit-learn, unchanged, on Procession's workers through joblib."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pytest

import procession.joblib

pytest.importorskip("sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate

procession.joblib.register()

X, y = make_classification(n_samples=300, n_features=10, random_state=0)


@pytest.fixture
def workers() -> Iterator[None]:
    """Two workers of Procession's."""
    with joblib.parallel_config(backend="procession", n_jobs=2):
        yield


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


def test_fits_run_in_workers(workers: None) -> None:
    """What is fitted is fitted in other processes."""
    assert os.getpid() not in cross_val_score(Located(), X, y, cv=4)


def test_cross_validation(workers: None) -> None:
    """`cross_val_score` gives what it gives without workers."""
    model = LogisticRegression()
    with joblib.parallel_config(backend="sequential"):
        expected = cross_val_score(model, X, y, cv=4)
    assert cross_val_score(model, X, y, cv=4).tolist() == expected.tolist()


def test_grid_search(workers: None) -> None:
    """`GridSearchCV` finds the same parameters, and is fitted with them."""
    grid = {"C": [0.01, 0.1, 1.0]}
    search = GridSearchCV(LogisticRegression(), grid, cv=3).fit(X, y)
    with joblib.parallel_config(backend="sequential"):
        expected = GridSearchCV(LogisticRegression(), grid, cv=3).fit(X, y)
    assert search.best_params_ == expected.best_params_
    assert search.score(X, y) == expected.score(X, y)


def test_forest(workers: None) -> None:
    """`RandomForestClassifier` fits trees in workers and predicts with threads."""
    forest = RandomForestClassifier(n_estimators=10, random_state=0).fit(X, y)
    with joblib.parallel_config(backend="sequential"):
        expected = RandomForestClassifier(n_estimators=10, random_state=0).fit(X, y)
    assert forest.predict_proba(X).tolist() == expected.predict_proba(X).tolist()


def test_importances(workers: None) -> None:
    """`permutation_importance` gives the same numbers."""
    model = LogisticRegression().fit(X, y)
    found = permutation_importance(model, X, y, n_repeats=3, random_state=0)
    with joblib.parallel_config(backend="sequential"):
        expected = permutation_importance(model, X, y, n_repeats=3, random_state=0)
    assert found.importances.tolist() == expected.importances.tolist()


def test_fitted_models_come_home(workers: None) -> None:
    """Estimators that were fitted in workers are returned, and predict here."""
    fitted = cross_validate(LogisticRegression(), X, y, cv=2, return_estimator=True)["estimator"]
    assert [model.predict(X).shape for model in fitted] == [(300,), (300,)]
