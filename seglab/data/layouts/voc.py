"""PASCAL VOC's layout, and the exports of CVAT and labelme in it. Imports no torch."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from seglab.data.class_lists import class_names
from seglab.data.files import Box, read_boxes
from seglab.data.layouts.base import Part
from seglab.data.layouts.lists import configured_root, read_ids
from seglab.data.layouts.mask_files import MaskFiles, mask_table
from seglab.data.paths import Paths, listed
from seglab.errors import ConfigError, DataError
from seglab.schema import DataConfig

IMAGE_SUFFIXES = tuple(
    case(suffix)
    for case in (str.lower, str.upper)
    for suffix in (".jpg", ".jpeg", ".png", ".tif", ".tiff")
)
YEARS = range(2007, 2013)
LISTS = "ImageSets/Segmentation"


class FolderFiles(MaskFiles):
    """A split of a VOC year, or of your own data set in the same layout.

    Args:
        root: the folder that contains ``VOC2007/``; without ``year`` the folder that contains
            ``JPEGImages/`` itself.
        year: 2007 to 2012, or None for your own data set.
        split: the name of a list in ``ImageSets/Segmentation``, or the path of a list file.
        classes: names in the order of the labels; None means those of ``mask_values``, VOC's, or
            without a year those of ``labelmap.txt``.
        mask_values: the class, or void, of each mask value (255) or colour (``"128/0/0"``);
            None means that mask values are labels, and colours those of ``labelmap.txt``.
        mask_dir: the folder of the class maps.
        instances: also read ``SegmentationObject/`` (required then) and ``Annotations/``.
        missing_ok: report a missing file only when its sample is read.
        look: False: read the list alone, and do not look for files.
        part: a part of ``split``, of the only list, or of all images if there is no list.
        config: further settings: other folders, ignored and merged classes.

    Raises:
        ConfigError: a root that does not exist, an impossible year, unusable ``mask_values``.
        DataError: a folder, list, image or mask is missing, an id is listed twice, a list is empty.
    """

    def __init__(
        self,
        root: str | Path,
        year: int | None = None,
        split: str = "train",
        *,
        classes: Sequence[str] | None = None,
        mask_values: Mapping[str, str] | Mapping[int, str] | None = None,
        mask_dir: str = "SegmentationClass",
        instances: bool = False,
        missing_ok: bool = False,
        look: bool = True,
        part: Part | None = None,
        config: DataConfig | None = None,
    ) -> None:
        values: dict[str, str] | None = None
        if mask_values is not None:
            values = {str(value): name for value, name in mask_values.items()}
        self.folder = _data_folder(Path(root), year, config.image_dir if config else "JPEGImages")
        names = class_names(
            None if classes is None else list(classes),
            synthetic=False,
            year=year,
            root=str(self.folder),
            mask_values=values,
        )
        super().__init__(names, config)
        self.image_folder = self.folder / (config.image_dir if config else "JPEGImages")
        self.instance_folder = _export(
            self.folder / (config.instance_dir if config else "SegmentationObject")
        )
        self.split, self.instances, self.missing_ok = split, instances, missing_ok
        # A VOC year has VOC's palette; a label map there is ignored.
        has_table = year is None or values is not None
        self.table = mask_table(self.folder, values, names) if has_table else None
        list_file = _find_list(self.folder, split, part)
        self.list_file = list_file or self.image_folder
        read = partial(read_ids, list_file) if list_file else partial(_all_ids, self.image_folder)
        if part is None:
            self.ids = read()
        else:
            self.split, self.ids = part.name, part.of(read, self.list_file)
        if not look:
            return
        masks = _export(self.folder / mask_dir)
        self.images = self._find(self.image_folder, IMAGE_SUFFIXES)
        self.masks = self._find(masks, (".png",))
        self.instance_maps = self._find(self.instance_folder, (".png",)) if instances else ()

    @classmethod
    def configured(
        cls,
        config: DataConfig,
        split: str,
        *,
        instances: bool = False,
        missing_ok: bool = False,
        look: bool = True,
        part: Part | None = None,
    ) -> Self:
        """Open a split of the configured data set: :class:`seglab.data.layouts.opening.Opener`."""
        return cls(
            configured_root(config),
            config.year,
            split,
            classes=config.source_classes or config.classes,
            mask_values=config.mask_values,
            mask_dir=config.mask_dir,
            instances=instances,
            missing_ok=missing_ok,
            look=look,
            part=part,
            config=config,
        )

    def boxes(self, index: int) -> tuple[Box, ...]:
        """Return the objects of the sample's annotation; empty if it has no file."""
        path = self.folder / "Annotations" / f"{self.ids[index]}.xml"
        return read_boxes(path) if path.is_file() else ()

    def instance_source(self, index: int) -> Path | None:
        """Return the sample's instance map file, if it has one."""
        path = self.instance_folder / f"{self.ids[index]}.png"
        return path if path.is_file() else None

    def path_columns(self, start: int, end: int) -> list[list[str]]:
        """Return the files of a range of samples as texts, a list per kind of file."""
        kinds = (self.images, self.masks, self.instance_maps)
        return [paths.texts(start, end) for paths in kinds if isinstance(paths, Paths)]

    def _find(self, folder: Path, suffixes: Sequence[str]) -> Paths:
        names = listed(folder, self.ids)
        first = suffixes[0]
        chosen = [
            first if name + first in names else self._suffix(folder, name, suffixes, names)
            for name in self.ids
        ]
        return Paths(folder, self.ids, chosen)

    def _suffix(
        self, folder: Path, name: str, suffixes: Sequence[str], names: Container[str]
    ) -> str:
        for suffix in suffixes:
            if name + suffix in names:
                return suffix
        for suffix in suffixes:  # few ids, or a case-insensitive file system
            if (folder / f"{name}{suffix}").is_file():
                return suffix
        if self.missing_ok:
            return suffixes[0]
        raise DataError(
            f"{folder / name}{suffixes[0]}: not found, but {self.list_file} lists {name!r}"
        )


def _data_folder(root: Path, year: int | None, images: str) -> Path:
    if not root.is_dir():
        raise ConfigError(f"data.root={root}: no such folder")
    if year is None:
        folder, inside = root, "data.root is the folder of the data set itself"
    elif year in YEARS:
        folder, inside = root / f"VOC{year}", f"data.root is the folder that holds VOC{year}/"
    else:
        raise ConfigError(f"year={year}: VOC's years are {YEARS[0]} to {YEARS[-1]}")
    for name in (".", images):
        if not (folder / name).is_dir():
            raise DataError(f"{folder / name}: no such folder; {inside}")
    return folder


def _export(folder: Path) -> Path:
    """Return the folder of the masks: labelme has arrays in the usual one, and PNGs in another."""
    pictures = folder.with_name(f"{folder.name}PNG")
    return pictures if pictures.is_dir() else folder


def _find_list(folder: Path, split: str, part: Part | None) -> Path | None:
    """Return the list file of a split; None: there is no list, and all images are divided."""
    official = folder / LISTS / f"{split}.txt"
    if official.is_file():
        return official
    if Path(split).is_file():
        return Path(split)
    lists = sorted(official.parent.glob("*.txt"))
    if part is not None and len(lists) < 2:
        return lists[0] if lists else None
    available = ", ".join(path.stem for path in lists) or "none"
    divide = "" if part else "; data.val_fraction=0.2 divides the images in two"
    if not official.parent.is_dir():
        raise DataError(f"{official.parent}: no such folder{divide}")
    raise DataError(f"{official}: no such list; available: {available}{divide}")


def _all_ids(folder: Path) -> list[str]:
    ids = sorted(
        path.relative_to(folder).with_suffix("").as_posix()
        for path in folder.rglob("*")
        if path.suffix in IMAGE_SUFFIXES
    )
    if not ids:
        raise DataError(f"{folder}: no image in it ({', '.join(IMAGE_SUFFIXES[:5])})")
    return ids
