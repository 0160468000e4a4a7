"""Hydra's global state for one composition, and better errors than its own. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, Transformer
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from seglab.config.overrides import (
    REFUSALS,
    check_type,
    dotted,
    home,
    is_group,
    is_open,
    option_names,
    own_options,
    searchpath,
    unknown,
)
from seglab.errors import ConfigError, one_line, options


class initialized:
    """Initialise Hydra's global state for one composition, and restore the caller's."""

    def __enter__(self) -> None:
        OmegaConf.register_new_resolver("len", len, replace=True)
        OmegaConf.register_new_resolver("searchpath", searchpath, replace=True)
        self.outer = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        self.context = initialize_config_dir(str(home() / "conf"), version_base="1.3")
        self.context.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self.context.__exit__(*exception)
        GlobalHydra.instance().clear()
        if self.outer is not None:
            GlobalHydra.instance().initialize(self.outer)


def check_open_nodes(command: str, parsed: Sequence[Override]) -> None:
    """Check the type of each value under an open node against the value that it replaces."""
    changed = [o for o in parsed if is_open(o.key_or_group)]
    if not any(not o.is_add() and not o.is_delete() for o in changed):
        return
    before = _groups_only(command, parsed)
    for override in changed:
        if not override.is_delete():
            # An interpolated value, such as the number of classes, is not resolved yet.
            old = OmegaConf.select(before, override.key_or_group, throw_on_resolution_failure=False)
            check_type(override.key_or_group, old, override.value())


def _groups_only(command: str, parsed: Sequence[Override], *, hydra: bool = False) -> DictConfig:
    """Compose the group choices alone; in a sweep, the first value of each."""
    groups = []
    for override in parsed:
        if not (is_group(override.key_or_group) or "/" in override.key_or_group):
            continue
        if override.is_sweep_override():
            option = next(override.sweep_iterator(transformer=Transformer.encode))
            groups.append(f"{override.get_key_element()}={option}")
        else:
            groups.append(str(override.input_line))
    return _composed_once(command, tuple(groups), hydra, tuple(own_options()))


@lru_cache(maxsize=32)
def _composed_once(
    command: str, groups: tuple[str, ...], hydra: bool, own: tuple[tuple[str, int, int], ...]
) -> DictConfig:
    """Compose group choices, once for the jobs of a sweep that make the same ones.

    Args:
        command: names the file of settings.
        groups: the choices, as on the command line.
        hydra: whether Hydra's own node is included.
        own: the user's options as they are now; others are composed anew.
    """
    composed = hydra_compose(command, list(groups), return_hydra_config=hydra)
    OmegaConf.set_readonly(composed, True)
    return composed


def diagnose(
    command: str, schema: type[Any], parsed: Sequence[Override], error: Exception
) -> ConfigError:
    """Return an error that names the unknown keys, or else has Hydra's own message."""
    try:
        known = sorted(dotted(_groups_only(command, parsed, hydra=True)))
    except REFUSALS as inner:
        return _missing_option(parsed, inner) or ConfigError(one_line(inner))
    addable = {*known, *dotted(OmegaConf.structured(schema))}
    keys = {o.key_or_group: o for o in parsed if "/" not in o.key_or_group}
    wrong = [
        key
        for key, override in keys.items()
        if not (is_group(key) or key in (addable if override.is_add() else known))
        and not (override.is_add() and (is_open(key) or key.startswith("hydra.")))
        and f"{key.split('.')[0]}._target_" not in keys  # Hydra's own message says what is wrong
    ]
    by_default = {*dotted(_groups_only(command, []))} if wrong else set()
    for key in wrong:
        group = key.split(".")[0]
        if group in keys and key in by_default:
            option = keys[group].input_line
            return ConfigError(f"{key}: {option} has no such key, only the default {group} has")
    return unknown(wrong, known) if wrong else ConfigError(one_line(error))


def _missing_option(parsed: Sequence[Override], error: Exception) -> ConfigError | None:
    """Return the error for an option that a file asks for and that does not exist."""
    option = error.missing_cfg_file if isinstance(error, MissingConfigException) else None
    if option is None or "/" not in option:
        return None
    group, _, name = option.rpartition("/")
    chosen = [str(o.input_line) for o in parsed if is_group(o.key_or_group)]
    asking = f", which {' or '.join(chosen)} asks for" if chosen else ""
    near = options(name, option_names(group))
    return ConfigError(f"{group}={name}: no such option{asking}; {near}")
