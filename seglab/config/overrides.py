"""Parses and checks overrides, and explains wrong ones. Imports no torch."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from itertools import accumulate
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seglab.errors import ConfigError, one_line, options
from seglab.run.untrusted import MAX_DEPTH

OPEN_NODES = (
    *("model.net", "optimizer.algorithm", "callbacks", "metrics", "transforms"),
    "data.dataset",
)
"""Where a target's own arguments stand: the schema knows neither their names nor their types."""


REFUSALS = (HydraException, OmegaConfBaseException, ValueError, OSError, RecursionError)
"""What Hydra raises for an override that it cannot use; it lets Python's own errors through."""

PLAIN_NAME = re.compile(r"[A-Za-z_][\w -]*", re.ASCII)
"""What Hydra's grammar takes for a text without quotes."""

TOO_LARGE = re.compile(r"\d{309,}")
"""Digits of a number that is more than any floating point number; OmegaConf would overflow."""

MAX_QUOTED = 2000
"""Characters of a line that an error repeats in quotes."""

MAX_GROUP = 100
"""No group has a longer name; a file system may refuse to look for one."""


def home() -> Path:
    """Return the folder that contains ``conf/`` and ``experiments/``, in a wheel or a checkout."""
    package = Path(__file__).parents[1]
    return package if (package / "conf").is_dir() else package.parent


def parse(
    overrides: Sequence[str], *, several: bool = False, loader: ConfigLoader | None = None
) -> list[Override]:
    """Parse overrides in Hydra's syntax; ``glob(…)`` needs the loader of the configuration.

    Raises:
        ConfigError: not of the form key=value, or several values (a sweep) where not allowed.
    """
    parser = OverridesParser.create(config_loader=loader)
    parsed = []
    for line in overrides:
        # Hydra and OmegaConf would hit Python's recursion limit.
        depths = accumulate((c in "[{(") - (c in "]})") for c in line)
        if max(depths, default=0) > MAX_DEPTH:
            raise ConfigError(
                f"{_short(line)!r} is not key=value: more than {MAX_DEPTH} brackets in each other"
            )
        if digits := TOO_LARGE.search(line):
            key, size = _short(line.partition("=")[0]), len(digits[0])
            raise ConfigError(f"{key}: a number of {size} digits is too large")
        try:
            (override,) = parser.parse_overrides([line])
        except REFUSALS as error:
            reason = (str(error).splitlines() or ["it cannot be read"])[0]
            raise ConfigError(
                f"{_short(line)!r} is not key=value: {_short(reason)}{_quoting(line, parser)}"
            ) from None
        if not override.key_or_group:
            raise ConfigError(f"{line!r} is not key=value: there is no key")
        if override.is_sweep_override() and not several:
            raise ConfigError(f"{line}: several values make several runs; give one, or -m")
        parsed.append(override)
    return parsed


def _quoting(line: str, parser: OverridesParser) -> str:
    """Return a hint for an error: the override with its list's names quoted, if that parses."""
    key, _, value = line.partition("=")
    if len(line) > MAX_QUOTED or not (value.startswith("[") and value.endswith("]")):
        return ""
    items = [item.strip() for item in value[1:-1].split(",")]
    if any(item.isdecimal() for item in items):
        return ""  # not a list of names
    names = [item if PLAIN_NAME.fullmatch(item) else f'"{item}"' for item in items]
    quoted = f"{key}=[{','.join(names)}]"
    try:
        if parser.parse_override(quoted).value() != items:
            return ""
    except REFUSALS:
        return ""
    return f"; names with brackets or other signs need quotes: {shlex.quote(quoted)}"


def _short(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def roots() -> list[Path]:
    """Return the folders with ``conf/`` and ``experiments/``: seglab's, then the current one."""
    here = Path()
    return [home()] if home().samefile(here) else [home(), here]


def searchpath() -> list[str]:
    """Return Hydra's further search path, existing folders only: Hydra warns of others."""
    own = [path for here in roots()[1:] for path in (here / "conf", here / "experiments")]
    folders = [path if path.name == "conf" else path.parent for path in own if path.is_dir()]
    return [f"file://{folder}" for folder in (home(), *folders)]


def own_options() -> list[tuple[str, int, int]]:
    """Return path, time and size of each option in the current folder."""
    patterns = ("conf/**/*.yaml", "experiments/**/*.yaml")
    files = [path for here in roots()[1:] for pattern in patterns for path in here.glob(pattern)]
    stats = sorted((str(path.absolute()), path.stat()) for path in files if path.is_file())
    return [(path, stat.st_mtime_ns, stat.st_size) for path, stat in stats]


def check_names() -> None:
    """Check that no option in the current folder has the same name as one of seglab's.

    Settings of commands, such as ``conf/train.yaml``, are never read from the current folder.

    Raises:
        ConfigError: names both files.
    """
    for here in roots()[1:]:
        for pattern in ("conf/*/**/*.yaml", "experiments/*.yaml"):
            for path in sorted(here.glob(pattern)):
                if (home() / path).is_file():
                    raise ConfigError(
                        f"{path}: seglab has an option of this name, {home() / path}; rename yours"
                    )


def group_folder(key: str) -> Path:
    """Return the folder of a group's options, relative to each of :func:`roots`."""
    return Path(key) if key == "experiments" else Path("conf", key)


def option_names(group: str) -> list[str]:
    """Return the options of a group."""
    files = [path for root in roots() for path in (root / group_folder(group)).glob("*.yaml")]
    return sorted({path.stem for path in files} - {"base"})


def is_group(key: str) -> bool:
    """Return whether a key names a group of conf/, or the experiments."""
    if len(key) > MAX_GROUP or not key.isidentifier() or key == "hydra":
        return False
    return (home() / group_folder(key)).is_dir()


SWEEP_GROUPS = ("hydra/launcher", "hydra/sweeper")
"""Groups of Hydra's to which seglab adds options."""


def check_options(parsed: Sequence[Override]) -> None:
    """Check that every chosen option exists.

    Raises:
        ConfigError: names the nearest options.
    """
    for override in parsed:
        key, value = override.key_or_group, override.value()
        if not (is_group(key) or key in SWEEP_GROUPS) or override.is_delete():
            continue
        names = option_names(key)
        if str(value) not in names:
            given = _short(str(override.input_line))
            raise ConfigError(f"{given}: no such {key}; {options(str(value), names)}")


def is_open(key: str) -> bool:
    """Return whether a key is an argument of some target."""
    return key.startswith(tuple(f"{node}." for node in OPEN_NODES))


def check_type(key: str, old: Any, new: Any) -> None:
    """Check that a new value has the type of the old one.

    Raises:
        ConfigError: names the key and the expected type.
    """

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

    # One number for all layers, or one per layer.
    several = {kind(old), kind(new)} == {"a number", "a list of numbers"}
    if old is not None and new is not None and kind(old) != kind(new) and not several:
        raise ConfigError(f"{key}={new}: must be {kind(old)}, such as {old}")
    if type(old) is int and isinstance(new, float):
        raise ConfigError(f"{key}={new}: must be a whole number, such as {old}")


def wrong_type(error: OmegaConfBaseException, prefix: str = "") -> ConfigError:
    """Return the error for a wrong type; it names the key, its value and the allowed types."""
    key, owner = f"{prefix}{error.full_key}", error.object_type
    if not error.full_key:
        return ConfigError(one_line(error.msg or error))
    if error.value is None:
        return ConfigError(f"{key} is not set: give {key}=…")
    of_list = get_args(error.ref_type)[-1:] or (Any,)
    hint = get_type_hints(owner)[str(error.key)] if is_dataclass(owner) else of_list[0]
    types = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [_KINDS.get(get_origin(kind) or kind, _KINDS[dict]) for kind in types]
    right = " or ".join(kind for kind in kinds if kind)
    return ConfigError(f"{key}={error.value}: must be {right}")


_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a string",
    list: "a list, such as [a,b]",
    dict: "a group of keys, such as {key: value}",
    NoneType: "",
}
"""What a user calls the types of the schema; a dataclass is a group of keys."""


def unknown(keys: Sequence[str], known: Sequence[str]) -> ConfigError:
    """Return the error for unknown keys, with their nearest matches by full name or last part."""
    return ConfigError("; ".join(f"unknown key {key!r}: {_near(key, known)}" for key in keys))


def _near(key: str, known: Sequence[str]) -> str:
    groups = [path.name for path in (home() / "conf").iterdir() if is_group(path.name)]
    names = sorted({*known, *groups, "experiments"})
    if not key.startswith("hydra"):
        names = [name for name in names if not name.startswith("hydra")]
    close = difflib.get_close_matches(key, names, n=3, cutoff=0.6)
    last = {name: name.rsplit(".", 1)[-1] for name in names}
    tail = key.rsplit(".", 1)[-1]
    alike = difflib.get_close_matches(tail, sorted(set(last.values())), n=2, cutoff=0.7)
    close += [name for part in alike for name in names if last[name] == part and name not in close]
    if not close:
        return "seglab train --dry-run lists all keys"
    return f"did you mean {' or '.join(close[:3])}?"


def dotted(config: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every key and group."""
    for key in config:
        yield f"{prefix}{key}"
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):
            continue
        if isinstance(config[key], DictConfig):
            yield from dotted(config[key], f"{prefix}{key}.")
