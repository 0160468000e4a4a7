"""Finds conf/ and experiments/, composes a configuration and checks it. Knows no torch.

Hydra composes; the dataclasses of :mod:`seglab.schema` check. A wrong key or type ends in a
:class:`~seglab.errors.ConfigError` that names the key and its nearest neighbours.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from seglab.data.classes import class_names
from seglab.errors import ConfigError
from seglab.schema import TrainConfig, check_values

T = TypeVar("T")

OPEN_NODES = ("model.net", "optimizer.algorithm", "callbacks")
"""Where a target's own arguments stand: the schema knows neither their names nor their types."""


@dataclass(frozen=True)
class Composed(Generic[T]):
    """A checked configuration: typed, as plain data, and the run folder that it asks for."""

    config: T
    plain: dict[str, Any]
    folder: Path
    overrides: tuple[str, ...]


def home() -> Path:
    """Return the folder that holds ``conf/`` and ``experiments/``: wheel's or checkout's."""
    package = Path(__file__).parent
    return package if (package / "conf").is_dir() else package.parent


def compose(command: str, schema: type[T], overrides: Sequence[str]) -> Composed[T]:
    """Compose ``conf/<command>.yaml`` with Hydra overrides and check it against ``schema``.

    Raises:
        ConfigError: an unknown key, group or option, a wrong type or an impossible value.
    """
    parsed = _parse(overrides)
    _check_options(parsed)
    with _hydra():
        try:
            composed = hydra_compose(command, [*overrides], return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise _diagnose(command, parsed, error) from None
        _check_open_nodes(command, parsed)
        return _checked(composed, schema, overrides)


def compose_own(
    command: str, schema: type[T], overrides: Sequence[str]
) -> tuple[Composed[T], list[str]]:
    """Compose a command that works on a checkpoint from its own keys; return the other overrides.

    Raises:
        ConfigError: a wrong override among its own.
    """
    names = {field.name for field in fields(schema)}  # type: ignore[arg-type]
    parsed = _parse(overrides)
    own = [o for o in parsed if o.key_or_group in names or o.key_or_group.startswith("hydra.")]
    rest = [str(o.input_line) for o in parsed if o not in own]
    return compose(command, schema, [str(o.input_line) for o in own]), rest


def override_stored(stored: dict[str, Any], overrides: Sequence[str]) -> TrainConfig:
    """Apply overrides to the configuration that a checkpoint holds, and check the result.

    A group choice such as ``data=voc2012`` replaces the group; any other key changes one value.

    Raises:
        ConfigError: an unknown key, group or option, a wrong type or an impossible value.
    """
    parsed = _parse(overrides)
    _check_options(parsed)
    config = OmegaConf.create(stored)
    for group in (o for o in parsed if _is_group(o.key_or_group)):
        if group.key_or_group not in stored or group.is_delete():
            raise ConfigError(f"{group.input_line}: cannot be applied to a checkpoint's config")
        with _hydra():
            try:
                fresh = hydra_compose("train", [str(group.input_line)])
            except HydraException as error:
                raise _diagnose("train", [group], error) from None
        config[group.key_or_group] = fresh[group.key_or_group]
    known = sorted(_dotted(config))
    for value in (o for o in parsed if not _is_group(o.key_or_group)):
        key = value.key_or_group
        if not value.is_add() and key not in known:
            raise _unknown(key, known)
        if value.is_delete():
            raise ConfigError(f"{value.input_line}: cannot be applied to a checkpoint's config")
        if _is_open(key):
            _check_type(key, OmegaConf.select(config, key), value.value())
        OmegaConf.update(config, key, value.value(), force_add=value.is_add())
    return _checked(config, TrainConfig, overrides, Path()).config


def _checked(
    composed: DictConfig, schema: type[T], overrides: Sequence[str], folder: Path | None = None
) -> Composed[T]:
    try:
        folder = folder or Path(OmegaConf.select(composed, "hydra.run.dir"))
        with open_dict(composed):
            composed.pop("hydra", None)
        typed = OmegaConf.merge(OmegaConf.structured(schema), composed)
        data = OmegaConf.select(typed, "data")
        if data is not None:
            data.classes = list(
                class_names(
                    data.classes,
                    synthetic=data.synth is not None,
                    year=data.year,
                    root=data.root,
                )
            )
        if missing := sorted(OmegaConf.missing_keys(typed)):
            raise ConfigError(f"{missing[0]} is not set: give {missing[0]}=…")
        OmegaConf.resolve(typed)
        config: T = OmegaConf.to_object(typed)  # type: ignore[assignment]
    except ConfigKeyError as error:
        key = str(error.full_key)
        raise _unknown(key, sorted(_dotted(OmegaConf.structured(schema)))) from None
    except OmegaConfBaseException as error:
        raise _wrong_type(error) from None
    check_values(config)
    return Composed(config, OmegaConf.to_container(typed), folder, tuple(overrides))  # type: ignore[arg-type]


def _wrong_type(error: OmegaConfBaseException) -> ConfigError:
    key = str(error.full_key)
    message = (error.msg or str(error)).splitlines()[0]
    if "Incompatible value 'None'" in message:
        return ConfigError(f"{key} is not set: give {key}=…")
    for sign, right in _RIGHT_SHAPES.items():
        if sign in message:
            return ConfigError(f"{key}: must be {right.format(key=key)}")
    value = message.split("'")[1] if message.startswith("Value '") else ""
    for sign, right in _RIGHT_TYPES.items():
        if value and sign in message:
            return ConfigError(f"{key}={value}: must be {right}")
    return ConfigError(f"{key}: {message}")


_RIGHT_TYPES = {
    "converted to Integer": "a whole number",
    "converted to Float": "a number",
    "valid bool": "true or false",
}
"""What OmegaConf's messages say of a type, and what a user calls it."""

_RIGHT_SHAPES = {
    "not a ListConfig": "a list: {key}=[…]",
    "is not a subclass of": "a group of keys: {key}.NAME=…",
    "Cannot assign": "a group of keys: {key}.NAME=…",
    "is not Optional": "a group of keys: {key}.NAME=…",
}
"""The same for what is no single value."""


class _hydra:
    """Hydra's global state for the length of one composition, and the caller's after it."""

    def __enter__(self) -> None:
        os.environ["SEGLAB_HOME"] = str(home())  # hydra.searchpath reads it
        OmegaConf.register_new_resolver("len", len, replace=True)
        self.outer = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        self.context = initialize_config_dir(str(home() / "conf"), version_base="1.3")
        self.context.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self.context.__exit__(*exception)
        GlobalHydra.instance().hydra = self.outer


def _parse(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed = []
    for line in overrides:
        try:
            override = parser.parse_override(line)
        except HydraException as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{line!r} is not key=value: {reason}") from None
        if not override.key_or_group:
            raise ConfigError(f"{line!r} is not key=value: there is no key")
        if override.is_sweep_override():
            raise ConfigError(f"{line}: several values make several runs; give one")
        parsed.append(override)
    return parsed


def _group_folder(key: str) -> Path:
    return home() / key if key == "experiments" else home() / "conf" / key


def _is_group(key: str) -> bool:
    return "." not in key and not key.startswith("hydra") and _group_folder(key).is_dir()


def _check_options(parsed: Sequence[Override]) -> None:
    for override in parsed:
        key, value = override.key_or_group, override.value()
        if not _is_group(key) or override.is_delete():
            continue
        options = sorted(path.stem for path in _group_folder(key).glob("*.yaml"))
        options = [option for option in options if option != "base"]
        if str(value) not in options:
            close = difflib.get_close_matches(str(value), options, n=3) or options
            raise ConfigError(f"{override.input_line}: no such {key}; there is {', '.join(close)}")


def _check_open_nodes(command: str, parsed: Sequence[Override]) -> None:
    """Check values under an open node against the type of the value that they replace."""
    changed = [o for o in parsed if _is_open(o.key_or_group)]
    if not any(not o.is_add() and not o.is_delete() for o in changed):
        return
    before = _groups_only(command, parsed)
    for override in changed:
        if not override.is_delete():
            old = OmegaConf.select(before, override.key_or_group)
            _check_type(override.key_or_group, old, override.value())


def _is_open(key: str) -> bool:
    return key.startswith(tuple(f"{node}." for node in OPEN_NODES))


def _check_type(key: str, old: Any, new: Any) -> None:
    def kind(value: Any) -> str:
        if isinstance(value, bool):
            return "true or false"
        if isinstance(value, int | float):
            return "a number"
        if isinstance(value, str) or value is None:
            return "a string"
        if not isinstance(value, Sequence):
            return "a group of keys"
        numbers = all(kind(item) == "a number" for item in value)
        return "a list of numbers" if numbers else "a list"

    several = kind(old) == "a number" and kind(new) == "a list of numbers"  # one for each layer
    if old is not None and new is not None and kind(old) != kind(new) and not several:
        raise ConfigError(f"{key}={new}: must be {kind(old)}, such as {old}")
    if type(old) is int and isinstance(new, float):
        raise ConfigError(f"{key}={new}: must be a whole number, such as {old}")


def _groups_only(command: str, parsed: Sequence[Override]) -> DictConfig:
    groups = [str(o.input_line) for o in parsed if _is_group(o.key_or_group)]
    return hydra_compose(command, groups)


def _diagnose(command: str, parsed: Sequence[Override], error: Exception) -> ConfigError:
    """Say what is wrong with the overrides in our own words; Hydra's stay for the rest."""
    try:
        known = sorted(_dotted(_groups_only(command, parsed)))
    except (HydraException, OmegaConfBaseException) as inner:
        return ConfigError(" ".join(str(inner).split()))
    for override in parsed:
        key = override.key_or_group
        if key not in known and not override.is_add() and not key.startswith("hydra"):
            return _unknown(key, known)
    return ConfigError(" ".join(str(error).split()))


def _unknown(key: str, known: Sequence[str]) -> ConfigError:
    """Name the keys nearest to an unknown one: alike as a whole, or alike in their last part."""
    close = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    last = {name: name.rsplit(".", 1)[-1] for name in known}
    tail = key.rsplit(".", 1)[-1]
    alike = difflib.get_close_matches(tail, sorted(set(last.values())), n=2, cutoff=0.7)
    close += [name for part in alike for name in known if last[name] == part and name not in close]
    hint = (
        f"did you mean {' or '.join(close[:3])}?"
        if close
        else "seglab train --dry-run lists all keys"
    )
    return ConfigError(f"unknown key {key!r}: {hint}")


def _dotted(config: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every key, groups of keys included."""
    for key in config:
        yield f"{prefix}{key}"
        child = config._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            yield from _dotted(child, f"{prefix}{key}.")
