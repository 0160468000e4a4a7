"""Optuna's distributions of Hydra's ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)

from seglab.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def lowest(values: BaseDistribution) -> Any:
    """Return a value of a distribution: the first of its categories, or its lower end."""
    if isinstance(values, optuna.distributions.CategoricalDistribution):
        return values.choices[0]
    return values.low  # type: ignore[attr-defined]


def distribution(override: Override) -> BaseDistribution:
    """Return Optuna's distribution of Hydra's range.

    ``choice(a,b)`` and ``a,b`` are categories, ``range(a,b,step)`` steps up to but without b,
    ``interval(a,b)`` all between: whole numbers if both are; ``tag(log, …)`` on a log scale.

    Raises:
        ConfigError: a range that Optuna cannot take.
    """
    sweep = override.value()
    log = "log" in getattr(sweep, "tags", ())
    try:
        if isinstance(sweep, ChoiceSweep):
            values = override.sweep_iterator(transformer=Transformer.encode)
            choices: list[Any] = list(values)
            return optuna.distributions.CategoricalDistribution(choices)
        if isinstance(sweep, RangeSweep):
            numbers = list(sweep.range())
            return _between(numbers[0], numbers[-1], log, None if log else sweep.step)
        if isinstance(sweep, IntervalSweep):
            return _between(sweep.start, sweep.end, log, None)
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{override.input_line}: {error}") from None
    raise ConfigError(f"{override.input_line}: give choice(…), range(…) or interval(…)")


def _between(low: Any, high: Any, log: bool, step: Any) -> BaseDistribution:
    if isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int)):
        return optuna.distributions.IntDistribution(low, high, log=log, step=step or 1)
    return optuna.distributions.FloatDistribution(float(low), float(high), log=log, step=step)
