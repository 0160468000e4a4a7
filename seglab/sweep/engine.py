"""Runs the jobs of a sweep, a limited number at a time, with any launcher. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from rich.console import Console

from seglab.errors import ConfigError, RunError, SeglabError, one_line
from seglab.printing import print_plain
from seglab.run.status import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PRUNED,
    mark_failed,
    request_prune,
    status,
)
from seglab.runtime import signals
from seglab.runtime.import_torch import import_torch
from seglab.sweep.board import (
    NOT_STARTED,
    SUBMITTED,
    Board,
    Outcome,
    read_outcome,
    show_table,
    write_csv,
)
from seglab.sweep.jobs import TABLE, Identities, Job, plan

INTERVAL = 0.02
"""Seconds between two looks at the running jobs."""

WATCH = 1.0
"""Seconds between two looks at the numbers of the running jobs."""

LISTED = 3
"""How many different errors a line lists if no job is right."""

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


class Source(Protocol):
    """Gives a sweep its jobs, one whenever a job may start."""

    examples: Sequence[Job]
    """Jobs that show what a launcher has to prepare for."""
    total: int
    """How many jobs there will be."""

    def next(self) -> Job | None:
        """Return the next job; None if there is none."""

    def watch(self, job: Job) -> str:
        """Return why a running job is to be pruned; empty: it is not."""

    def end(self, outcome: Outcome) -> Outcome:
        """Take the outcome of a job, and return it as it is shown."""

    def rest(self) -> Sequence[Job]:
        """Return the jobs that have not been given."""


class JobList:
    """Jobs that are known from the beginning; those of one folder are one job."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.waiting = list({job.folder: job for job in reversed(jobs)}.values())[::-1]
        self.examples: Sequence[Job] = tuple(self.waiting)
        self.total = sum(job.config is not None and job.state != FINISHED for job in self.waiting)

    def next(self) -> Job | None:
        """Return the next job; None if there is none."""
        return self.waiting.pop(0) if self.waiting else None

    def watch(self, job: Job) -> str:
        """No job is pruned."""
        return ""

    def end(self, outcome: Outcome) -> Outcome:
        """Return the outcome as it is."""
        return outcome

    def rest(self) -> Sequence[Job]:
        """Return the jobs that have not been given."""
        return self.waiting


class Sweep:
    """The state shared by search and launcher: jobs, folder, results.

    Args:
        folder: contains the jobs' folders.
        keys: the varied keys.
        console: to print on.
        launcher: runs the jobs that a source gives.
        dry_run: only print what would be done.

    Attributes:
        outcomes: the results of the jobs, in job order.
    """

    def __init__(
        self,
        folder: Path,
        keys: Sequence[str],
        console: Console,
        launcher: Callable[[Sweep, Source], None],
        dry_run: bool = False,
    ) -> None:
        self.folder, self.keys, self.console, self.dry_run = folder, keys, console, dry_run
        self.launcher = launcher
        self.outcomes: list[Outcome] = []
        self.unwritten = False  # outcomes that sweep.csv lacks
        self.identities = Identities()
        self.refused = 0

    def launch(self, batch: Sequence[Sequence[str]]) -> None:
        """Run the jobs of these overrides, or of a dry run show them.

        Raises:
            ConfigError: what is wrong with all of them.
        """
        jobs = [self.plan(number, overrides) for number, overrides in enumerate(batch, 1)]
        if jobs and all(job.config is None for job in jobs):
            errors = [*dict.fromkeys(job.error for job in jobs)]
            more = f"; and {len(errors) - LISTED} more" if len(errors) > LISTED else ""
            raise ConfigError(f"{'; '.join(errors[:LISTED])}{more}")
        if self.dry_run:
            self.preview(jobs)
            return
        if len(jobs) > 1:
            finished = sum(job.state == FINISHED for job in jobs)
            self.say(f"{self.folder}: {len(jobs)} jobs, {finished} finished before")
        self.launcher(self, JobList(jobs))

    def plan(self, number: int, overrides: Sequence[str]) -> Job:
        """Plan a job, and print what has changed since it was last run."""
        job = plan(number, overrides, self.folder, self.keys, self.identities)
        for note in job.notes:
            self.say(f"{job.folder.name}: {note}")
        return job

    def add_earlier(self, number: int, overrides: Sequence[str], state: str) -> None:
        """Add a job from an earlier call to the table."""
        job = plan(number, overrides, self.folder, self.keys, self.identities)
        outcome = read_outcome(job, state, job.error)
        self._add(replace(outcome, accepted=True))

    def preview(self, jobs: Sequence[Job]) -> None:
        """Print what would be done with each job, and the errors that a run would raise."""
        import_torch()
        from seglab.sweep.preflight import Checks

        checks = Checks()
        for job in jobs:
            plan = job.plan
            if job.config is not None and job.state != FINISHED:
                problem = checks.problem(job.config, job.folder)
                plan, error = ("would fail", str(problem)) if problem else (plan, "")
            else:
                error = job.error
            self.refused += bool(error)
            self.say(f"{plan:<14}  {job.folder}  {error or ' '.join(job.axes)}")

    def run(self, source: Source, slots: int, start: Callable[[Job], Running]) -> None:
        """Run the unfinished jobs of a source, ``slots`` at a time.

        A job that cannot be started, fails or dies leaves the others alone. Any error of the
        sweep itself is raised after the running jobs were interrupted, so that they can be resumed.

        Raises:
            KeyboardInterrupt: after the running jobs have ended; those still alive after GRACE
                seconds, or at a second interrupt, are killed.
        """
        with Board(self.console, source.total) as board, signals.handlers():
            self._loop(source, slots, start, board)

    def _loop(
        self, source: Source, slots: int, start: Callable[[Job], Running], board: Board
    ) -> None:
        running: dict[Path, tuple[Job, Running]] = {}
        same: dict[Path, list[Job]] = {}  # by folder: one run serves all of them
        watched = time.monotonic()

        def end(job: Job, outcome: Outcome) -> None:
            """Take the outcome of a started job, and of those that wait for the same folder."""
            for other in (job, *same.pop(job.folder, ())):
                final = replace(outcome, job=other)
                try:
                    final = source.end(final)
                finally:
                    if other is job:
                        board.end(final)
                    self._add(final)

        def begin(job: Job) -> None:
            board.start(job)
            try:
                running[job.folder] = (job, start(job))
            except (SeglabError, OSError) as error:
                end(job, read_outcome(job, FAILED, one_line(error)))

        def collect() -> None:
            for folder, (job, process) in list(running.items()):
                how = process.poll()
                if how is not None:
                    del running[folder]
                    submitted = how == SUBMITTED
                    end(job, read_outcome(job, SUBMITTED) if submitted else outcome_of(job, how))

        try:
            while True:
                free = slots - sum(one.status == SUBMITTED for one in self.outcomes)
                while len(running) < free and (job := source.next()) is not None:
                    if job.config is None:
                        self.folder.mkdir(parents=True, exist_ok=True)
                        self._add(source.end(read_outcome(job, FAILED, job.error)))
                    elif job.folder in running:
                        same.setdefault(job.folder, []).append(job)
                    elif job.state == FINISHED:
                        self._add(source.end(read_outcome(job, FINISHED)))
                    else:
                        begin(job)
                if not running:
                    break
                collect()
                self._write()
                if time.monotonic() - watched > WATCH:
                    for job, _ in running.values():
                        if reason := source.watch(job):
                            request_prune(job.folder, reason)
                    watched = time.monotonic()
                board.show()
                time.sleep(INTERVAL)
        except BaseException:  # Ctrl-C, or an error of the source: what runs may save and stop
            for _, process in running.values():
                process.interrupt()
            deadline = time.monotonic() + GRACE
            while running and time.monotonic() < deadline:
                with suppress(SeglabError):  # the first one is raised
                    collect()
                time.sleep(INTERVAL)
            raise
        finally:
            for job, process in running.values():
                process.kill()
                self._add(read_outcome(job, INTERRUPTED))
            for job in source.rest():
                self._add(read_outcome(job, FINISHED if job.state == FINISHED else NOT_STARTED))
            self._write()

    def _add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.outcomes.sort(key=lambda other: other.job.number)
        self.unwritten = True

    def _write(self) -> None:
        """Write sweep.csv if there is a new outcome."""
        if self.unwritten:
            write_csv(self.outcomes, self.folder / TABLE)
            self.unwritten = False

    def say(self, text: str) -> None:
        """Print one line."""
        print_plain(text, self.console)

    def show(self) -> None:
        """Show the results so far."""
        if self.outcomes:
            self._write()
            show_table(self.outcomes, self.console)
            self.say(f"sweep folder       {self.folder}")
            self.say(f"table              {self.folder / TABLE}")

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
        ended = [FINISHED, PRUNED, SUBMITTED]
        if left := sum(one.status == SUBMITTED for one in self.outcomes):
            ended.append(NOT_STARTED)
            self.say(
                f"{left} jobs submitted; rerun the same command with "
                f"sweep.name={self.folder.name} to collect them"
            )
        lost = [one for one in self.outcomes if one.status not in ended and not one.accepted]
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


def outcome_of(job: Job, how: str) -> Outcome:
    """Return the outcome of an ended job, and mark it as failed if it could not do so."""
    state = status(job.folder)
    if state in (FINISHED, PRUNED):
        return read_outcome(job, state)
    if how == INTERRUPTED:
        return read_outcome(job, INTERRUPTED)
    if state != FAILED or how.startswith("killed"):
        mark_failed(job.folder, how or "ended without a result")
    return read_outcome(job, FAILED)
