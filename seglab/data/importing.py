"""Converts a data set of any layout to VOC's, atomically. Imports no torch."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from seglab.data.classes import CLASS_NAMES, flat_palette
from seglab.data.files import image_size
from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.layouts.opening import open_files
from seglab.data.layouts.voc import IMAGE_SUFFIXES, LISTS
from seglab.data.pixels import RGB, PixelFormat
from seglab.data.prefetch import Progress, no_progress
from seglab.data.store.decode import decode
from seglab.data.store.digests import Tally
from seglab.data.text_files import list_text
from seglab.errors import ConfigError, DataError
from seglab.schema import DataConfig


def open_splits(config: DataConfig) -> list[SplitFiles]:
    """Open the training and the validation split, with instances if every sample has them.

    Raises:
        ConfigError, DataError: the data set cannot be used; names the key or file.
    """
    names = [config.split_name(name) for name in ("train", "val")]
    splits = [open_files(config, name) for name in names]
    every = all(
        files.instance_source(index) is not None for files in splits for index in range(len(files))
    )
    return [open_files(config, name, instances=True) for name in names] if every else splits


def write_folder(
    splits: Sequence[SplitFiles], output: Path, name: str, progress: Progress = no_progress
) -> Path:
    """Write splits for ``data=folder`` to a temporary folder, then rename it to ``output``.

    Args:
        splits: for training and for validation.
        output: must not exist, or be empty.
        name: of the option written to ``output/conf/data/``.
        progress: shows the progress of each split.

    Returns:
        The file of the option.

    Raises:
        ConfigError: ``output`` has contents, or cannot be written.
        DataError: a sample cannot be used, or its name.
    """
    check_output(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
            making = Path(folder) / output.name
            shared = {*splits[0].ids} & {*splits[1].ids}
            for part, files in zip(("train", "val"), splits, strict=True):
                # COCO's splits are separate folders, whose names may clash.
                prefix = f"{part}/" if shared else ""
                ids = [prefix + one for one in files.ids]
                for index, pixels in enumerate(decode(files, Tally(files), progress)):
                    _write_sample(making, ids[index], files, index, pixels)
                _write(making / LISTS / f"{part}.txt", list_text(ids))
            classes = splits[0].classes
            _write(making / CLASS_NAMES, "".join(f"{one}\n" for one in classes))
            option = Path("conf") / "data" / f"{name}.yaml"
            _write(making / option, _option(name, output, classes, splits[0].pixel_format))
            making.replace(output)
    except OSError as error:
        raise ConfigError(f"output={output}: cannot be written: {error.strerror}") from None
    return output / option


def check_output(output: Path) -> None:
    """Check that nothing would be overwritten.

    Raises:
        ConfigError: there is something.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ConfigError(f"output={output}: exists and is not empty; give a new folder")


def _write_sample(folder: Path, name: str, files: SplitFiles, index: int, pixels: Pixels) -> None:
    source = files.images[index]
    copied = source.suffix in IMAGE_SUFFIXES and _is_known(source)
    image = folder / "JPEGImages" / f"{name}{source.suffix if copied else '.png'}"
    image.parent.mkdir(parents=True, exist_ok=True)
    if copied:
        shutil.copyfile(source, image)
    else:
        grey = files.pixel_format.channels == 1
        Image.fromarray(pixels.image[..., 0] if grey else pixels.image).save(image)
    maps = {"SegmentationClass": pixels.class_map, "SegmentationObject": pixels.instance_map}
    for kind, array in maps.items():
        if array is not None:
            _save(array, folder / kind / f"{name}.png")
    annotation = files.folder / "Annotations" / f"{files.ids[index]}.xml"
    if annotation.is_file():
        files.boxes(index)  # a link could lead to a file that is no annotation
        copy = folder / "Annotations" / f"{name}.xml"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(annotation, copy)


def _is_known(source: Path) -> bool:
    """Return whether VOC's layout accepts a file unchanged, whatever its suffix."""
    try:
        return min(image_size(source)) > 0
    except DataError:
        return False


def _save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    picture.putpalette(flat_palette())
    picture.save(path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _option(name: str, root: Path, classes: Sequence[str], pixel_format: PixelFormat) -> str:
    keys: dict[str, object] = {"name": name, "root": str(root.absolute()), "classes": list(classes)}
    keys |= {"channels": pixel_format.channels} if pixel_format.channels != RGB.channels else {}
    keys |= {"value_range": list(pixel_format.value_range)} if pixel_format.value_range else {}
    text = yaml.safe_dump(keys, sort_keys=False, allow_unicode=True)
    return f"# Written by seglab data import.\ndefaults:\n  - folder\n\n{text}"


def option_name(output: Path, taken: Sequence[str]) -> str:
    """Return a name for the option that is a word and not in ``taken``."""
    name = re.sub(r"\W+", "_", output.absolute().name, flags=re.ASCII).strip("_") or "data"
    return f"{name}_data" if name in taken else name
