"""Which jobs a command line makes, and which launchers and ranges it may name."""

from __future__ import annotations

import re
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
            "hydra/launcher=basic: no such hydra/launcher; available: local, ray, slurm",
        ),
        ("hydra/launcher=locl", "hydra/launcher=locl: no such hydra/launcher; nearest: local"),
        (
            "hydra.launcher._target_=os.system",
            "hydra/launcher: os.system is not one of seglab's; available: local, ray, slurm",
        ),
        (
            "hydra.launcher=3",
            "hydra.launcher=3: give hydra/launcher=NAME, one of local, ray, slurm",
        ),
        ("hydra.sweeper=3", "hydra.sweeper=3: give hydra/sweeper=NAME, one of grid, optuna"),
        ("+hydra.launcher.foo=1", "unknown key 'hydra.launcher.foo': "),
        ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs=0: must be at least 1"),
        ("hydra.launcher.n_jobs=1.5", "hydra.launcher.n_jobs=1.5: must be a whole number"),
        ("hydra.sweeper.params=3", "hydra.sweeper.params: must be a group of keys"),
        ("hydra.sweeper.params=[1]", "hydra.sweeper.params: must be a group of keys"),
    ],
)
def test_what_a_sweep_cannot_do_is_refused_by_name(
    override: str, line: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=line):
        sweep([override, f"hydra.sweep.dir={tmp_path}"], dry_run=True)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["search=optuna", "hydra.sweeper.n_trials=abc"], "n_trials=abc: must be a whole number"),
        (["search=optuna", "hydra.sweeper.n_trials=1.5"], "n_trials=1.5: must be a whole number"),
        (["search=optuna", "hydra.sweeper.n_trials=0"], "n_trials=0: must be at least 1"),
        (["search=optuna", "hydra.sweeper.n_trials=null"], "n_trials is not set: give hydra"),
        (["search=optuna", "hydra.sweeper.seed=abc"], "seed=abc: must be a whole number"),
        (["search=optuna", "hydra.sweeper.n_startup_trials=abc"], "n_startup_trials=abc: must be"),
        (["search=optuna", "hydra.sweeper.retry=perhaps"], "retry=perhaps: must be true or false"),
        (["search=optuna", "hydra.sweeper.sampler=cma"], "sampler=cma: must be one of tpe, random"),
        (["hydra/launcher=slurm", "hydra.launcher.setup=3"], "setup=3: must be a list"),
        (["hydra/launcher=slurm", "hydra.launcher.timeout_min=soon"], "timeout_min=soon: must be"),
        (["hydra/launcher=ray", "hydra.launcher.num_gpus=-1"], "num_gpus=-1.*: must be at least 0"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_wrong_option_of_a_sweeper_or_launcher_is_named(
    given: list[str], line: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"^hydra\.(sweeper|launcher)\.{line}"):
        sweep([*given, "seed=0,1", f"hydra.sweep.dir={tmp_path}"], dry_run=True)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            "objective=[] hydra.sweeper.direction=[]",
            r"objective=\[\]: must be the name of a metric",
        ),
        ("objective=3", "objective=3: must be the name of a metric"),
        ("objective=val/miou", "objective=val/miou: no run has this metric; nearest: val/mIoU"),
        ("objective=val/mask_AP", "objective=val/mask_AP: no run has this metric"),
        (
            "objective=best/val/mIoU hydra.sweeper.pruner=asha",
            "pruner=asha: best/val/mIoU is not a metric of each validation",
        ),
        ("direction=3", "direction=3: must be maximize or minimize"),
        ("pruner=3", "pruner=3: must be a name, null, or a _target_"),
    ],
)
def test_a_wrong_objective_or_pruner_is_named(given: str, line: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(ConfigError, match=f"^hydra.sweeper.{line}"):
        sweep(["search=optuna", *f"hydra.sweeper.{given}".split(), "seed=0,1",
               f"hydra.sweep.dir={tmp_path}"], dry_run=True)  # fmt: skip


@pytest.mark.parametrize("option", ["grid", "optuna", "local", "ray", "slurm"])
def test_the_schema_of_an_option_has_the_keys_of_its_file(option: str) -> None:
    from dataclasses import fields

    import yaml

    from seglab.config.overrides import home
    from seglab.sweep.options import SCHEMAS

    (path,) = (home() / "conf/hydra").glob(f"*/{option}.yaml")
    node = yaml.safe_load(path.read_text())
    assert [field.name for field in fields(SCHEMAS[node.pop("_target_")])] == [*node]


def test_a_grid_without_a_right_job_names_each_error(tmp_path: Path) -> None:
    given = ["data.crop_size=0,-1,-2,-3", f"hydra.sweep.dir={tmp_path}"]
    with pytest.raises(ConfigError) as error:
        sweep(given, dry_run=True)
    assert str(error.value).startswith("data.crop_size=0: must be at least 1; data.crop_size=-1: ")
    assert str(error.value).endswith("data.crop_size=-2: must be at least 1; and 1 more")


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("foo", "storage=foo: not the URL of a database, such as sqlite:///study.db"),
        ("sqlite:////nowhere/x.db", "storage=sqlite:////nowhere/x.db: cannot be opened: unable to"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_named(url: str, line: str) -> None:
    pytest.importorskip("optuna")
    from seglab.sweep.search.storage import open_storage

    with pytest.raises(ConfigError, match=f"^hydra.sweeper.{re.escape(line)}"):
        open_storage(url)
