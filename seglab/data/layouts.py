"""Which layout a configured data set has, and what is checked of its lists. Knows no torch."""

from __future__ import annotations

from collections.abc import Sequence

from seglab.data.folder import FolderFiles
from seglab.data.layout import SplitFiles
from seglab.data.lists import comparable
from seglab.errors import ConfigError
from seglab.schema import DataConfig

LAYOUTS: dict[str, type[SplitFiles]] = {"folder": FolderFiles}
"""The layouts that ``data.layout`` names."""


def open_files(
    config: DataConfig,
    split: str,
    *,
    instances: bool = False,
    missing_ok: bool = False,
    look: bool = True,
) -> SplitFiles:
    """Open a split of the configured data set; see :meth:`SplitFiles.configured`.

    Raises:
        ConfigError, DataError: the data set cannot be used; says which key or file.
    """
    return LAYOUTS["folder"].configured(
        config, split, instances=instances, missing_ok=missing_ok, look=look
    )


def check_lists(config: DataConfig, *splits: str) -> None:
    """Check root, folders, classes and the lists of ``splits``, before anything slow is done.

    Raises:
        ConfigError, DataError: says which key, folder or list is wrong.
    """
    for split in dict.fromkeys(splits):
        open_files(config, split, look=False)


def check_training_lists(config: DataConfig) -> None:
    """Check the lists of the training and the validation split; see :func:`check_lists`.

    Raises:
        ConfigError, DataError: as :func:`check_lists` and :func:`check_overlap`.
    """
    splits = (config.train_split, config.val_split)
    check_overlap(config, *(open_files(config, split, look=False).ids for split in splits))


def check_overlap(config: DataConfig, train: Sequence[str], val: Sequence[str]) -> None:
    """Check that no id is in both splits, unless ``data.allow_overlap`` allows it.

    Raises:
        ConfigError: names the key and the first ids.
    """
    if config.allow_overlap:
        return
    known = {comparable(name) for name in train}
    both = [name for name in val if comparable(name) in known]
    if both:
        first = ", ".join(both[:3]) + (", …" if len(both) > 3 else "")
        raise ConfigError(
            f"data.val_split={config.val_split}: {len(both)} of {len(val)} ids are in "
            f"data.train_split={config.train_split} too ({first}); a score on training images "
            "says nothing; give other lists, or data.allow_overlap=true"
        )
