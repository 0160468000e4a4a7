"""Jobs on this machine: concurrency, and the threads and GPUs of each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from seglab.errors import RunError
from seglab.run.paths import LOG
from seglab.run.settings import read_settings
from seglab.run.status import FINISHED
from seglab.runtime.cores import cores
from seglab.runtime.launch import WANDB, Process, ranks, visible_devices, warm
from seglab.sweep.engine import Source, Sweep
from seglab.sweep.jobs import Job
from seglab.sweep.worker import work


class Leases:
    """Assigns GPUs to jobs; does nothing unless there are several.

    Args:
        devices: what ``CUDA_VISIBLE_DEVICES`` may name.
        each: the number of GPUs per job.
    """

    def __init__(self, devices: Sequence[str], each: int = 1) -> None:
        self.free = list(devices) if len(devices) > 1 else []
        self.each = each
        self.slots = len(self.free) // each if self.free else None

    def acquire(self) -> str | None:
        """Reserve the GPUs of a job; None means no assignment."""
        if not self.free:
            return None
        lent, self.free = self.free[: self.each], self.free[self.each :]
        return ",".join(lent)

    def release(self, lent: str | None) -> None:
        """Release the GPUs of a job."""
        self.free += lent.split(",") if lent else []


class LeasedProcess(Process):
    """A job's process, which releases its GPUs at the end."""

    def __init__(self, job: Job, leases: Leases) -> None:
        self.leases, self.lent = leases, leases.acquire()
        arguments = (job.config, job.folder, job.overrides, Path.cwd())
        super().__init__(work, arguments, job.folder / LOG, self.lent)

    def poll(self) -> str | None:
        """Return None while it runs, then how it ended."""
        how = super().poll()
        if how is not None:
            self.leases.release(self.lent)
            self.lent = None
        return how


def launch(sweep: Sweep, source: Source, n_jobs: int | None) -> None:
    """Run each job in its own process, forked from a warm parent; see ``conf/hydra/launcher``.

    Args:
        sweep: shows them and collects their outcomes.
        source: gives the jobs.
        n_jobs: jobs at a time; None means one, or one per GPU that a job asks for.
    """
    jobs = [job for job in source.examples if job.config is not None and job.state != FINISHED]
    configs = [job.config for job in jobs if job.config is not None]
    if configs:
        warm(WANDB if any(config.uses_wandb for config in configs) else ())
    wanting = [config for config in configs if config.trainer.accelerator != "cpu"]
    devices: list[str] = []
    if wanting:
        with ProcessPoolExecutor(1, mp_context=warm()) as pool:
            devices = pool.submit(visible_devices).result()
    each = max((ranks(config.trainer) for config in wanting), default=1)
    leases = Leases(devices, each)
    slots = n_jobs or leases.slots or 1
    if leases.slots is not None:
        slots = min(slots, max(1, leases.slots))
    if slots > 1 and configs:
        assigned = [assign_threads(job, slots).config for job in jobs]
        threads = sorted({config.trainer.threads or 1 for config in assigned if config})
        each_has = " or ".join(str(number) for number in threads)
        sweep.say(f"{slots} jobs at a time, trainer.threads={each_has}")

    def start(job: Job) -> LeasedProcess:
        job.folder.mkdir(parents=True, exist_ok=True)
        return LeasedProcess(assign_threads(job, slots), leases)

    sweep.run(source, slots, start)


def assign_threads(job: Job, slots: int) -> Job:
    """Set a job's threads: its recorded number if it was interrupted, or its share of the cores.

    Another number of threads changes the last bits of a result.
    """
    if job.config is None or job.config.trainer.threads is not None:
        return job
    trainer = job.config.trainer
    share = max(1, cores() // (slots * ranks(trainer))) if slots > 1 else None
    trainer = replace(trainer, threads=recorded_threads(job) or share)
    return replace(job, config=replace(job.config, trainer=trainer))


def recorded_threads(job: Job) -> int | None:
    """Return the threads that an earlier attempt of a job had; None if there was none."""
    try:
        threads = read_settings(job.folder).get("trainer.threads")
    except RunError:  # none, or damaged: if it matters, the job says so
        return None
    return threads if isinstance(threads, int) and threads > 0 else None
