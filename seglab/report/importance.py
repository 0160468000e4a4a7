"""Optuna's fANOVA: how much of the variance of mIoU a random forest gives to each setting.

Hutter, Hoos and Leyton-Brown, *An Efficient Approach for Assessing Hyperparameter Importance*, ICML
2014. Unlike an analysis of variance it needs no repeated values, so it suits a search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

MISSING = "fANOVA needs optuna and scikit-learn"


def fanova(values: Sequence[float], settings: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the share of each setting by itself; empty without Optuna and scikit-learn.

    Args:
        values: of N runs, not all equal.
        settings: of each run, as text; numbers are taken as numbers.
    """
    if not find_spec("optuna") or not find_spec("sklearn"):
        return {}
    import optuna

    columns = {key: _column(texts) for key, texts in settings.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces each study
    study = optuna.create_study()
    optuna.logging.set_verbosity(verbosity)
    study.add_trials(
        optuna.create_trial(
            params={key: column[place] for key, (column, _) in columns.items()},
            distributions={key: range_ for key, (_, range_) in columns.items()},
            value=value,
        )
        for place, value in enumerate(values)
    )
    shares = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=0).evaluate(study)
    return {key: float(share) for key, share in shares.items()}


def _column(texts: Sequence[str]) -> tuple[list[Any], Any]:
    """Return values and Optuna's range of them, logarithmic if they span a factor of 50."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return list(texts), CategoricalDistribution(list(dict.fromkeys(texts)))
    low, high = min(numbers), max(numbers)
    return numbers, FloatDistribution(low, high, log=0 < 50 * low <= high)
