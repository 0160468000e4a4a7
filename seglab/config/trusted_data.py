"""Which files of a data set an untrusted checkpoint may name. Imports no torch.

``data.root`` may be any folder, because users evaluate their own runs from the checkpoint alone.
Everything else has to be inside it, unless the command line names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seglab.config.overrides import parse
from seglab.data.layouts.lists import SYNTHETIC_LISTS, built_in_root
from seglab.errors import ConfigError
from seglab.schema import DataConfig

IN_ROOT = ("annotations", "image_dir", "mask_dir", "instance_dir")
"""The keys of a file or folder of the data set."""


def check_in_root(data: Mapping[str, Any], path: Path, overrides: Sequence[str]) -> None:
    """Check that the files and folders of a checkpoint's data set are inside its ``data.root``.

    Args:
        data: the checkpoint's data configuration, not validated yet.
        path: the checkpoint, for errors.
        overrides: from the command line; what they name may be anywhere.

    Raises:
        ConfigError: one is outside.
    """
    named = {override.key_or_group: override for override in parse(overrides)}
    root = named["data.root"].value() if "data.root" in named else data.get("root")
    folder = Path(str(root)).absolute()
    for key in () if "data" in named else IN_ROOT:
        value = str(data.get(key))
        part = value.replace("{split}", "split")  # the split's name: check_received_list
        outside = ".." in Path(part).parts or not (folder / part).is_relative_to(folder)
        if outside and f"data.{key}" not in named:
            raise ConfigError(
                f"checkpoint={path}: its data.{key}={value} is outside data.root={root}, at "
                f"{folder / part}; if that is what you mean, give data.{key}={value} too"
            )


def check_received_group(
    data: DataConfig, split: str, path: Path, overrides: Sequence[str]
) -> None:
    """Check that no regular expression of a checkpoint is needed to divide the data.

    Matching it against the ids can take years.

    Args:
        data: the checkpoint's data configuration with ``overrides`` applied.
        split: the split that is evaluated.
        path: the checkpoint, for errors.
        overrides: from the command line.

    Raises:
        ConfigError: it is.
    """
    divided = data.val_fraction is not None and data.splits is None and split in ("val", "train")
    if divided and data.group is not None and not _named(overrides) & {"data", "data.group"}:
        raise ConfigError(
            f"checkpoint={path}: has no splits/ with the lists of its run beside it, and its "
            f"data.group={data.group} is not evaluated: give data.splits=DIR, the splits/ of the "
            "run folder, or data.group=REGEX"
        )


def check_received_list(data: DataConfig, split: str, path: Path, overrides: Sequence[str]) -> None:
    """Check that ``split=val`` or ``train`` of a checkpoint names a list inside its data set.

    An untrusted path could name any file, and errors would print its lines.

    Args:
        data: the checkpoint's data configuration with ``overrides`` applied.
        split: ``val`` or ``train``; anything else comes from the command line.
        path: the checkpoint, for errors.
        overrides: from the command line; a list that they name may be anywhere.

    Raises:
        ConfigError: it is outside ``data.root``.
    """
    key = f"data.{split}_split" if data.val_fraction is None else "data.train_split"
    name = data.split_name(split) if data.val_fraction is None else data.train_split
    if split not in ("val", "train") or _named(overrides) & {key, "data"}:
        return
    if data.synth is not None and name in SYNTHETIC_LISTS:  # it may not exist yet
        return
    root = built_in_root(data) if data.synth is not None else Path(data.root or "")
    folder = root / f"VOC{data.year}" if data.year else root
    official = folder / "ImageSets" / "Segmentation" / f"{name}.txt"
    listed = Path(name) if Path(name).is_file() and not official.is_file() else official
    if ".." in Path(name).parts or not listed.absolute().is_relative_to(root.absolute()):
        raise ConfigError(
            f"checkpoint={path}: its {key}={name} is outside data.root={root}; if that is the "
            f"list you mean, give {key}={name} too"
        )


def _named(overrides: Sequence[str]) -> set[str]:
    """Return the keys and groups that the command line names."""
    return {override.key_or_group for override in parse(overrides)}
