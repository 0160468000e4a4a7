"""Hydra's sweeper and launchers of seglab: thin, because a job is ``run_job(config, folder)``.

Sweepers make overrides, launchers run them; what both share is the
:class:`~seglab.sweep.engine.Sweep` that Hydra hands on as the task. Knows no torch: Hydra imports
this with every command.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from seglab.errors import ConfigError, RunError
from seglab.run.status import FINISHED, INTERRUPTED
from seglab.sweep.board import Outcome
from seglab.sweep.engine import Sweep
from seglab.sweep.jobs import Job


class SeglabSweeper(Sweeper):
    """What seglab's sweepers share: the launcher, and the overrides of command line and params."""

    sweep_of_jobs: Sweep

    def __init__(self, params: Mapping[str, str] | None) -> None:
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra has at hand."""
        self.hydra_context, self.config = hydra_context, config
        self.sweep_of_jobs = task_function  # type: ignore[assignment]
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def overrides(self, arguments: Sequence[str]) -> list[Override]:
        """Parse params and command line; what the latter names counts."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        lines = [f"{key}={value}" for key, value in self.params.items()]
        parsed = parser.parse_overrides([*lines, *arguments])
        return list({override.get_key_element(): override for override in parsed}.values())

    def launch(self, batch: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        """Run a batch of jobs."""
        assert self.launcher is not None
        return self.launcher.launch(batch, first)

    def slots(self) -> int:
        """Return how many jobs the launcher runs at a time."""
        return int(self.launcher.slots())  # type: ignore[union-attr]


class GridSweeper(SeglabSweeper):
    """All combinations of the values given; a job whose configuration is wrong fails alone."""

    def sweep(self, arguments: list[str]) -> None:
        """Run them all."""
        (batch,) = BasicSweeper.split_arguments(self.overrides(arguments), None)
        self.launch(batch, 0)


class SeglabLauncher(Launcher):
    """What seglab's launchers share: the jobs, and how a sweeper is told what they came to."""

    sweep: Sweep

    def __init__(self, n_jobs: int | None) -> None:
        self.n_jobs = n_jobs

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra has at hand."""
        if self.n_jobs is not None and self.n_jobs < 1:
            raise ConfigError(f"hydra.launcher.n_jobs={self.n_jobs}: must be at least 1")
        self.sweep = task_function  # type: ignore[assignment]

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run a batch of jobs and return what they came to, in their order."""
        jobs = self.sweep.plan(job_overrides, initial_job_idx)
        if self.sweep.dry_run:
            self.sweep.preview(jobs)
            return []
        return [answer(outcome) for outcome in self.start(jobs)]

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run these jobs."""

    def slots(self) -> int:
        """Return how many jobs run at a time."""
        return self.n_jobs or 1


def answer(outcome: Outcome) -> JobReturn:
    """Tell a sweeper what a job came to; its value are the metrics."""
    result = JobReturn()
    result.overrides = list(outcome.job.overrides)
    if outcome.status == FINISHED:
        result.status, result.return_value = JobStatus.COMPLETED, outcome.metrics
    elif outcome.status != INTERRUPTED:
        result.status, result.return_value = JobStatus.FAILED, RunError(outcome.error)
    return result


class LocalLauncher(SeglabLauncher):
    """Each job in a process of its own on this machine, forked from a warm parent.

    Args:
        n_jobs: jobs at a time; None means one, or one for each GPU that a job asks for.
    """

    def start(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run these jobs."""
        from seglab.sweep.local import run_here

        return run_here(self.sweep, jobs, self.n_jobs)


class SlurmLauncher(SeglabLauncher):
    """Each job is one of SLURM's; see ``conf/hydra/launcher/slurm.yaml``."""

    def __init__(self, n_jobs: int, **options: Any) -> None:
        super().__init__(n_jobs)
        self.options = options

    def start(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Submit these jobs and wait for them."""
        from seglab.sweep.slurm import Cluster

        return self.sweep.run(jobs, self.slots(), Cluster(self.sweep.folder, **self.options).submit)


class RayLauncher(SeglabLauncher):
    """Each job is a task of Ray; see ``conf/hydra/launcher/ray.yaml``."""

    def __init__(self, n_jobs: int, **options: Any) -> None:
        super().__init__(n_jobs)
        self.options = options

    def start(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Hand these jobs to Ray and wait for them."""
        from seglab.sweep.ray import Cluster

        return self.sweep.run(jobs, self.slots(), Cluster(**self.options).submit)


class OptunaSweeper(SeglabSweeper):
    """Optuna looks for the best values; see ``conf/hydra/sweeper/optuna.yaml``."""

    def __init__(self, params: Mapping[str, str] | None, **options: Any) -> None:
        super().__init__(params)
        self.options = options

    def sweep(self, arguments: list[str]) -> None:
        """Complete the study."""
        from seglab.sweep.search import Search

        Search(self.sweep_of_jobs, self.overrides(arguments), **self.options).run(self)
