"""scikit-learn, unchanged, on Procession's workers through joblib."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import joblib
import pytest

import procession.joblib

procession.joblib.register()


@pytest.fixture(scope="module")
def ml() -> Any:
    """scikit-learn's names."""
    pytest.importorskip("sklearn")
    return import_module("tests.joblib_door.learning")


@pytest.fixture
def workers() -> Iterator[None]:
    """Two workers of Procession's."""
    with joblib.parallel_config(backend="procession", n_jobs=2):
        yield


def test_fits_run_in_workers(workers: None, ml: Any) -> None:
    """What is fitted is fitted in other processes."""
    assert os.getpid() not in ml.cross_val_score(ml.Located(), ml.X, ml.y, cv=4)


def test_cross_validation(workers: None, ml: Any) -> None:
    """`cross_val_score` gives what it gives without workers."""
    model = ml.LogisticRegression()
    with joblib.parallel_config(backend="sequential"):
        expected = ml.cross_val_score(model, ml.X, ml.y, cv=4)
    assert ml.cross_val_score(model, ml.X, ml.y, cv=4).tolist() == expected.tolist()


def test_grid_search(workers: None, ml: Any) -> None:
    """`GridSearchCV` finds the same parameters, and is fitted with them."""
    grid = {"C": [0.01, 0.1, 1.0]}
    search = ml.GridSearchCV(ml.LogisticRegression(), grid, cv=3).fit(ml.X, ml.y)
    with joblib.parallel_config(backend="sequential"):
        expected = ml.GridSearchCV(ml.LogisticRegression(), grid, cv=3).fit(ml.X, ml.y)
    assert search.best_params_ == expected.best_params_
    assert search.score(ml.X, ml.y) == expected.score(ml.X, ml.y)


def test_forest(workers: None, ml: Any) -> None:
    """`RandomForestClassifier` fits trees in workers and predicts with threads."""
    forest = ml.RandomForestClassifier(n_estimators=10, random_state=0).fit(ml.X, ml.y)
    with joblib.parallel_config(backend="sequential"):
        expected = ml.RandomForestClassifier(n_estimators=10, random_state=0).fit(ml.X, ml.y)
    assert forest.predict_proba(ml.X).tolist() == expected.predict_proba(ml.X).tolist()


def test_importances(workers: None, ml: Any) -> None:
    """`permutation_importance` gives the same numbers."""
    model = ml.LogisticRegression().fit(ml.X, ml.y)
    found = ml.permutation_importance(model, ml.X, ml.y, n_repeats=3, random_state=0)
    with joblib.parallel_config(backend="sequential"):
        expected = ml.permutation_importance(model, ml.X, ml.y, n_repeats=3, random_state=0)
    assert found.importances.tolist() == expected.importances.tolist()


def test_fitted_models_come_home(workers: None, ml: Any) -> None:
    """Estimators that were fitted in workers are returned, and predict here."""
    found = ml.cross_validate(ml.LogisticRegression(), ml.X, ml.y, cv=2, return_estimator=True)
    assert [model.predict(ml.X).shape for model in found["estimator"]] == [(300,), (300,)]
