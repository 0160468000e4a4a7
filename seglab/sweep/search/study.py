"""One study: the source of a sweep's jobs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from hydra.core.override_parser.types import Override
from optuna.trial import TrialState

from seglab.config.compose import Composed, compose
from seglab.config.overrides import is_group
from seglab.errors import ConfigError
from seglab.run.history import validations
from seglab.run.identity import (
    code_digest,
    describe_difference,
    result_settings,
    same_files,
    short_digest,
)
from seglab.run.metric_names import check_metrics
from seglab.run.paths import METRICS, OBJECTIVES
from seglab.run.status import FAILED, FINISHED, INTERRUPTED, NONE, PRUNED, is_diverged
from seglab.runtime.files import write_json
from seglab.schema import TrainConfig
from seglab.sweep.board import SUBMITTED, Outcome
from seglab.sweep.engine import LISTED, Sweep
from seglab.sweep.jobs import Job
from seglab.sweep.search.pruners import build_pruner, check_validations
from seglab.sweep.search.ranges import distribution, lowest
from seglab.sweep.search.storage import open_storage

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

ERROR = "error"
"""The attribute of a trial that says why it failed or diverged; ``pruned``, why it is pruned."""

_STATES = {TrialState.COMPLETE: FINISHED, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}


class Search:
    """One study; a source of jobs.

    A trial's sampler is seeded by the study's seed and the trial's number, so a random sampler
    gives the same trials in any order and after any interruption; TPE also depends on the results
    that are known when a trial begins, so it does with one job at a time.

    Args:
        sweep: the jobs' folder and console.
        overrides: what is searched, as ranges, and what is fixed.
        n_trials: the total number of trials of the study.
        direction: maximize or minimize; one per objective.
        objective: the metric to optimise, or several.
        storage: Optuna's; None means a file in the sweep's folder.
        seed: of the sampler.
        sampler: ``tpe`` or ``random``.
        n_startup_trials: random trials before TPE starts.
        pruner: a name of :func:`named_pruners`, or a node of one of Optuna's; None: none.
        retry: whether failed trials are run again by the next call; otherwise they are accepted.

    Raises:
        ConfigError: nothing to search, or an option or range that Optuna cannot take.
    """

    def __init__(
        self,
        sweep: Sweep,
        overrides: Sequence[Override],
        *,
        n_trials: int,
        direction: str | list[str],
        objective: str | list[str],
        storage: str | None,
        seed: int,
        sampler: str,
        n_startup_trials: int,
        pruner: str | dict[str, Any] | None,
        retry: bool,
    ) -> None:
        self.directions = direction if isinstance(direction, list) else [direction]
        self.objectives = objective if isinstance(objective, list) else [objective]
        check_objectives(self.objectives, self.directions)
        if pruner is not None and len(self.objectives) > 1:
            raise ConfigError(
                f"hydra.sweeper.pruner={pruner}: Optuna prunes by one objective only; give one "
                "hydra.sweeper.objective, or pruner=null"
            )
        if pruner is not None and not self.objectives[0].startswith("val/"):
            raise ConfigError(
                f"hydra.sweeper.pruner={pruner}: {self.objectives[0]} is not a metric of each "
                "validation; give a hydra.sweeper.objective val/…, or pruner=null"
            )
        self.sweep, self.n_trials, self.retry = sweep, n_trials, retry
        self.chosen = pruner
        self.pruner: optuna.pruners.BasePruner | None = None
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
        self.seed, self.sampler, self.n_startup_trials = seed, sampler, n_startup_trials
        self.first = [
            *self.fixed,
            *(f"{key}={lowest(values)}" for key, values in self.space.items()),
        ]
        self.examples: Sequence[Job] = ()
        self.open: list[int] = []  # numbers of trials that an earlier call began
        self.lacking, self.total = n_trials, n_trials
        self.reported: dict[int, int] = {}  # the last step of each running trial

    def run(self) -> None:
        """Run the missing trials; interrupted trials first, with their parameters."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        composed = compose("train", TrainConfig, self.first)
        config = composed.config
        check_metrics("hydra.sweeper.objective", self.objectives, config)
        if self.chosen is not None:
            self.pruner = build_pruner(self.chosen, config.trainer.max_epochs)
            check_validations(config.trainer)
        if self.sweep.dry_run:
            self.sweep.say(f"would complete a study of {self.n_trials} trials in {self.storage}")
            for key, values in self.space.items():
                self.sweep.say(f"    {key}: {values}")
            self.sweep.launch([self.first])
            return
        self.sweep.folder.mkdir(parents=True, exist_ok=True)
        self.study = self._study(composed)
        objectives = dict(zip(self.objectives, self.directions, strict=True))
        write_json(self.sweep.folder / OBJECTIVES, objectives)
        before = self.study.get_trials(deepcopy=False)
        self.open = [trial.number for trial in before if trial.state == TrialState.RUNNING]
        if not self.retry:
            for trial in before:
                if trial.state == TrialState.RUNNING and ERROR in trial.user_attrs:
                    self.study.tell(trial.number, state=TrialState.FAIL)
                    self.open.remove(trial.number)
            before = self.study.get_trials(deepcopy=False)
        ended = [trial for trial in before if trial.state.is_finished()]
        self.sweep.say(
            f"study {self.study.study_name}: {len(ended)} of {self.n_trials} trials done, "
            f"{len(self.open)} to resume"
        )
        for trial in ended:
            self.sweep.add_earlier(
                trial.number + 1, self.overrides(trial.params), _STATES[trial.state]
            )
        self.lacking = self.n_trials - len(ended) - len(self.open)
        self.total = max(0, self.n_trials - len(ended))
        if self.total:
            example = self.sweep.plan(0, self.first)
            self.examples = [replace(example, state=NONE)]
            self.sweep.launcher(self.sweep, self)
        self._show_best()

    def next(self) -> Job | None:
        """Return the job of the next trial: one that an earlier call began, or a new one."""
        if self.open:
            number = self.open.pop(0)
            params = self.study.get_trials(deepcopy=False)[number].params
        elif self.lacking > 0:
            self.lacking -= 1
            number, params = self._ask()
        else:
            return None
        return self.sweep.plan(number + 1, self.overrides(params))

    def watch(self, job: Job) -> str:
        """Report a running trial's new validations; return why it is to be pruned, or nothing.

        The step of a report is the number of epochs.
        """
        if self.pruner is None:
            return ""
        trial = self._trial(job)
        known = self.study.get_trials(deepcopy=False)[trial.number]
        if PRUNED in known.user_attrs:
            return str(known.user_attrs[PRUNED])  # decided, and the search killed before the end
        reported = known.intermediate_values
        for epoch, value in validations(job.folder, self.objectives[0]):
            if epoch <= self.reported.get(job.number, 0):
                continue
            self.reported[job.number] = epoch
            if epoch not in reported:  # an earlier call may have reported it
                trial.report(value, epoch)
            if epoch >= max(reported, default=0) and trial.should_prune():
                trial.set_user_attr(
                    PRUNED,
                    reason := f"{self.objectives[0]} {value:.4f} after "
                    f"{epoch} epochs: {type(self.pruner).__name__}",
                )
                return reason
        return ""

    def end(self, outcome: Outcome) -> Outcome:
        """Tell the study the result of a trial.

        What a run has logged decides, not when it was seen: a trial that would have been pruned at
        one of its validations is pruned, even if it ended first.
        """
        if outcome.status in (INTERRUPTED, SUBMITTED):
            return outcome  # the trial stays open
        trial = self._trial(outcome.job)
        reason = self.watch(outcome.job)
        if outcome.status == FAILED and is_diverged(outcome.job.folder):
            reason = outcome.error
            trial.set_user_attr(ERROR, reason)
        if reason:
            self.study.tell(trial.number, state=TrialState.PRUNED)
            return replace(outcome, status=PRUNED, error=reason)
        values = self.values(outcome)
        if values is not None:
            self.study.tell(trial.number, values)
        elif self.retry:
            trial.set_user_attr(ERROR, outcome.error)  # it stays open for the next call
        else:
            self.study.tell(trial.number, state=TrialState.FAIL)
        return outcome

    def rest(self) -> Sequence[Job]:
        """Return nothing: what has not been asked for has no parameters yet."""
        return ()

    def _study(self, composed: Composed[TrainConfig]) -> optuna.Study:
        """Return the sweep's study, or a separate one if its data, settings or ranges differ.

        Raises:
            ConfigError: the study has other objectives.
            DataError: the data set cannot be used.
        """
        config = composed.config
        data = {**self.sweep.identities.of(config), **self._code_of_choices()}
        settings = {
            **result_settings(composed.plain),
            **{f"range of {key}": str(values) for key, values in self.space.items()},
            "hydra.sweeper.objective": self.objectives,
        }
        self.backend = open_storage(self.storage)
        base = self.sweep.folder.name
        for name in (base, f"{base}-{short_digest([data, settings])}"):
            study = optuna.create_study(
                study_name=name,
                storage=self.backend,
                directions=self.directions,  # type: ignore[arg-type]
                load_if_exists=True,
            )
            if [direction.name.lower() for direction in study.directions] != self.directions:
                raise ConfigError(
                    f"hydra.sweeper.direction: study {name} has "
                    f"{[direction.name.lower() for direction in study.directions]}; give another "
                    "sweep.name"
                )
            if not study.get_trials(deepcopy=False) and "data" not in study.user_attrs:
                study.set_user_attr("data", data)
                study.set_user_attr("settings", settings)
            recorded, before = (study.user_attrs.get(one, {}) for one in ("data", "settings"))
            if not same_files(recorded, data):
                _, here, there = describe_difference(config, recorded, data)
                self.sweep.say(f"study {name}: of {there}, and left alone; {here}")
            elif before != settings:
                self.sweep.say(f"study {name}: of {_differing(before, settings)}, and left alone")
            else:
                break
        return self._load(name, len(study.get_trials(deepcopy=False)))

    def _code_of_choices(self) -> dict[str, str]:
        """Return the digests of the user's modules behind each part that a trial may choose."""
        digests: dict[str, str] = {}
        for key, values in self.space.items():
            parts = is_group(key) or key.endswith("_target_")
            if parts and isinstance(values, optuna.distributions.CategoricalDistribution):
                others = [one for one in self.first if one.partition("=")[0] != key]
                for choice in values.choices:
                    chosen = compose("train", TrainConfig, [*others, f"{key}={choice}"])
                    digests |= code_digest(chosen.config)
        return digests

    def _load(self, name: str, number: int) -> optuna.Study:
        """Load the study with the sampler of a trial."""
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        sampler = (
            optuna.samplers.RandomSampler(seed=seed)
            if self.sampler == "random"
            else optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.n_startup_trials)
        )
        return optuna.load_study(
            study_name=name,
            storage=self.backend,
            sampler=sampler,
            pruner=self.pruner or optuna.pruners.NopPruner(),
        )

    def _ask(self) -> tuple[int, dict[str, Any]]:
        """Begin a trial, and return its number and parameters."""
        number = len(self.study.get_trials(deepcopy=False))
        try:
            trial = self._load(self.study.study_name, number).ask(self.space)
        except ValueError as error:
            raise ConfigError(f"search=optuna: the study has other ranges: {error}") from None
        return trial.number, trial.params

    def _trial(self, job: Job) -> optuna.Trial:
        study = self.backend.get_study_id_from_name(self.study.study_name)
        number = self.backend.get_trial_id_from_study_id_trial_number(study, job.number - 1)
        return optuna.Trial(self.study, number)

    def _show_best(self) -> None:
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        several = len(self.objectives) > 1
        for trial in self.study.best_trials if trials and several else ():
            self.sweep.say(f"Pareto front: {self._described(trial)}")
        if trials and not several:
            self.sweep.say(f"best {self._described(self.study.best_trial)}")

    def _described(self, trial: FrozenTrial) -> str:
        values = zip(self.objectives, trial.values, strict=True)
        numbers = "  ".join(f"{name} {value:.6g}" for name, value in values)
        params = " ".join(f"{key}={value}" for key, value in trial.params.items())
        return f"trial {trial.number + 1}: {numbers}  {params}"

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Return the overrides of a trial with these parameters."""
        return [*self.fixed, *(f"{key}={value}" for key, value in params.items())]

    def values(self, outcome: Outcome) -> list[float] | None:
        """Return the objectives of a trial; None if it failed or lacks one of them.

        Raises:
            ConfigError: there is no such metric.
        """
        if outcome.status != FINISHED:
            return None
        for name in self.objectives:
            if name not in outcome.metrics:
                names = ", ".join(name for name in outcome.metrics if "/IoU/" not in name)
                raise ConfigError(
                    f"hydra.sweeper.objective={name}: not in {METRICS}; available: {names}"
                )
        values = [outcome.metrics[name] for name in self.objectives]
        return None if any(map(math.isnan, values)) else values


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the earlier values of the settings that differ."""
    keys = [key for key in {**now, **before} if before.get(key) != now.get(key)]
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(f"{key}={before.get(key)}" for key in keys[:LISTED]) + more


def check_objectives(names: Sequence[Any], directions: Sequence[Any]) -> None:
    """Check the names of the objectives, and that each has a direction.

    Raises:
        ConfigError: names the key.
    """
    if not names:
        raise ConfigError("hydra.sweeper.objective=[]: must be the name of a metric, or several")
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"hydra.sweeper.objective={name}: must be the name of a metric")
    for name in directions:
        if name not in ("maximize", "minimize"):
            raise ConfigError(f"hydra.sweeper.direction={name}: must be maximize or minimize")
    if len(directions) != len(names):
        raise ConfigError(
            f"hydra.sweeper.direction: {len(directions)} for {len(names)} "
            "objectives; give one for each: direction=[maximize,minimize]"
        )
