"""Runs the jobs of a sweep, a limited number at a time, with any launcher. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console

from seglab.errors import ConfigError, RunError, SeglabError
from seglab.run.status import FAILED, FINISHED, INTERRUPTED, mark_failed, status
from seglab.runtime import signals
from seglab.sweep.board import Board, Outcome, read_outcome, show_table, write_csv
from seglab.sweep.jobs import TABLE, Identities, Job, plan
from seglab.text import print_plain

INTERVAL = 0.02
"""Seconds between two looks at the running jobs."""

GRACE = 60.0
"""Seconds that interrupted jobs get to end."""


class Running(Protocol):
    """A started job."""

    def poll(self) -> str | None:
        """Return None while it runs, then the error; an empty string on success."""

    def interrupt(self) -> None:
        """Ask it to save and end, so that it can be resumed."""

    def kill(self) -> None:
        """End it."""


class Sweep:
    """The state shared by search and launcher: jobs, folder, results.

    Args:
        folder: contains the jobs' folders.
        keys: the varied keys.
        console: to print on.
        launcher: runs these jobs of this sweep and returns their outcomes, in their order.
        slots: how many jobs it runs at a time.
        dry_run: only print what would be done.

    Attributes:
        outcomes: the results of the jobs, in job order.
    """

    def __init__(
        self,
        folder: Path,
        keys: Sequence[str],
        console: Console,
        launcher: Callable[[Sweep, Sequence[Job]], list[Outcome]],
        slots: int = 1,
        dry_run: bool = False,
    ) -> None:
        self.folder, self.keys, self.console, self.dry_run = folder, keys, console, dry_run
        self.launcher, self.slots = launcher, slots
        self.outcomes: list[Outcome] = []
        self.identities = Identities()
        self.refused = 0

    def launch(self, batch: Sequence[Sequence[str]], first: int) -> list[Outcome]:
        """Run a batch of jobs and return their outcomes, in their order; none of a dry run.

        Args:
            batch: the overrides of each.
            first: how many jobs of the sweep come before them.

        Raises:
            ConfigError: what is wrong with all of them.
        """
        jobs = [
            plan(first + number, overrides, self.folder, self.keys, self.identities)
            for number, overrides in enumerate(batch, 1)
        ]
        if jobs and all(job.config is None for job in jobs) and not self.outcomes:
            raise ConfigError(jobs[0].error)
        for job in jobs:
            for note in job.notes:
                self.say(f"{job.folder.name}: {note}")
        if self.dry_run:
            self.preview(jobs)
            return []
        return self.launcher(self, jobs)

    def recall(self, number: int, overrides: Sequence[str], state: str) -> None:
        """Add a job from an earlier call to the table."""
        job = plan(number, overrides, self.folder, self.keys, self.identities)
        self._add(read_outcome(job, state, job.error))

    def preview(self, jobs: Sequence[Job]) -> None:
        """Print what would be done with each job, and the errors that a run would raise."""
        from seglab.sweep.preflight import Checks  # torch takes seconds to import

        checks = Checks()
        for job in jobs:
            plan = job.plan
            if job.config is not None and job.there != FINISHED:
                problem = checks.problem(job.config, job.folder)
                plan, error = ("would fail", str(problem)) if problem else (plan, "")
            else:
                error = job.error
            self.refused += bool(error)
            self.say(f"{plan:<14}  {job.folder}  {error or ' '.join(job.axes)}")

    def run(
        self, jobs: Sequence[Job], slots: int, start: Callable[[Job], Running]
    ) -> list[Outcome]:
        """Run the unfinished jobs, ``slots`` at a time.

        A job that fails or dies leaves the others alone.

        Raises:
            KeyboardInterrupt: after all running jobs have been ended and marked.
        """
        before = len(self.outcomes)
        waiting: list[Job] = []
        for job in jobs:
            if job.config is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._add(read_outcome(job, FAILED, job.error))
            elif job.there == FINISHED:
                self._add(read_outcome(job, FINISHED))
            elif any(job.folder == other.folder for other in waiting):
                continue  # duplicate values: one run serves both jobs
            else:
                waiting.append(job)
        if len(jobs) > 1:
            finished = sum(job.there == FINISHED for job in jobs)
            self.say(f"{self.folder}: {len(jobs)} jobs, {finished} finished before")
        with Board(self.console, len(waiting)) as board, signals.handled():
            self._loop(waiting, slots, start, board)
        done = {one.job.folder: one for one in self.outcomes[before:]}
        return [done[job.folder] for job in jobs]

    def _loop(
        self, waiting: list[Job], slots: int, start: Callable[[Job], Running], board: Board
    ) -> None:
        running: dict[int, tuple[Job, Running]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < slots:
                    job = waiting.pop(0)
                    board.start(job)
                    running[job.number] = (job, start(job))
                self._collect(running, board)
                board.show()
                time.sleep(INTERVAL)
        except KeyboardInterrupt:
            for _, process in running.values():
                process.interrupt()
            deadline = time.monotonic() + GRACE
            while running and time.monotonic() < deadline:
                self._collect(running, board)
                time.sleep(INTERVAL)
            raise
        finally:
            for _, process in running.values():
                process.kill()

    def _collect(self, running: dict[int, tuple[Job, Running]], board: Board) -> None:
        """Remove the ended jobs, and record their results."""
        for number, (job, process) in list(running.items()):
            how = process.poll()
            if how is None:
                continue
            del running[number]
            outcome = judge(job, how)
            self._add(outcome)
            board.end(outcome)

    def _add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.outcomes.sort(key=lambda one: one.job.number)
        write_csv(self.outcomes, self.folder / TABLE)

    def say(self, text: str) -> None:
        """Print one line."""
        print_plain(text, self.console)

    def show(self) -> None:
        """Show the results so far."""
        if self.outcomes:
            show_table(self.outcomes, self.console)
            self.say(f"sweep folder       {self.folder}")
            self.say(f"table              {self.folder / 'sweep.csv'}")

    def finish(self) -> None:
        """Show all results.

        Raises:
            RunError: some did not finish; says which. Of a dry run: some would be refused.
        """
        if self.refused:
            raise RunError(f"jobs that would fail: {self.refused}, listed above")
        self.show()
        if self.outcomes:
            self._compare()
        lost = [one for one in self.outcomes if one.status != FINISHED]
        if lost:
            names = ", ".join(f"{one.job.folder.name} ({one.status})" for one in lost)
            raise RunError(
                f"{len(lost)} of {len(self.outcomes)} jobs did not finish: {names}; the same "
                f"command again, with sweep.name={self.folder.name}, resumes or retries them"
            )

    def _compare(self) -> None:
        """Write the page of all jobs; a failure is reported and changes nothing else."""
        # Imported here: a wrong key should fail before numpy is imported.
        from seglab.report import PAGE, build

        try:
            build([self.folder], self.folder)
            self.say(f"comparison         {self.folder / PAGE}")
        except (SeglabError, OSError) as error:
            self.say(f"{self.folder / PAGE}: not written: {error}")


def judge(job: Job, how: str) -> Outcome:
    """Return the outcome of an ended job, and mark it as failed if it could not do so."""
    there = status(job.folder)
    if there == FINISHED:
        return read_outcome(job, FINISHED)
    if how == INTERRUPTED:
        return read_outcome(job, INTERRUPTED)
    if there != FAILED or how.startswith("killed"):
        mark_failed(job.folder, how or "ended without a result")
    return read_outcome(job, FAILED)
