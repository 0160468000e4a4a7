"""Lists what is wrong with a data set, file by file. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial

import numpy as np

from seglab.data.classes import VOID
from seglab.data.coverage import absent_classes, check_foreground, equal_images
from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.layouts.opening import check_overlap, open_files, open_whole
from seglab.data.masks import TooManyObjectsError
from seglab.data.prefetch import Progress, no_progress, prefetch
from seglab.data.store.digests import Record, Tally, digest_files, hash_files
from seglab.data.store.records import RecordFile, usable_folder
from seglab.errors import ConfigError, DataError
from seglab.schema import DataConfig


class DataCheck:
    """The checks of ``seglab data check``, on both splits of a configuration.

    Attributes:
        notes: lines about doubtful but usable data; complete once all problems were yielded.
    """

    def __init__(self, config: DataConfig, progress: Progress = no_progress) -> None:
        self.config, self.progress = config, progress
        self.notes: list[str] = []

    def problems(self) -> Iterator[str]:
        """Yield every problem as one line that names the file or the key.

        Raises:
            ConfigError: ``data.root`` is wrong.
        """
        if self.config.val_fraction is not None and self.config.splits is None:
            try:
                open_files(self.config, "train", missing_ok=True)
            except DataError:  # only sound masks can be divided: until then, it is one split
                yield from self._undivided_problems()
                return
        splits: dict[str, tuple[SplitFiles, Record | None]] = {}
        names = [self.config.split_name(name) for name in ("train", "val")]
        for split in dict.fromkeys(names):
            try:
                files = open_files(self.config, split, missing_ok=True)
                objects = partial(open_files, self.config, split, instances=True)
                splits[split] = files, (yield from self._split_problems(files, objects))
            except DataError as error:
                yield str(error)
        train, val = (splits.get(name) for name in names)
        if train is not None and val is not None:
            yield from self._overlap(*train, *val)
        if train is not None and train[1] is not None and train[1].counts is not None:
            try:
                check_foreground(self.config, train[0].classes, train[1])
            except DataError as error:
                yield str(error)
            else:
                self.notes += absent_classes(self.config, train[0].classes, train[1])

    def _undivided_problems(self) -> Iterator[str]:
        """Yield the problems of all samples of a data set that cannot be divided yet."""
        try:
            whole = open_whole(self.config, missing_ok=True)
            objects = partial(open_whole, self.config, instances=True)
            yield from self._split_problems(whole, objects)
        except DataError as error:
            yield str(error)

    def _split_problems(
        self, files: SplitFiles, objects: Callable[[], SplitFiles]
    ) -> Generator[str, None, Record | None]:
        """Yield the problems of one split; return its record, without counts if there are any."""
        kinds = [files]
        with suppress(DataError):  # instance maps are optional
            kinds.append(objects())
        tallies = [Tally(kind) for kind in kinds]
        sound = True
        crowded: list[str] = []
        for line in problems(files, self.progress, tallies, crowded):
            sound = False
            yield line
        self.notes += [f"{line}, and no object of it can be trained on" for line in crowded]
        if crowded:  # class maps can be used, instance maps cannot
            kinds, tallies = kinds[:1], tallies[:1]
        if len(tallies[0]) < len(files):
            with suppress(DataError):  # a file is missing
                return hash_files(files).record("")
            return None
        folder = usable_folder(self.config)
        for kind, tally in zip(kinds, tallies, strict=True):
            place = RecordFile(kind, folder)
            before, now = place.read(), tally.record(place.changes)
            if before is None or before.identity == now.identity:
                if sound:
                    place.write(now)
                continue
            for path in _changed(kind, before, now):
                yield (
                    f"{path}: its content changed after it was checked, though its size and time "
                    "did not; if the new content is right, run touch on it"
                )
        record = tallies[0].record("")
        turned = set(record.ambiguous)
        self.notes += [
            f"{path}: shown rotated by its EXIF orientation; its mask fits either way"
            for name, path in zip(files.ids, files.images, strict=True)
            if name in turned
        ]
        return record

    def _overlap(
        self,
        train: SplitFiles,
        train_record: Record | None,
        val: SplitFiles,
        val_record: Record | None,
    ) -> Iterator[str]:
        if self.config.allow_overlap:
            return
        try:
            check_overlap(self.config, train, val)
        except ConfigError as error:
            yield str(error)
        if train_record is not None and val_record is not None:
            paths = dict(zip(train.ids, train.images, strict=True))
            others = dict(zip(val.ids, val.images, strict=True))
            for twin, name in equal_images(train.ids, train_record, val.ids, val_record):
                yield f"{others[name]}: the same image as {paths[twin]}, a training image"


def _changed(files: SplitFiles, before: Record, now: Record) -> Iterator[str]:
    for kind in range(len(files.files(0))):
        pairs = zip(before.digests(kind), now.digests(kind), strict=True)
        for index, (old, new) in enumerate(pairs):
            if old != new:
                yield files.named(files.files(index)[kind], index)


def problems(
    files: SplitFiles,
    progress: Progress = no_progress,
    tallies: Sequence[Tally] = (),
    crowded: list[str] | None = None,
) -> Iterator[str]:
    """Yield every problem of the files of a split as one line that names the file.

    Covers images, class maps and, if they exist, instance maps and annotations. Decoded samples are
    added to ``tallies``, the last of which covers all files of the others. For a split opened
    without instances, images with too many objects are added to ``crowded``.
    """
    digested = tallies[-1].files if tallies else None
    checks = prefetch(
        lambda index: _check_sample(files, index, digested), len(files), files.decoded_bytes
    )
    for lines, pixels, digests, too_many in progress(checks, len(files), f"checking {files.split}"):
        yield from lines
        if crowded is not None:
            crowded += too_many
        if pixels is not None:
            for tally in tallies:
                tally.add(digests[: len(tally.short)], pixels)


def _check_sample(
    files: SplitFiles, index: int, digested: SplitFiles | None
) -> tuple[list[str], Pixels | None, list[str], list[str]]:
    lines: list[str] = []
    crowded: list[str] = []
    pixels: Pixels | None = None
    digests: list[str] = []
    try:
        pixels = files.read(index)
        digests = digest_files(digested, index) if digested else []
    except DataError as error:
        lines.append(str(error))
    try:
        files.boxes(index)
    except DataError as error:
        lines.append(str(error))
    try:
        if (source := files.instance_source(index)) is not None:
            instance_map = files.read_instance_map(source)
            if pixels is not None:
                name = files.named(source, index)
                lines += _instance_problems(name, instance_map, pixels.class_map)
    except TooManyObjectsError as error:
        crowded.append(str(error))
    except DataError as error:
        lines.append(str(error))
    lines = list(dict.fromkeys(lines))  # with instances, a sample reports some problems twice
    return lines, pixels, digests, crowded


def _instance_problems(path: str, instance_map: np.ndarray, class_map: np.ndarray) -> Iterator[str]:
    if instance_map.shape != class_map.shape:
        yield f"{path}: {instance_map.shape[::-1]} pixels, but the class map has another size"
        return
    for instance in np.unique(instance_map):
        if instance in (0, VOID):
            continue
        under = np.bincount(class_map[instance_map == instance], minlength=256)
        under[VOID] = 0
        if (under > 0).sum() > 1:
            values = ", ".join(f"{value} ({under[value]} pixels)" for value in under.nonzero()[0])
            yield f"{path}: instance {instance} covers several classes: {values}"
