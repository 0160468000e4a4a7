"""Finds conf/ and experiments/, composes a configuration and checks it. Imports no torch.

Hydra composes; the dataclasses of :mod:`seglab.schema` check. A wrong key or type raises a
:class:`~seglab.errors.ConfigError` that names the key and its nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from hydra import compose as hydra_compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from seglab.config.hydra import check_open_nodes, diagnose, initialized
from seglab.config.overrides import (
    REFUSALS,
    check_names,
    check_options,
    option_names,
    parse,
    wrong_type,
)
from seglab.config.validate import leave_own_keys, validate
from seglab.errors import ConfigError
from seglab.run.settings import flatten
from seglab.runtime.nodes import everywhere
from seglab.schema import TrainConfig

T = TypeVar("T")

CHECKPOINT_COMMANDS = ("evaluate", "predict", "export")
"""Their configuration comes from a checkpoint; the current folder has only what is asked for."""


@dataclass(frozen=True)
class Composed(Generic[T]):
    """A checked configuration, typed and as plain data, and its run folder."""

    config: T
    plain: dict[str, Any]
    folder: Path
    overrides: tuple[str, ...]


def compose(command: str, schema: type[T], overrides: Sequence[str]) -> Composed[T]:
    """Compose ``conf/<command>.yaml`` with Hydra overrides and check it against ``schema``.

    Raises:
        ConfigError: an unknown key, group or option, a wrong type or an impossible value.
    """
    parsed = parse(overrides)
    if command not in CHECKPOINT_COMMANDS:
        check_names()
    check_options(parsed)
    with initialized():
        try:
            composed = hydra_compose(command, [*overrides], return_hydra_config=True)
        except REFUSALS as error:
            raise diagnose(command, schema, parsed, error) from None
        check_open_nodes(command, parsed)
        leave_own_keys(composed, schema, parsed)
        try:
            folder = Path(OmegaConf.select(composed, "hydra.run.dir"))
        except OmegaConfBaseException as error:
            raise wrong_type(error) from None
        with open_dict(composed):
            composed.pop("hydra")
        config, plain = validate(composed, schema)
    return _agreed(Composed(config, plain, folder, tuple(overrides)))


def _agreed(own: Composed[T]) -> Composed[T]:
    """Return the configuration with the folder of the first process of a job by torchrun.

    A folder named after the time differs between processes.

    Raises:
        ConfigError: the processes were started with different settings; names the first key.
    """
    settings = dict(flatten(own.plain))
    first, *others = everywhere("settings", [str(own.folder), settings])
    for number, (_, other) in enumerate(others, 1):
        for key in (key for key in settings if other.get(key) != first[1].get(key)):
            raise ConfigError(
                f"{key}={first[1].get(key)} for the first process and {other.get(key)} for number "
                f"{number}: torchrun must start all with the same settings"
            )
    return replace(own, folder=Path(first[0]))


def compose_sweep(overrides: Sequence[str]) -> tuple[DictConfig, list[Override]]:
    """Compose the configuration shared by the jobs of a sweep, as Hydra does under ``-m``.

    Returns:
        The configuration, and the overrides of the jobs: ``hydra.sweeper.params``, then those of
        the command line, which take precedence.

    Raises:
        ConfigError: not of the form key=value, or an unknown key, group or option of Hydra.
    """
    parsed = parse(overrides, several=True)
    check_names()
    check_options([override for override in parsed if not override.is_sweep_override()])
    with initialized():
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        try:
            master = hydra.compose_config("train", [*overrides], run_mode=RunMode.MULTIRUN)
        except REFUSALS as error:
            raise diagnose("train", TrainConfig, parsed, error) from None
        for kind in ("launcher", "sweeper"):
            node: Any = master.hydra[kind]
            if not isinstance(node, DictConfig):
                names = ", ".join(option_names(f"hydra/{kind}"))
                raise ConfigError(f"hydra.{kind}={node!r}: give hydra/{kind}=NAME, one of {names}")
        params: Any = master.hydra.sweeper.get("params")
        if params is not None and not OmegaConf.is_dict(params):
            raise ConfigError(
                "hydra.sweeper.params: must be a group of keys, such as {seed: '0,1'}"
            )
        values = [f"{key}={value}" for key, value in (params or {}).items()]
        lines = [*values, *master.hydra.overrides.task]
        overridden = parse(lines, several=True, loader=hydra.config_loader)
    return master, list({override.get_key_element(): override for override in overridden}.values())


def compose_own(
    command: str, schema: type[T], overrides: Sequence[str]
) -> tuple[Composed[T], list[str]]:
    """Compose the command's own keys; return the overrides meant for the checkpoint's config.

    Raises:
        ConfigError: one of its own overrides is wrong.
    """
    names = {field.name for field in fields(schema)}  # type: ignore[arg-type]
    parsed = parse(overrides)
    own = [o for o in parsed if o.key_or_group in names or o.key_or_group.startswith("hydra.")]
    rest = [str(o.input_line) for o in parsed if o not in own]
    return compose(command, schema, [str(o.input_line) for o in own]), rest
