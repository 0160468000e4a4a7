"""``seglab train -m``: a sweep from one line of configuration."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from hydra.core.plugins import Plugins
from omegaconf import open_dict
from rich.console import Console

from seglab.config import multirun
from seglab.overrides import parse
from seglab.schema import SweepConfig, check_values
from seglab.sweep.engine import Sweep


def sweep(overrides: list[str], dry_run: bool = False) -> None:
    """Run ``seglab train -m`` and show what came of it.

    Raises:
        SeglabError: says what is wrong with the sweep as a whole, or which jobs did not finish.
        KeyboardInterrupt: it was interrupted; the same command again goes on.
    """
    console = Console()
    with multirun(overrides) as (master, context):
        if master.sweep.name is None:
            with open_dict(master):
                master.sweep.name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        check_values(SweepConfig(str(master.sweep.name)), "sweep.")
        given = list(master.hydra.overrides.task)
        keys = [one.key_or_group for one in parse(given, several=True) if one.is_sweep_override()]
        keys += list(master.hydra.sweeper.get("params") or ())
        jobs = Sweep(Path(master.hydra.sweep.dir), keys, console, dry_run)
        sweeper = Plugins.instance().instantiate_sweeper(
            hydra_context=context, task_function=jobs, config=master
        )
        try:
            sweeper.sweep(given)
        except KeyboardInterrupt:
            jobs.show()
            raise
    jobs.finish()
