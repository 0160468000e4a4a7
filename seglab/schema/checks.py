"""Checks the values of a configuration, and finds the marks of its keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from typing import Any, get_args, get_type_hints

from seglab.errors import ConfigError
from seglab.schema.commands import EvaluateConfig, ScoreConfig
from seglab.schema.rules import Bound, Length, Mark, Name, Numbers, OneOf, Range, ZeroOr
from seglab.schema.run import TrainConfig


@cache
def marked(mark: Mark) -> tuple[str, ...]:
    """Return the dotted names of the keys, and groups of keys, of a run folder that bear a mark."""
    schemas = (TrainConfig, EvaluateConfig, ScoreConfig)
    return tuple(dict.fromkeys(key for schema in schemas for key in _marked(mark, schema, "")))


def _marked(mark: Mark, schema: Any, prefix: str) -> Iterator[str]:
    for name, hint in get_type_hints(schema, include_extras=True).items():
        key = prefix + name
        if mark in getattr(hint, "__metadata__", ()):
            yield key
            continue
        for part in (hint, *get_args(hint)):  # an optional group is a union
            if is_dataclass(part):
                yield from _marked(mark, part, f"{key}.")


@cache
def defaults() -> dict[str, Any]:
    """Return the default values of keys that a run's configuration lacks."""
    return dict(_defaults(TrainConfig, ""))


def _defaults(schema: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(schema, include_extras=True)
    for spec in fields(schema):
        if spec.default is not MISSING:
            yield prefix + spec.name, spec.default
        elif spec.default_factory is not MISSING:
            value = spec.default_factory()
            if isinstance(value, dict) and value:
                yield from ((f"{prefix}{spec.name}.{name}", one) for name, one in value.items())
            else:
                yield prefix + spec.name, value
        for part in (hints[spec.name], *get_args(hints[spec.name])):
            if is_dataclass(part):
                yield from _defaults(part, f"{prefix}{spec.name}.")


def has_mark(key: str, mark: Mark) -> bool:
    """Return whether a dotted key, or a group that it is in, bears a mark."""
    return any(key == name or key.startswith(f"{name}.") for name in marked(mark))


def check_values(config: Any, prefix: str = "") -> None:
    """Check every bound and choice declared in the dataclass ``config``, recursively.

    Raises:
        ConfigError: names the key, its value and what would be right.
    """
    hints = get_type_hints(type(config), include_extras=True)
    for spec in fields(config):
        key, value = prefix + spec.name, getattr(config, spec.name)
        rules = getattr(hints[spec.name], "__metadata__", ())
        for item in value if isinstance(value, list) else [value]:
            if is_dataclass(item):
                check_values(item, f"{key}.")
            if isinstance(item, float) and not isfinite(item):
                raise ConfigError(f"{key}={item}: must be a finite number")
            for rule in rules:
                if (
                    isinstance(rule, Bound | ZeroOr | OneOf | Name)
                    and item is not None
                    and not rule.allows(item)
                ):
                    raise ConfigError(f"{key}={item}: must be {rule}")
        for rule in rules:
            if (
                isinstance(rule, Length | Range | Numbers)
                and value is not None
                and not rule.allows(value)
            ):
                raise ConfigError(f"{key}={value}: must be {rule}")
