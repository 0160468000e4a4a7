"""The configuration that a checkpoint holds, with overrides. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from omegaconf import OmegaConf

from seglab.config.hydra import diagnose, initialized
from seglab.config.overrides import (
    REFUSALS,
    check_names,
    check_options,
    check_type,
    dotted,
    is_group,
    is_open,
    parse,
    unknown,
)
from seglab.config.stored_classes import check_classes
from seglab.config.validate import validate
from seglab.errors import ConfigError, RunError
from seglab.run.paths import ARTIFACT
from seglab.schema import TrainConfig


def check_checkpoint(reference: str) -> None:
    """Check that a checkpoint exists, before torch is imported.

    Raises:
        RunError: no such file.
    """
    if not reference.startswith(ARTIFACT) and not Path(reference).exists():
        raise RunError(f"checkpoint={reference}: no such file")


def check_root(overrides: Sequence[str]) -> None:
    """Check an override of ``data.root`` before the checkpoint is read.

    Raises:
        ConfigError: no such folder.
    """
    for override in parse(overrides):
        root = override.value() if override.key_or_group == "data.root" else None
        if isinstance(root, str) and not Path(root).is_dir():
            raise ConfigError(f"data.root={root}: no such folder")


def override_stored(stored: dict[str, Any], overrides: Sequence[str]) -> TrainConfig:
    """Apply overrides to the configuration that a checkpoint holds, and check the result.

    A group choice such as ``data=voc2012`` replaces the group; any other key changes one value.
    ``trainer.threads=null`` means the recorded number.

    Raises:
        ConfigError: an unknown key, group or option, a wrong type or an impossible value; data with
            another number or order of classes.
    """
    parsed = parse(overrides)
    check_options(parsed)
    config = OmegaConf.create(stored)
    for group in (o for o in parsed if is_group(o.key_or_group)):
        check_names()
        if group.key_or_group not in stored or group.is_delete():
            raise ConfigError(f"{group.input_line}: cannot be applied to a checkpoint's config")
        with initialized():
            try:
                fresh = hydra_compose("train", [str(group.input_line)])
            except REFUSALS as error:
                raise diagnose("train", TrainConfig, [group], error) from None
        config[group.key_or_group] = fresh[group.key_or_group]
    known = sorted(dotted(config))
    values = [o for o in parsed if not is_group(o.key_or_group)]
    if wrong := [o.key_or_group for o in values if not o.is_add() and o.key_or_group not in known]:
        raise unknown(wrong, known)
    for value in values:
        key = value.key_or_group
        if value.is_delete():
            raise ConfigError(f"{value.input_line}: cannot be applied to a checkpoint's config")
        if is_open(key):
            check_type(key, OmegaConf.select(config, key), value.value())
        OmegaConf.update(config, key, value.value(), force_add=value.is_add())
    if OmegaConf.select(config, "trainer.threads") is None:
        OmegaConf.update(config, "trainer.threads", stored["trainer"]["threads"])
    checked = validate(config, TrainConfig)[0]
    given = [str(o.input_line) for o in parsed if o.key_or_group.split(".")[0] == "data"]
    if given and stored_classes(stored) and checked.data.classes:
        check_classes(stored_classes(stored), checked.data.classes, " ".join(given))
    return checked


def stored_classes(stored: dict[str, Any]) -> list[str]:
    """Return the classes of the configuration that a checkpoint holds; empty where unknown."""
    names = stored["data"].get("classes")
    return [str(name) for name in names] if isinstance(names, list) else []
