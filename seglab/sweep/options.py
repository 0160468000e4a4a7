"""The schema of ``hydra.sweeper`` and ``hydra.launcher``; the defaults are in conf/hydra.

Hydra leaves both open, so that ``hydra.sweeper.n_trials=abc`` would fail only where it is used.
Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from seglab.config.overrides import option_names, unknown, wrong_type
from seglab.errors import ConfigError
from seglab.schema import Bound, OneOf, check_values


@dataclass(frozen=True)
class Grid:
    """See ``conf/hydra/sweeper/grid.yaml``."""

    params: dict[str, Any] | None


@dataclass(frozen=True)
class Optuna:
    """See ``conf/hydra/sweeper/optuna.yaml``."""

    n_trials: Annotated[int, Bound(1)]
    objective: Any  # a name, or a list of them
    direction: Any
    pruner: Any  # a name or a node
    retry: bool
    sampler: Annotated[str, OneOf("tpe", "random")]
    storage: str | None
    seed: Annotated[int, Bound(0)]
    n_startup_trials: Annotated[int, Bound(0)]
    params: dict[str, Any] | None


@dataclass(frozen=True)
class Local:
    """See ``conf/hydra/launcher/local.yaml``."""

    n_jobs: Annotated[int | None, Bound(1)]


@dataclass(frozen=True)
class Ray:
    """See ``conf/hydra/launcher/ray.yaml``."""

    n_jobs: Annotated[int, Bound(1)]
    address: str | None
    num_cpus: Annotated[float, Bound(0)]
    num_gpus: Annotated[float, Bound(0)]


@dataclass(frozen=True)
class Slurm:
    """See ``conf/hydra/launcher/slurm.yaml``."""

    n_jobs: Annotated[int, Bound(1)]
    detach: bool
    timeout_min: Annotated[int, Bound(1)]
    nodes: Annotated[int | None, Bound(1)]
    tasks_per_node: Annotated[int | None, Bound(1)]
    cpus_per_task: Annotated[int, Bound(1)]
    gpus_per_node: Annotated[int | None, Bound(0)]
    mem_gb: Annotated[float | None, Bound(above=0)]
    partition: str | None
    signal_delay_s: Annotated[int, Bound(1)]
    max_requeues: Annotated[int, Bound(0)]
    setup: list[str]
    additional: dict[str, Any]


SCHEMAS = {
    "seglab.sweep.command.grid": Grid,
    "seglab.sweep.search.search": Optuna,
    "seglab.sweep.local.launch": Local,
    "seglab.sweep.ray.launch": Ray,
    "seglab.sweep.slurm.launch": Slurm,
}


def checked_options(kind: str, node: DictConfig) -> tuple[str, dict[str, Any]]:
    """Return the target of a composed sweeper or launcher, and its checked options.

    Raises:
        ConfigError: it is one of Hydra's own, or an option is unknown or wrong; names the key.
    """
    given: Any = OmegaConf.to_container(node, resolve=True)
    target = str(given.pop("_target_"))
    if target not in SCHEMAS:
        names = ", ".join(option_names(f"hydra/{kind}"))
        raise ConfigError(f"hydra/{kind}: {target} is not one of seglab's; available: {names}")
    schema, prefix = SCHEMAS[target], f"hydra.{kind}."
    try:
        typed = OmegaConf.merge(OmegaConf.structured(schema), given)
    except ConfigKeyError as error:
        known = [f"{prefix}{field.name}" for field in fields(schema)]
        raise unknown([f"{prefix}{error.full_key}"], known) from None
    except OmegaConfBaseException as error:
        raise wrong_type(error, prefix) from None
    check_values(OmegaConf.to_object(typed), prefix)
    options: Any = OmegaConf.to_container(typed)
    return target, options
