"""``seglab data import``: converts a data set of any known layout to VOC's."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from seglab.config.compose import compose
from seglab.config.overrides import option_names, parse
from seglab.data.importing import check_output, open_splits, option_name, write_folder
from seglab.data.layouts.opening import open_whole
from seglab.data.layouts.recognise import recognise
from seglab.errors import ConfigError
from seglab.printing import print_plain
from seglab.runtime.progress_bar import CheckProgress
from seglab.schema import DataCommandConfig

MANY, LOOKED_AT = 12, 100
"""Values that an error lists, and masks in which they are looked for."""

VERBS = ("train on", "validate on")


def main(arguments: Sequence[str], console: Console) -> None:
    """Import ``SRC output=DIR`` and print the command line that trains on it.

    Args:
        arguments: the source, and overrides of the recognised keys.
        console: to print on.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
    """
    sources = [word for word in arguments if "=" not in word]
    overrides = [word for word in arguments if word not in sources]
    overrides_by_key = {override.key_or_group: override for override in parse(overrides)}
    if len(sources) != 1 or "output" not in overrides_by_key:
        raise ConfigError("give one folder and output=DIR: seglab data import SRC output=DIR")
    output = Path(str(overrides_by_key["output"].value()))
    check_output(output)
    layout = recognise(Path(sources[0]))
    print_plain(f"{sources[0]}: {layout.name}", console)
    recognised = [f"data={layout.data}"] if "data" not in overrides_by_key else []
    recognised += [
        f"data.{key}={_quoted(value)}"
        for key, value in layout.keys.items()
        if f"data.{key}" not in overrides_by_key
    ]
    print_plain(f"read as {shlex.join([*recognised, *overrides])}", console)
    try:
        config = compose("data", DataCommandConfig, [*recognised, *overrides]).config
    except ConfigError as error:
        if not str(error).startswith("data.classes is not set"):
            raise
        raise _unnamed([*recognised, *overrides]) from None
    splits = open_splits(config.data)
    names = option_names("data")
    option = write_folder(splits, output, option_name(output, names), CheckProgress(console))
    counts = " and ".join(
        f"{len(files)} to {verb}" for files, verb in zip(splits, VERBS, strict=True)
    )
    objects = ", with objects" if splits[0].instances else ""
    print_plain(f"{output}: {counts}, {len(splits[0].classes)} classes{objects}", console)
    print_plain(f"{option}: the same as an option of data", console)
    line = ["seglab", "train", "data=folder", f"data.root={_quoted(str(output))}"]
    line += [word for word in overrides if word.startswith(("data.channels=", "data.value_range="))]
    print_plain(shlex.join(line), console)


def _quoted(value: str) -> str:
    """Return a value quoted for Hydra's grammar."""
    if re.fullmatch(r"[\w./-]+", value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unnamed(overrides: Sequence[str]) -> ConfigError:
    """Return a suggestion where nothing names the classes: names for the values in the masks."""
    named = [*overrides, "data.classes=[first,second]"]
    config = compose("data", DataCommandConfig, named).config.data
    files = open_whole(config)
    values = {
        value for index in range(min(len(files), LOOKED_AT)) for value in files.read_values(index)
    }
    order = sorted(values, key=lambda value: [int(part) for part in value.split("/")])
    listed = ", ".join(order[:MANY]) + (", …" if len(order) > MANY else "")
    example = ", ".join(
        f"{value}: {name}" for value, name in zip(order, ("background", "…"), strict=False)
    )
    return ConfigError(
        f"nothing names the classes; the masks contain {listed}: give "
        f"'data.mask_values={{{example}}}', or data.classes=[background,…] if the values count them"
    )
