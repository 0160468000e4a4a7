"""Opens the configured layout, and checks its lists. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from seglab.data.division import divide
from seglab.data.layouts.base import Part, SplitFiles
from seglab.data.layouts.coco import CocoFiles
from seglab.data.layouts.lists import comparable, read_ids
from seglab.data.layouts.own import OwnFiles
from seglab.data.layouts.pairs import PairFiles
from seglab.data.layouts.voc import FolderFiles
from seglab.data.prefetch import Progress, no_progress, prefetch
from seglab.data.store.decode import exclusive
from seglab.data.store.digests import Record, Tally, digest_files
from seglab.data.store.records import RecordFile, usable_folder
from seglab.data.text_files import list_text
from seglab.errors import ConfigError
from seglab.schema import DataConfig

PARTS = ("train", "val")
"""The parts into which ``data.val_fraction`` divides."""

F_co = TypeVar("F_co", bound=SplitFiles, covariant=True)


class Opener(Protocol[F_co]):
    """Opens a split of a configured data set: a layout's class, or a constructor of it."""

    def __call__(
        self,
        config: DataConfig,
        split: str,
        *,
        instances: bool = False,
        missing_ok: bool = False,
        look: bool = True,
        part: Part | None = None,
    ) -> F_co:
        """Open a split; the built-in data set is made on first use.

        Args:
            config: the checked data configuration.
            split: the name of a list, or its file.
            instances: also read instance maps (required then).
            missing_ok: report a missing file only when its sample is read.
            look: False: check the classes and the list alone, and do not look for files.
            part: a part of ``split`` or, if there is no such list, of all samples.

        Raises:
            ConfigError: ``data.root`` is not set or does not exist, or another key is wrong.
            DataError: the data set cannot be used; names the file.
        """


LAYOUTS: Mapping[str, Opener[SplitFiles]] = {
    "folder": FolderFiles.configured,
    "pairs": PairFiles,
    "coco": CocoFiles,
    "dataset": OwnFiles,
}
"""The layouts that ``data.layout`` names."""

_DIVIDED: list[tuple[DataConfig, tuple[SplitFiles, list[str], list[str]]]] = []
"""The last configuration that this process has divided, all its samples, and the ids of its parts.

Both parts of a job come from one look at the data, which takes seconds for a million images.
"""


def open_files(
    config: DataConfig,
    split: str,
    *,
    instances: bool = False,
    missing_ok: bool = False,
    look: bool = True,
    progress: Progress = no_progress,
) -> SplitFiles:
    """Open a split of the configured data set; see :class:`Opener`.

    With ``data.val_fraction``, ``train`` and ``val`` are the two parts of the list
    ``data.train_split``, of the only list, or of all images.

    Raises:
        ConfigError, DataError: the data set cannot be used; names the key or file.
    """
    return open_as(LAYOUTS, config, split, instances, missing_ok, look, progress)


def open_as(
    layouts: Mapping[str, Opener[F_co]],
    config: DataConfig,
    split: str,
    instances: bool = False,
    missing_ok: bool = False,
    look: bool = True,
    progress: Progress = no_progress,
) -> F_co:
    """Open a split as one of ``layouts``; see :func:`open_files`."""
    part, name = None, split
    if config.val_fraction is not None and split in PARTS:
        part, name = Part(split), config.train_split
        if config.splits is not None:
            path = Path(config.splits) / f"{split}.txt"
            part = Part(split, read_ids(path), path)
        elif look:
            whole, train, val = _divided(config, progress)
            part = Part(split, train if split == PARTS[0] else val)
            if not instances and config.max_images is None:
                return layouts[config.layout](config, name, look=False, part=part).adopt(whole)
    layout = layouts[config.layout]
    if config.max_images is not None:
        ids = layout(config, name, look=False, part=part).ids
        part = Part(split, ids[: config.max_images])
    return layout(config, name, instances=instances, missing_ok=missing_ok, look=look, part=part)


def open_whole(
    config: DataConfig, *, instances: bool = False, missing_ok: bool = False
) -> SplitFiles:
    """Open all samples that ``data.val_fraction`` divides, as one split.

    Args:
        config: the checked data configuration.
        instances: also read instance maps (required then).
        missing_ok: leave it to reading a sample to report a missing file.

    Raises:
        ConfigError, DataError: as :func:`open_files`.
    """
    layout = LAYOUTS[config.layout]
    return layout(
        config, config.train_split, instances=instances, missing_ok=missing_ok, part=Part("all")
    )


def _divided(config: DataConfig, progress: Progress) -> tuple[SplitFiles, list[str], list[str]]:
    """Return the whole, and the ids of both parts; the classes of images are read once, cached."""
    assert config.val_fraction is not None, "something is divided"
    if _DIVIDED and _DIVIDED[0][0] is config:
        return _DIVIDED[0][1]
    files = open_whole(config)
    place = RecordFile(files, usable_folder(config))
    record = place.find()
    if record is None or not record.present:
        with exclusive(place):
            record = place.find()  # another process may have written it while this one waited
            if record is None or not record.present:
                record = _seen(files, place, record, progress)
    present = dict(zip(files.ids, record.classes_present(len(files)), strict=True))
    train, val = divide(present, config.val_fraction, config.split_seed, config.group)
    _DIVIDED[:] = [(config, (files, train, val))]
    return files, train, val


def _seen(
    files: SplitFiles, place: RecordFile, before: Record | None, progress: Progress
) -> Record:
    """Read all class maps; write and return the record with the classes in each image."""
    list_text(files.ids)  # a name that no list can hold is known before the masks are read
    tally = Tally(files)

    def load(index: int) -> tuple[list[str], list[int]]:
        return digest_files(files, index), files.read_classes(index)[1]

    loading = prefetch(load, len(files))
    for digests, counts in progress(loading, len(files), "reading classes"):
        tally.add(digests, counts=counts)
    record = tally.record(place.changes)
    if before is not None:
        record = replace(before, present=record.present)
    place.write(record)
    return record


def check_lists(config: DataConfig, *splits: str) -> None:
    """Check root, folders, classes and the lists of ``splits``, before any slow work.

    Raises:
        ConfigError, DataError: names the wrong key, folder or list.
    """
    for split in dict.fromkeys(splits):
        open_files(config, split, look=False)


def check_training_lists(config: DataConfig) -> None:
    """Check the lists of the training and the validation split; see :func:`check_lists`.

    The division is not computed yet: only the list to be divided is opened.

    Raises:
        ConfigError, DataError: as :func:`check_lists` and :func:`check_overlap`.
    """
    train = open_files(config, config.split_name("train"), look=False)
    if config.val_fraction is None:
        check_overlap(config, train, open_files(config, config.val_split, look=False))


def check_overlap(config: DataConfig, train: SplitFiles, val: SplitFiles) -> None:
    """Check that no id is in both splits, unless ``data.allow_overlap`` allows it.

    Raises:
        ConfigError: names the key and the first ids.
    """
    if config.allow_overlap or train.image_folder != val.image_folder:
        return
    known = {comparable(name) for name in train.ids}
    both = [name for name in val.ids if comparable(name) in known]
    if both:
        first = ", ".join(both[:3]) + (", …" if len(both) > 3 else "")
        raise ConfigError(
            f"data.val_split={config.val_split}: {len(both)} of {len(val)} ids are in "
            f"data.train_split={config.train_split} too ({first}); a score on training images "
            "says nothing; give other lists, data.val_fraction=0.2 to divide one, or "
            "data.allow_overlap=true"
        )
