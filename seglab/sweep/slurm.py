"""Jobs on a SLURM cluster, by submitit's engine; their folders must be shared by its machines.

submitit asks SLURM to send SIGUSR2 before a time-out; a preemption sends the same
(``PreemptParameters=send_user_signal``). The run then saves, submitit requeues the job, and it
resumes. Lightning's own handling works for single processes only.
"""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seglab.errors import ConfigError, RunError, one_line
from seglab.run.paths import LOG
from seglab.run.status import INTERRUPTED
from seglab.run.untrusted import read_json
from seglab.runtime.files import write_json
from seglab.runtime.private_folders import check_private, make_private
from seglab.runtime.rank import rank
from seglab.runtime.worker import write_to
from seglab.schema import TrainConfig
from seglab.sweep.board import SUBMITTED
from seglab.sweep.engine import Source, Sweep
from seglab.sweep.jobs import SLURM, Job
from seglab.sweep.tasks import as_rank, layout
from seglab.sweep.worker import work

try:
    import submitit
    from submitit.core.utils import FailedJobError
except ImportError:
    raise ConfigError("hydra/launcher=slurm needs submitit: pip install 'seglab[slurm]'") from None

INTERVAL = 2.0
"""Seconds between two questions to SLURM's controller, whatever the number of jobs."""

OVER = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"),
    *("OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"),
)
"""The states that a job does not leave; one that is queued again is PENDING."""


JOBS = "jobs.json"
"""SLURM's number of each job by the name of its folder, beside submitit's files."""


def launch(sweep: Sweep, source: Source, n_jobs: int, detach: bool, **options: Any) -> None:
    """Submit each job to SLURM and wait for them; see ``conf/hydra/launcher/slurm.yaml``."""
    sweep.run(source, n_jobs, Cluster(sweep.folder, detach, **options).submit)


class SlurmJob:
    """The function that runs on the cluster, in each task; submitit can requeue it.

    Args:
        meeting: where the tasks meet, if each is a rank; None: there is one task.
    """

    def __init__(self, meeting: Path | None = None) -> None:
        self.meeting = meeting

    def __call__(
        self, config: TrainConfig, folder: Path, overrides: Sequence[str], modules: Path
    ) -> None:
        """Train or resume; requeue the job if it was preempted."""
        from seglab.runtime.preemption import SIGNAL, request_stop, stop_requested

        queue_again: Any = signal.signal(SIGNAL, request_stop)
        if self.meeting is not None:
            config = as_rank(config, self.meeting, os.environ)
        if rank() == 0:  # submitit has files for the output of the others
            write_to(str(folder / LOG))
        try:
            work(config, folder, overrides, modules)
        except KeyboardInterrupt:
            if stop_requested():
                queue_again(SIGNAL, None)  # submitit's own: it ends the first task's process
                if rank() > 0:
                    return  # a failed task would end the job before it is queued again
            raise

    def checkpoint(self, *arguments: Any) -> submitit.helpers.DelayedSubmission:
        """Return the job to requeue: the same one, because its state is in the run folder."""
        return submitit.helpers.DelayedSubmission(self, *arguments)


class SlurmHandle:
    """A job submitted to SLURM."""

    def __init__(self, cluster: Cluster, number: str) -> None:
        self.cluster, self.number = cluster, number

    def poll(self) -> str | None:
        """Return None while it waits or runs, then the error; if detached, that it is there."""
        state = self.cluster.state(self.number)
        if state not in OVER:
            return SUBMITTED if self.cluster.detach else None
        return {"COMPLETED": "", "CANCELLED": INTERRUPTED}.get(state, f"SLURM: {state}")

    def interrupt(self) -> None:
        """Cancel it; a started run is marked as interrupted."""
        _scancel("--state=PENDING", self.number)
        _scancel("--signal=INT", self.number)

    def kill(self) -> None:
        """Cancel it."""
        _scancel(self.number)


class Cluster:
    """Submits jobs and knows their states.

    Args:
        folder: the sweep's; submitit's own files go into ``slurm`` in it.
        detach: whether the jobs are left alone once they are submitted.
        options: see ``conf/hydra/launcher/slurm.yaml``.

    Raises:
        ConfigError: no SLURM here, or an option that it does not know.
        DataError: others may write to the folder of the jobs.
    """

    def __init__(
        self,
        folder: Path,
        detach: bool = False,
        *,
        timeout_min: int,
        max_requeues: int,
        setup: Sequence[str],
        additional: Mapping[str, Any],
        mem_gb: float | None,
        nodes: int | None = None,
        tasks_per_node: int | None = None,
        **options: Any,
    ) -> None:
        private = folder / SLURM  # the cluster unpickles files from it
        make_private(private)
        check_private(private, "give another sweep.name", "the jobs")
        try:
            self.executor = submitit.SlurmExecutor(private, max_num_timeout=max_requeues)
        except RuntimeError as error:
            raise ConfigError(f"hydra/launcher=slurm: {error}") from None
        parameters = {name: value for name, value in options.items() if value is not None}
        if mem_gb is not None:
            parameters["mem"] = f"{mem_gb:g}G"
        self.executor.update_parameters(
            job_name=f"seglab-{folder.name}",
            time=timeout_min,
            setup=list(setup),
            stderr_to_stdout=True,
            **parameters,
        )
        self.additional, self.shape = dict(additional), (nodes, tasks_per_node)
        self.detach, self.record, self.private = detach, private / JOBS, private.resolve()
        self.numbers: dict[str, str] = read_json(self.record) if self.record.is_file() else {}
        self.states = dict.fromkeys(self.numbers.values(), "PENDING")
        self.asked = -INTERVAL

    def submit(self, job: Job) -> SlurmHandle:
        """Put a job into SLURM's queue, or find it there from an earlier call.

        Raises:
            RunError: SLURM refused it; gives the reason.
            ConfigError: it asks for another number of tasks than of processes.
        """
        assert job.config is not None, "a job that can be composed"
        nodes, tasks = layout(job.config.trainer, *self.shape)
        several = nodes * tasks > 1
        self.executor.update_parameters(
            nodes=nodes,
            ntasks_per_node=tasks,
            additional_parameters={"distribution": "block"} | self.additional
            if several
            else self.additional,
        )
        earlier = self.numbers.get(job.folder.name)
        if earlier is not None and self.state(earlier) not in OVER:
            return SlurmHandle(self, earlier)
        job.folder.mkdir(parents=True, exist_ok=True)
        where = job.folder.resolve(), job.overrides, Path.cwd()
        try:
            function = SlurmJob(self.private if several else None)
            submitted = self.executor.submit(function, job.config, *where)
        except FailedJobError as why:
            raise RunError(f"hydra/launcher=slurm: {one_line(why)}") from None
        self.states[submitted.job_id] = "PENDING"
        self.numbers[job.folder.name] = submitted.job_id
        write_json(self.record, self.numbers)
        return SlurmHandle(self, submitted.job_id)

    def state(self, number: str) -> str:
        """Return SLURM's state of a job; the last known state if SLURM no longer lists it."""
        if time.monotonic() - self.asked > INTERVAL:
            self.asked = time.monotonic()
            self._ask()
        return self.states[number]

    def _ask(self) -> None:
        # squeue, because sacct needs an accounting database, which not every cluster has.
        command = ["squeue", "--noheader", "--states=all", "--format=%i %T"]
        command.append(f"--user={os.environ.get('USER') or getpass.getuser()}")
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            return  # the controller is busy; retried at the next poll
        found = dict(line.split() for line in answer.stdout.splitlines())
        for number, before in self.states.items():
            # Ended jobs disappear after minutes; their folders have the status.
            gone = before if before in OVER else "COMPLETED"
            self.states[number] = found.get(number, gone)


def _scancel(*arguments: str) -> None:
    subprocess.run(["scancel", "--quiet", *arguments], capture_output=True, check=False)
