"""PASCAL VOC's layout on disk: a split's list and the classes of its data set. Knows no torch."""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from seglab.data import synthetic
from seglab.data.classes import (
    LABELMAP,
    VOC_CLASSES,
    VOID_NAMES,
    check_class_names,
    check_mask_values,
    read_labelmap,
)
from seglab.data.masks import LabelTable, labelmap_table, value_table
from seglab.data.texts import read_lines
from seglab.errors import ConfigError, DataError
from seglab.schema import DataConfig

YEARS = range(2007, 2013)
MAX_ID_BYTES = 200  # most file systems take 255, a suffix included
MAX_LIST_BYTES = 128 * 2**20  # some million ids, and read within a few times as much memory


class SplitList:
    """The list of a split, and the classes of its data set; no image or mask is looked at.

    Raises:
        ConfigError: a root that does not exist, an impossible year, unusable ``mask_values``.
        DataError: a folder or the list is missing, an id stands twice, the list is empty.
    """

    def __init__(
        self,
        root: str | Path,
        year: int | None = None,
        split: str = "train",
        *,
        classes: Sequence[str] | None = None,
        mask_values: Mapping[str, str] | Mapping[int, str] | None = None,
    ) -> None:
        if mask_values is not None:
            mask_values = {str(value): name for value, name in mask_values.items()}
        self.folder = _data_folder(Path(root), year)
        self.split = split
        self.table: LabelTable | None = None
        labelmap = self.folder / LABELMAP
        own = year is None and labelmap.is_file() and mask_values is None
        colours = read_labelmap(labelmap) if own else None
        if mask_values is not None:
            classes = check_mask_values(mask_values, classes)
        elif classes is None and year is not None:
            classes = VOC_CLASSES
        elif classes is None and colours is not None:
            classes = [name for name in colours if name not in VOID_NAMES]
        elif classes is None:
            raise DataError(f"{labelmap}: not found, and no class list was given")
        self.classes = check_class_names(list(classes), "classes")
        if mask_values is not None:
            self.table = value_table(mask_values, self.classes)
        elif colours is not None:
            self.table = labelmap_table(colours, self.classes)
        self.list_file = _find_list(self.folder, split)
        self.ids = read_ids(self.list_file)

    def __len__(self) -> int:
        """Return the number of samples in the list."""
        return len(self.ids)


def check_lists(config: DataConfig, *splits: str) -> None:
    """Check root, folders, classes and the lists of ``splits``, before anything slow is done.

    Raises:
        ConfigError, DataError: says which key, folder or list is wrong.
    """
    for split in dict.fromkeys(splits):
        _configured_list(config, split)


def check_training_lists(config: DataConfig) -> None:
    """Check the lists of the training and the validation split; see :func:`check_lists`.

    Raises:
        ConfigError, DataError: as :func:`check_lists` and :func:`check_overlap`.
    """
    splits = (config.train_split, config.val_split)
    check_overlap(config, *(_configured_list(config, split).ids for split in splits))


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


def comparable(name: str) -> str:
    """Return an id in the form in which file systems take two of them for one file's name."""
    return unicodedata.normalize("NFC", posixpath.normpath(name))


def _configured_list(config: DataConfig, split: str) -> SplitList:
    return SplitList(
        configured_root(config),
        config.year,
        split,
        classes=config.classes,
        mask_values=config.mask_values,
    )


SYNTHETIC_LISTS = ("train", "val", "trainval")
"""The lists of the built-in data set."""


def built_in_root(config: DataConfig) -> Path:
    """Return where the built-in data set is, or will be made."""
    assert config.synth is not None
    spec = synthetic.SyntheticSpec(**vars(config.synth))
    return Path(config.root) if config.root else synthetic.default_root(spec)


def configured_root(config: DataConfig) -> Path:
    """Return the root of the configured data set; the built-in one is made on first use."""
    if config.synth is not None:
        spec = synthetic.SyntheticSpec(**vars(config.synth))
        return synthetic.ensure(built_in_root(config), spec)
    if config.root is None:
        raise ConfigError(
            f"data.root is not set: give data.root=DIR, the folder "
            f"{f'that holds VOC{config.year}/' if config.year else 'of the data set'}"
        )
    return Path(config.root)


def read_ids(path: Path) -> list[str]:
    """Read a list of ids, one a line; stray spaces, blank lines and CRLF do not matter.

    Raises:
        DataError: an empty list or one of over 128 MiB, an id that stands twice or leads out of
            its folder.
    """
    lines = read_lines(path, MAX_LIST_BYTES, "a list of ids")
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise DataError(f"{path}: empty; it should name one image id a line")
    seen: set[str] = set()
    for name in ids:
        if len(name.encode()) > MAX_ID_BYTES:
            raise DataError(f"{path}: {name[:40]!r}… is too long for the name of a file")
        if name in seen:
            raise DataError(f"{path}: id {name!r} stands twice")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
            raise DataError(f"{path}: id {name!r} leads out of its folder")
        if PurePosixPath(name).as_posix() != name:  # ./a, a//b, a/: the same image once more
            plain = PurePosixPath(name).as_posix()
            raise DataError(f"{path}: id {name!r} is another spelling of {plain!r}; give that")
        seen.add(name)
    return ids


def _data_folder(root: Path, year: int | None) -> Path:
    if not root.is_dir():
        raise ConfigError(f"data.root={root}: no such folder")
    if year is None:
        folder, inside = root, "data.root is the folder of the data set itself"
    elif year in YEARS:
        folder, inside = root / f"VOC{year}", f"data.root is the folder that holds VOC{year}/"
    else:
        raise ConfigError(f"year={year}: VOC's years are {YEARS[0]} to {YEARS[-1]}")
    for name in (".", "JPEGImages", "ImageSets/Segmentation"):
        if not (folder / name).is_dir():
            raise DataError(f"{folder / name}: no such folder; {inside}")
    return folder


def _find_list(folder: Path, split: str) -> Path:
    official = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if official.is_file():
        return official
    if Path(split).is_file():
        return Path(split)
    there = sorted(path.stem for path in official.parent.glob("*.txt"))
    raise DataError(f"{official}: no such list; there is {', '.join(there) or 'none'}")
