"""``search=optuna``: a study of n trials in total, robust to interruptions and failures.

Uses Optuna's ask-and-tell interface. Hydra's Optuna sweeper dates from 2022: it pins Optuna 2.10
and SQLAlchemy below 2, adds n_trials on every call, stops at the first failure, and loses
interrupted trials. Its keys and range syntax are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)

from seglab.config.compose import compose
from seglab.errors import ConfigError
from seglab.run.identity import abbreviate, same_files, short_digest
from seglab.run.paths import METRICS
from seglab.run.status import FAILED, FINISHED, INTERRUPTED
from seglab.schema import TrainConfig
from seglab.sweep.board import Outcome
from seglab.sweep.engine import Sweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

try:
    import optuna
except ImportError:
    raise ConfigError("search=optuna needs Optuna: pip install 'seglab[optuna]'") from None


def search(sweep: Sweep, overrides: Sequence[Override], **options: Any) -> None:
    """Complete a study; see :class:`Search`."""
    Search(sweep, overrides, **options).run()


class Search:
    """One study.

    Args:
        sweep: the jobs' folder and console.
        overrides: what is searched, as ranges, and what is fixed.
        n_trials: the total number of trials of the study.
        direction: maximize or minimize.
        objective: the metric in ``metrics.json`` to optimise.
        storage: Optuna's; None means a file in the sweep's folder.
        seed: of the TPE sampler.
        n_startup_trials: random trials before TPE starts.

    Raises:
        ConfigError: nothing to search, or a range that Optuna cannot take.
    """

    def __init__(
        self,
        sweep: Sweep,
        overrides: Sequence[Override],
        *,
        n_trials: int,
        direction: str,
        objective: str,
        storage: str | None,
        seed: int,
        n_startup_trials: int,
    ) -> None:
        if direction not in ("maximize", "minimize"):
            raise ConfigError(f"hydra.sweeper.direction={direction}: must be maximize or minimize")
        self.sweep, self.n_trials, self.objective = sweep, n_trials, objective
        self.space = {
            override.get_key_element(): distribution(override)
            for override in overrides
            if override.is_sweep_override()
        }
        if not self.space:
            raise ConfigError("search=optuna: nothing to search; give a range: seed=choice(0,1)")
        self.fixed = [
            f"{override.get_key_element()}={override.get_value_element_as_str()}"
            for override in overrides
            if not override.is_sweep_override()
        ]
        self.storage = storage or f"sqlite:///{sweep.folder / 'study.db'}"
        self.direction, self.seed, self.n_startup_trials = direction, seed, n_startup_trials

    def run(self) -> None:
        """Run the missing trials; interrupted trials first, with their parameters."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        first = [*self.fixed, *(f"{key}={lowest(values)}" for key, values in self.space.items())]
        if self.sweep.dry_run:
            self.sweep.say(f"would complete a study of {self.n_trials} trials in {self.storage}")
            for key, values in self.space.items():
                self.sweep.say(f"    {key}: {values}")
            self.sweep.launch([first], 0)
            return
        self.sweep.folder.mkdir(parents=True, exist_ok=True)
        study = self._study(first)
        before = study.get_trials(deepcopy=False)
        ended = [trial for trial in before if trial.state.is_finished()]
        begun = [trial for trial in before if trial.state == optuna.trial.TrialState.RUNNING]
        self.sweep.say(
            f"study {study.study_name}: {len(ended)} of {self.n_trials} trials done, "
            f"{len(begun)} to take up again"
        )
        for trial in ended:
            state = FINISHED if trial.state == optuna.trial.TrialState.COMPLETE else FAILED
            self.sweep.recall(trial.number + 1, self.overrides(trial), state)
        self._tell(study, begun)
        lacking = self.n_trials - len(ended) - len(begun)
        while lacking > 0:
            asked = self._ask(study, min(self.sweep.slots, lacking))
            self._tell(study, asked)
            lacking -= len(asked)
        if any(trial.value is not None for trial in study.get_trials(deepcopy=False)):
            best = study.best_trial
            found = " ".join(f"{key}={value}" for key, value in best.params.items())
            self.sweep.say(f"best trial {best.number + 1}: {self.objective} {best.value}  {found}")

    def _study(self, overrides: Sequence[str]) -> optuna.Study:
        """Return the sweep's study, or a separate one if its data differs.

        The sampler's seed depends on the number of trials: a fixed seed would repeat the first
        trials.

        Raises:
            ConfigError: the configuration is wrong, whatever the values of the parameters.
            DataError: the data set cannot be used.
        """
        data = self.sweep.identities.of(compose("train", TrainConfig, overrides).config)
        storage = optuna.storages.RDBStorage(self.storage)
        for name in (self.sweep.folder.name, f"{self.sweep.folder.name}-{short_digest(data)}"):
            study = optuna.create_study(
                study_name=name,
                storage=storage,
                direction=self.direction,  # type: ignore[arg-type]
                load_if_exists=True,
            )
            if not study.get_trials(deepcopy=False) and "data" not in study.user_attrs:
                study.set_user_attr("data", data)
            if same_files(recorded := study.user_attrs.get("data"), data):
                break
            self.sweep.say(
                f"study {name}: of other data, {abbreviate(recorded)}, and left alone; this is "
                f"{abbreviate(data)}"
            )
        seed = self.seed + len(study.get_trials(deepcopy=False))
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.n_startup_trials)
        return optuna.load_study(study_name=name, storage=storage, sampler=sampler)

    def _ask(self, study: optuna.Study, count: int) -> list[FrozenTrial]:
        """Begin new trials."""
        try:
            numbers = [study.ask(self.space).number for _ in range(count)]
        except ValueError as error:
            raise ConfigError(f"search=optuna: the study has other ranges: {error}") from None
        trials = study.get_trials(deepcopy=False)
        return [trials[number] for number in numbers]

    def _tell(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        """Run trials, and record their results."""
        if not trials:
            return
        batch = [self.overrides(trial) for trial in trials]
        outcomes = self.sweep.launch(batch, trials[0].number)
        for trial, outcome in zip(trials, outcomes, strict=True):
            value = self.value(outcome)
            if value is not None:
                study.tell(trial.number, value)
            elif outcome.status != INTERRUPTED:  # the trial stays open
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def overrides(self, trial: FrozenTrial) -> list[str]:
        """Return the overrides of a trial."""
        return [*self.fixed, *(f"{key}={value}" for key, value in trial.params.items())]

    def value(self, outcome: Outcome) -> float | None:
        """Return the objective of a trial; None if it failed or lacks the metric."""
        metrics = outcome.metrics
        if outcome.status != FINISHED:
            return None
        if self.objective not in metrics:
            raise ConfigError(
                f"hydra.sweeper.objective={self.objective}: not in {METRICS}; there is "
                f"{', '.join(name for name in metrics if '/IoU/' not in name)}"
            )
        found = metrics[self.objective]
        return found if found == found else None  # NaN


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
