"""A folder of images beside a folder of masks, paired by name. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from seglab.data.files import all_formats, all_suffixes
from seglab.data.layouts.base import Part
from seglab.data.layouts.lists import configured_root, read_ids
from seglab.data.layouts.mask_files import MaskFiles, mask_table
from seglab.data.layouts.suffixes import matching_suffixes
from seglab.errors import ConfigError, DataError
from seglab.schema import DataConfig

LOSSY = ("JPEG", "MPO")
"""No mask is one: its labels would be blurred."""


class PairFiles(MaskFiles):
    """A split of the images in ``data.image_dir``, with masks of the same name.

    An id is an image's path in its folder, without ``data.image_suffix`` and the file suffix. A
    split is a list of ids (``ROOT/SPLIT.txt`` or any file), the sub-folder ``SPLIT`` of images and
    masks, or a separate folder if ``data.image_dir`` contains ``{split}``.
    """

    def __init__(
        self,
        config: DataConfig,
        split: str,
        *,
        instances: bool = False,
        missing_ok: bool = False,
        look: bool = True,
        part: Part | None = None,
    ) -> None:
        names = config.source_classes or config.classes
        assert names is not None, "classes are resolved when a configuration is composed"
        super().__init__(names, config)
        self.folder = configured_root(config)
        if not self.folder.is_dir():
            raise ConfigError(f"data.root={self.folder}: no such folder")
        self.split, self.instances = split, instances
        self.formats = all_formats()
        self.mask_formats = tuple(name for name in self.formats if name not in LOSSY)
        self.table = mask_table(self.folder, config.mask_values, names)
        keys = ("image_dir", "mask_dir", "instance_dir")
        folders = [self.folder / getattr(config, key).replace("{split}", split) for key in keys]
        listed = next((path for path in _lists(self.folder, split) if path.is_file()), None)
        if listed is None and (folders[0] / split).is_dir():
            folders = [folder / split for folder in folders]
        elif listed is None and part is None and "{split}" not in config.image_dir:
            raise DataError(
                f"{folders[0] / split}: no such folder, nor is there {self.folder / split}.txt; "
                "data.val_fraction=0.2 divides the images in two"
            )
        for key, folder in zip(keys[: 2 + instances], folders, strict=False):
            if not folder.is_dir():
                raise DataError(f"{folder}: no such folder; see data.{key}")
        self.image_folder, self.instance_folder = folders[0], folders[2]
        other = config.mask_suffix if folders[0] == folders[1] else ""
        images = _index(folders[0], config.image_suffix, folders[1:], other)
        masks = _index(folders[1], config.mask_suffix)
        self.instance_files = _index(folders[2], config.mask_suffix) if folders[2].is_dir() else {}
        self.list_file = listed or self.image_folder
        if listed is None:
            self._check_pairs(images, masks, folders)
        self.ids = read_ids(listed) if listed else sorted(images)
        if part is not None:
            self.split, self.ids = part.name, part.of(partial(list, self.ids), self.list_file)
        if not look:
            return

        def find(files: dict[str, Path], folder: Path) -> list[Path]:
            for name in () if missing_ok else self.ids:
                if name not in files:
                    raise DataError(
                        f"{folder / name}: no such picture, but {self.list_file} lists {name!r}"
                    )
            return [files.get(name, folder / name) for name in self.ids]

        self.images, self.masks = find(images, folders[0]), find(masks, folders[1])
        self.instance_maps = find(self.instance_files, folders[2]) if instances else []

    def instance_source(self, index: int) -> Path | None:
        """Return the sample's instance map file, if it has one."""
        return self.instance_files.get(self.ids[index])

    def _check_pairs(
        self, images: dict[str, Path], masks: dict[str, Path], folders: Sequence[Path]
    ) -> None:
        if not images:
            raise DataError(f"{folders[0]}: no image in it; see data.image_dir and image_suffix")
        alone = sorted({*images} ^ {*masks})
        if alone:
            name, more = alone[0], f" ({len(alone) - 1} more)" if len(alone) > 1 else ""
            one, kind, folder = (
                (images[name], "mask", folders[1])
                if name in images
                else (masks[name], "image", folders[0])
            )
            ends = None
            if folders[0] != folders[1]:
                ends = matching_suffixes({*images}, {*masks}, mixed=False)
            fit = "names are equal but for data.image_suffix and data.mask_suffix"
            if ends is not None:
                pairs = zip(("image_suffix", "mask_suffix"), ends, strict=True)
                fit = " ".join(["give", *(f"data.{key}={end}" for key, end in pairs if end)])
            raise DataError(f"{one}: no {kind} of this name in {folder}{more}; {fit}")


def _lists(root: Path, split: str) -> list[Path]:
    return [root / f"{split}.txt", Path(split)]


def _index(
    folder: Path, suffix: str, others: Sequence[Path] = (), other_suffix: str = ""
) -> dict[str, Path]:
    """Return the pictures in and below a folder by id.

    Args:
        folder: searched recursively.
        suffix: required at the end of a name, and not part of the id.
        others: sub-folders to skip.
        other_suffix: marks names in the same folder to skip.

    Raises:
        DataError: two pictures have the same id.
    """
    files: dict[str, Path] = {}
    skipped = {path for path in others if path != folder}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if Path(parent, name) not in skipped]
        for file in names:
            path = Path(parent, file)
            stem = path.stem
            if path.suffix.lower() not in all_suffixes() or not stem.endswith(suffix):
                continue
            if other_suffix and not suffix and stem.endswith(other_suffix):
                continue
            name = path.with_name(stem.removesuffix(suffix) or stem).relative_to(folder).as_posix()
            if name in files:
                raise DataError(f"{path}: {files[name].name} has the same name; remove one")
            files[name] = path
    return files
