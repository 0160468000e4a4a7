"""Which jobs a command line makes, and which launchers and ranges it may name."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from seglab.config.compose import compose_sweep
from seglab.errors import ConfigError
from seglab.sweep.command import grid, sweep
from seglab.sweep.engine import Source, Sweep
from seglab.sweep.jobs import Job


def jobs_of(folder: Path, *overrides: str) -> list[str]:
    started: list[Job] = []

    def launcher(sweep: Sweep, source: Source) -> None:
        started.extend(source.examples)

    _, given = compose_sweep(overrides)
    grid(Sweep(folder, [], Console(quiet=True), launcher), given)
    return [" ".join(job.overrides) for job in started]


def test_a_grid_has_every_combination_and_the_command_line_wins_over_params(
    tmp_path: Path,
) -> None:
    params = "+hydra.sweeper.params={seed: '0,1', optimizer.lr: '0.1,0.2'}"
    assert jobs_of(tmp_path, params, "seed=range(5,7)") == [
        "seed=5 optimizer.lr=0.1",
        "seed=5 optimizer.lr=0.2",
        "seed=6 optimizer.lr=0.1",
        "seed=6 optimizer.lr=0.2",
    ]


def test_a_glob_sweeps_over_the_options_of_a_group(tmp_path: Path) -> None:
    assert jobs_of(tmp_path, "model=glob(fcn*s)") == ["model=fcn16s", "model=fcn32s", "model=fcn8s"]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("optimizer.lr=interval(0,1)", "an interval has no steps; give search=optuna"),
        (
            "hydra/launcher=basic",
            r"hydra/launcher: hydra\..* not one of seglab's; available: local",
        ),
        ("+hydra.launcher.foo=1", "hydra.launcher: got an unexpected keyword argument 'foo'"),
        ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs=0: must be a whole number, at least 1"),
    ],
)
def test_what_a_sweep_cannot_do_is_refused_by_name(
    override: str, line: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=line):
        sweep([override, f"hydra.sweep.dir={tmp_path}"], dry_run=True)
