"""Jobs as tasks of Ray, on one machine or a cluster of them with shared folders."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seglab.errors import ConfigError
from seglab.run.paths import LOG
from seglab.run.status import INTERRUPTED
from seglab.schema import TrainConfig
from seglab.sweep.engine import Source, Sweep
from seglab.sweep.jobs import Job
from seglab.sweep.worker import work

try:
    import ray
except ImportError:
    raise ConfigError("hydra/launcher=ray needs Ray: pip install 'seglab[ray]'") from None


def launch(sweep: Sweep, source: Source, n_jobs: int, **options: Any) -> None:
    """Hand each job to Ray and wait for them; see ``conf/hydra/launcher/ray.yaml``."""
    sweep.run(source, n_jobs, Cluster(**options).submit)


def _task(config: TrainConfig, folder: Path, overrides: Sequence[str], modules: Path) -> None:
    """Train in a process of Ray's that serves this job alone."""
    from seglab.runtime.worker import write_to

    write_to(str(folder / LOG))
    work(config, folder, overrides, modules)


class RayJob:
    """A job submitted to Ray."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference

    def poll(self) -> str | None:
        """Return None while it waits or runs, then the error."""
        ready, _ = ray.wait([self.reference], timeout=0)
        if not ready:
            return None
        try:
            ray.get(self.reference)
        except (ray.exceptions.TaskCancelledError, KeyboardInterrupt):
            return INTERRUPTED
        except ray.exceptions.WorkerCrashedError:
            return "killed, or crashed: its process is gone"
        except Exception as error:
            if isinstance(getattr(error, "cause", None), KeyboardInterrupt):
                return INTERRUPTED
            return f"failed: {type(error).__name__}"
        return ""

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        ray.cancel(self.reference)

    def kill(self) -> None:
        """End it."""
        ray.cancel(self.reference, force=True)


class Cluster:
    """Hands jobs to Ray; see ``conf/hydra/launcher/ray.yaml``."""

    def __init__(self, *, address: str | None, num_cpus: float, num_gpus: float) -> None:
        if not ray.is_initialized():
            environment = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
            ray.init(
                address=address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": environment},
            )
        # One process per job and no retries: running the same command again resumes it.
        needs: dict[str, Any] = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        self.remote = ray.remote(max_calls=1, max_retries=0, **needs)(_task)

    def submit(self, job: Job) -> RayJob:
        """Hand a job to Ray."""
        assert job.config is not None
        job.folder.mkdir(parents=True, exist_ok=True)
        where = job.folder.resolve(), job.overrides, Path.cwd()
        return RayJob(self.remote.remote(job.config, *where))
