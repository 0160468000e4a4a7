"""``seglab train -m``: a sweep from one line of configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import partial
from itertools import product
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from seglab.config.compose import compose_sweep
from seglab.errors import ConfigError, RunError
from seglab.runtime.links import refuse_links
from seglab.schema import SweepConfig, check_values
from seglab.sweep.engine import Sweep
from seglab.sweep.jobs import LOCK
from seglab.sweep.options import checked_options


def sweep(overrides: list[str], dry_run: bool = False) -> None:
    """Run ``seglab train -m`` and show the results.

    Raises:
        SeglabError: the sweep as a whole is wrong, or some jobs did not finish; names them.
        KeyboardInterrupt: it was interrupted; the same command resumes it.
    """
    console = Console()
    master, given = compose_sweep(overrides)
    if master.sweep.name is None:
        OmegaConf.update(master, "sweep.name", f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    check_values(SweepConfig(str(master.sweep.name)), "sweep.")
    folder, params = Path(master.hydra.sweep.dir), master.hydra.sweeper.get("params") or ()
    keys = [o.key_or_group for o in given if o.is_sweep_override() or o.key_or_group in params]
    launcher, search = (_part(master, kind) for kind in ("launcher", "sweeper"))
    refuse_links(folder)
    jobs = Sweep(folder, keys, console, launcher, dry_run)
    with nullcontext() if dry_run else _owned(folder):
        try:
            search(jobs, given)
        except BaseException:
            jobs.show()
            raise
    jobs.finish()


def _part(master: DictConfig, kind: str) -> Callable[..., Any]:
    """Return the launcher or sweeper of a composed sweep, as a function of the jobs.

    Hydra's plugin discovery, which scans every installed package, is not used.

    Raises:
        ConfigError: it is one of Hydra's own, needs a package that is not installed, or an option
            is unknown or wrong.
    """
    target, options = checked_options(kind, master.hydra[kind])
    options.pop("params", None)
    return partial(resolve_name(target), **options)


def grid(sweep: Sweep, overrides: Sequence[Override]) -> None:
    """Run all combinations of the values given; a job whose configuration is wrong fails alone.

    Raises:
        ConfigError: a range without steps.
    """
    choices = []
    for one in overrides:
        key = one.get_key_element()
        if not one.is_sweep_override():
            values: Iterable[str] = [one.get_value_element_as_str()]
        elif one.is_discrete_sweep():
            values = one.sweep_string_iterator()
        else:
            raise ConfigError(f"{one.input_line}: an interval has no steps; give search=optuna")
        choices.append([f"{key}={value}" for value in values])
    sweep.launch([*product(*choices)])


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Lock a sweep's folder; remove it if it stays empty.

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
