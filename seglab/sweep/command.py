"""``seglab train -m``: a sweep from one line of configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf
from rich.console import Console

from seglab.config.compose import multirun
from seglab.config.overrides import parse
from seglab.errors import RunError
from seglab.runtime.links import refuse_links
from seglab.schema import SweepConfig, check_values
from seglab.sweep.engine import Sweep
from seglab.sweep.jobs import LOCK


def sweep(overrides: list[str], dry_run: bool = False) -> None:
    """Run ``seglab train -m`` and show what came of it.

    Raises:
        SeglabError: says what is wrong with the sweep as a whole, or which jobs did not finish.
        KeyboardInterrupt: it was interrupted; the same command again goes on.
    """
    console = Console()
    with multirun(overrides) as (master, context):
        if master.sweep.name is None:
            OmegaConf.update(master, "sweep.name", f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
        check_values(SweepConfig(str(master.sweep.name)), "sweep.")
        given = list(master.hydra.overrides.task)
        keys = [one.key_or_group for one in parse(given, several=True) if one.is_sweep_override()]
        keys += list(master.hydra.sweeper.get("params") or ())
        refuse_links(Path(master.hydra.sweep.dir))
        jobs = Sweep(Path(master.hydra.sweep.dir), keys, console, dry_run)
        sweeper = Plugins.instance().instantiate_sweeper(
            hydra_context=context, task_function=jobs, config=master
        )
        with nullcontext() if dry_run else _owned(jobs.folder):
            try:
                sweeper.sweep(given)
            except KeyboardInterrupt:
                jobs.show()
                raise
    jobs.finish()


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Hold a sweep's folder; where nothing came of the sweep, none is left.

    Raises:
        RunError: another process works on the sweep, or the folder cannot be written.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"sweep.name={folder.name}: another process is working on this sweep"
        ) from None
    except OSError as error:
        raise RunError(f"{folder}: not writable: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()
        if {one.name for one in folder.iterdir()} <= {path.name}:
            path.unlink(missing_ok=True)
            folder.rmdir()
