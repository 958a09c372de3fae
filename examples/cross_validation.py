"""scikit-learn's cross-validation on Procession's workers, by joblib.

All that is built on joblib takes the backend. A fit whose worker is killed runs again, and one that
hangs is ended.

    python examples/cross_validation.py
"""

import joblib
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

import procession.joblib

procession.joblib.register()

samples, labels = make_classification(600, 20, n_informative=8, random_state=1)
search = GridSearchCV(LogisticRegression(max_iter=300), {"C": [0.01, 0.1, 1.0]}, cv=4)

with joblib.parallel_config(backend="procession", n_jobs=2, retries=1, timeout=60):
    search.fit(samples, labels)

alone = GridSearchCV(LogisticRegression(max_iter=300), {"C": [0.01, 0.1, 1.0]}, cv=4)
alone.fit(samples, labels)
assert search.best_score_ == alone.best_score_
print(f"best C: {search.best_params_['C']}, accuracy {search.best_score_:.3f}, as without workers")
