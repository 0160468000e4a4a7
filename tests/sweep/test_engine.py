"""Jobs that cannot start, fail or are killed: each has its line in the table."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from seglab.errors import ConfigError, RunError
from seglab.run.status import FAILED, FINISHED, INTERRUPTED
from seglab.sweep import engine
from seglab.sweep.board import Outcome
from seglab.sweep.engine import JobList, Running, Source, Sweep
from seglab.sweep.jobs import Job

SEEDS = [["seed=1"], ["seed=2"], ["seed=3"]]


class Run:
    """A job that ends when it is asked to, or, if ``stubborn``, only when it is killed."""

    def __init__(self, how: str | None = None, stubborn: bool = False) -> None:
        self.how, self.stubborn, self.killed = how, stubborn, False

    def poll(self) -> str | None:
        return self.how

    def interrupt(self) -> None:
        self.how = None if self.stubborn else INTERRUPTED

    def kill(self) -> None:
        self.killed = True


def launched(folder: Path, start: Callable[[Job], Running], slots: int = 3) -> Sweep:
    def launcher(sweep: Sweep, source: Source) -> None:
        sweep.run(source, slots, start)

    return Sweep(folder, ["seed"], Console(quiet=True), launcher)


def table(folder: Path) -> dict[str, str]:
    with (folder / "sweep.csv").open() as file:
        return {row["overrides"]: row["status"] for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    "error",
    [RunError("hydra/launcher=slurm: QOSMaxSubmitJobPerUserLimit"), PermissionError(13, "refused")],
)
def test_a_job_that_cannot_start_fails_alone(
    tmp_path: Path, made_run: Callable[..., Path], error: Exception
) -> None:
    def start(job: Job) -> Running:
        if "seed=2" in job.overrides:
            raise error
        made_run(job.folder)
        return Run("")

    sweep = launched(tmp_path, start)
    sweep.launch(SEEDS)
    assert table(tmp_path) == {"seed=1": FINISHED, "seed=2": FAILED, "seed=3": FINISHED}
    assert sweep.outcomes[1].error in str(error)
    with pytest.raises(RunError, match="1 of 3 jobs did not finish"):
        sweep.finish()


def test_an_error_of_the_search_interrupts_the_running_jobs_and_keeps_the_table(
    tmp_path: Path, made_run: Callable[..., Path]
) -> None:
    class Objecting(JobList):
        def end(self, outcome: Outcome) -> Outcome:
            if outcome.status == FINISHED:
                raise ConfigError("hydra.sweeper.objective=val/x: not in metrics.json")
            return outcome

    def start(job: Job) -> Running:
        if "seed=2" not in job.overrides:
            return Run()
        made_run(job.folder)
        return Run("")

    def launcher(sweep: Sweep, source: Source) -> None:
        assert isinstance(source, JobList)
        sweep.run(Objecting(source.waiting), 3, start)

    sweep = Sweep(tmp_path, ["seed"], Console(quiet=True), launcher)
    with pytest.raises(ConfigError, match="objective=val/x"):
        sweep.launch(SEEDS)
    assert table(tmp_path) == {"seed=1": INTERRUPTED, "seed=2": FINISHED, "seed=3": INTERRUPTED}


def test_a_job_that_must_be_killed_is_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "GRACE", 0.1)
    runs = [Run(stubborn=True), Run()]
    waiting = iter(runs)

    def start(job: Job) -> Running:
        if "seed=3" in job.overrides:
            raise KeyboardInterrupt
        return next(waiting)

    with pytest.raises(KeyboardInterrupt):
        launched(tmp_path, start).launch(SEEDS)
    assert [run.killed for run in runs] == [True, False]
    assert table(tmp_path)["seed=1"] == table(tmp_path)["seed=2"] == INTERRUPTED


def test_the_table_has_the_jobs_of_an_earlier_call(
    tmp_path: Path, made_run: Callable[..., Path]
) -> None:
    sweep = launched(tmp_path, lambda job: Run(""))
    made_run(sweep.plan(1, SEEDS[0]).folder)
    sweep.add_earlier(1, SEEDS[0], FINISHED)
    sweep.show()
    assert table(tmp_path) == {"seed=1": FINISHED}
