"""Decoded pixels, memory-mapped: a data set is decoded and checked once, not once an epoch.

The files are safetensors: memory-mapped without a copy, no pickle, one library that torch's users
know. Of the others looked at, LMDB needs its size declared ahead and misbehaves on network file
systems, Arrow and Zarr are an order heavier to install for the same flat bytes, and the streaming
formats (WebDataset, LitData, FFCV) give no random access without decoding or are no longer kept.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.utils.data import Dataset

from seglab.data.voc import Sample, VOCSegmentation
from seglab.errors import ConfigError, DataError

FORMAT = 1
"""Part of a store's name: a store written in another format is made anew, never misread."""

STORE = re.compile(r"v\d+-[0-9a-f]{24}")
"""What a store is called; nothing else in its folder is ever deleted."""

SHARD_BYTES = 64 * 2**20
"""A shard is gathered in memory before it is written; this bounds how much."""

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Wraps an iterable of known length to show how far it is; the text says what is being done."""


def no_progress(items: Iterable[Any], total: int, text: str) -> Iterable[Any]:
    """Show nothing."""
    return items


def check(dataset: VOCSegmentation, progress: Progress = no_progress) -> Iterator[Sample]:
    """Decode every sample of ``dataset`` in order, on all cores, and yield it.

    Raises:
        DataError: after the last sample, the first problem found and how many more there are.
    """
    problems: list[DataError] = []

    def load(index: int) -> Sample | DataError:
        try:
            return dataset[index]
        except DataError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # A window bounds how many decoded samples wait for a slow consumer.
        waiting: list[Any] = []
        indices = iter(range(len(dataset)))
        waiting += [pool.submit(load, index) for index in islice(indices, 32)]
        for _ in progress(range(len(dataset)), len(dataset), f"checking {dataset.split}"):
            sample = waiting.pop(0).result()
            waiting += [pool.submit(load, index) for index in islice(indices, 1)]
            if isinstance(sample, DataError):
                problems.append(sample)
            else:
                yield sample
    if problems:
        more = f" ({len(problems) - 1} more: seglab data check lists them)"
        raise DataError(f"{problems[0]}{more if len(problems) > 1 else ''}")


class Cached(Dataset[Sample]):
    """A data set whose samples come as views of memory-mapped uint8 pixels.

    The first opening decodes and checks everything; the result is remembered under the data's
    fingerprint, so that the next one costs a few milliseconds. Workers and processes share the
    pages. Two makers of one store: one works, the other waits and uses it.

    Args:
        dataset: what to decode.
        folder: where stores are kept; None means this user's cache folder.
        max_bytes: bound of the whole folder; the stores used longest ago make room.
        progress: shows the pass over the samples.

    Raises:
        DataError: a sample cannot be used, or the folder cannot be written.
        ConfigError: the data set alone needs more than ``max_bytes``.
    """

    def __init__(
        self,
        dataset: VOCSegmentation,
        folder: Path | None = None,
        max_bytes: int = 50 * 10**9,
        progress: Progress = no_progress,
    ) -> None:
        self.ids = dataset.ids
        self.classes = dataset.classes
        self.instances = dataset.instances
        folder = folder or user_cache_path("seglab") / "store"
        self._fingerprint = dataset.fingerprint()
        self.path = folder / f"v{FORMAT}-{self._fingerprint[:24]}"
        try:
            if not (self.path / "index.json").is_file():
                folder.mkdir(parents=True, exist_ok=True)
                with FileLock(folder / f"{self.path.name}.lock"):
                    if not (self.path / "index.json").is_file():
                        _fill(dataset, self.path, max_bytes, progress)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(
                f"{folder}: the store cannot be written: {reason}; free some space, or set "
                "data.store.dir=DIR, or data.store.enabled=false to do without"
            ) from None
        with suppress(OSError):  # a store that others may only read serves as well
            os.utime(self.path / "index.json")  # the stores used longest ago make room first
        try:
            index = json.loads((self.path / "index.json").read_text())
            self.shards: list[int] = [int(shard) for shard in index["shards"]]
            self.sizes: list[tuple[int, int]] = [(int(h), int(w)) for h, w in index["sizes"]]
            if not len(self.shards) == len(self.sizes) == len(self.ids):
                raise ValueError(f"index.json is not of {len(self.ids)} samples")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path}: damaged store: {error}; delete it") from None
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.ids)

    def fingerprint(self) -> str:
        """Return the digest of what the samples were made of; see ``VOCSegmentation``."""
        return self._fingerprint

    def __getitem__(self, index: int) -> Sample:
        """Return a sample whose tensors are views of the store; they must not be written to."""
        index = range(len(self))[index]  # counts from the end, and ends, as a list does
        shard = self.shards[index]
        path = self.path / f"{shard:05d}.safetensors"
        try:
            if shard not in self._open:
                self._open[shard] = safe_open(path, framework="pt")
            tensors = self._open[shard]
            return Sample(
                self.ids[index],
                tensors.get_tensor(f"{index}/image").permute(2, 0, 1),
                tensors.get_tensor(f"{index}/class_map"),
                tensors.get_tensor(f"{index}/instance_map") if self.instances else None,
            )
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path}: damaged store: {error}; delete {self.path}") from None

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image without touching its pixels."""
        return self.sizes[index]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open files behind: each process maps them for itself."""
        return {**self.__dict__, "_open": {}}


def _fill(dataset: VOCSegmentation, path: Path, max_bytes: int, progress: Progress) -> None:
    """Write the store of ``dataset`` at ``path``, whole or not at all."""
    sizes = [_size(dataset, index) for index in range(len(dataset))]
    pixel_bytes = 5 if dataset.instances else 4
    needed = sum(height * width * pixel_bytes for height, width in sizes)
    if needed > max_bytes:
        raise ConfigError(
            f"data.store.max_gb={max_bytes / 1e9:g}: the {dataset.split} split needs "
            f"{needed / 1e9:.1f} GB decoded; raise it, or give data.store.enabled=false"
        )
    _make_room(path.parent, max_bytes - needed)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise DataError(
            f"{path.parent}: {free / 1e9:.1f} GB free, the store needs {needed / 1e9:.1f}; set "
            "data.store.dir=DIR, or data.store.enabled=false to do without"
        )
    # The lock is ours, so what lies there is of a process that died.
    for left_over in (path, *path.parent.glob(f".{path.name}.*")):
        shutil.rmtree(left_over, ignore_errors=True)
    making = path.with_name(f".{path.name}.{os.getpid()}")
    making.mkdir()
    try:
        shards = _write_shards(check(dataset, progress), making)
        (making / "index.json").write_text(json.dumps({"shards": shards, "sizes": sizes}))
        making.rename(path)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _size(dataset: VOCSegmentation, index: int) -> tuple[int, int]:
    try:
        return dataset.size(index)
    except DataError:
        return 0, 0  # check() reports it, with all the others


def _write_shards(samples: Iterator[Sample], folder: Path) -> list[int]:
    """Write the samples in order to numbered files and return the file of each."""
    shards: list[int] = []
    tensors: dict[str, torch.Tensor] = {}
    shard, gathered = 0, 0
    for index, sample in enumerate(samples):
        tensors[f"{index}/image"] = sample.image.permute(1, 2, 0).contiguous()
        tensors[f"{index}/class_map"] = sample.class_map
        gathered += sample.image.nbytes + sample.class_map.nbytes
        if sample.instance_map is not None:
            tensors[f"{index}/instance_map"] = sample.instance_map
            gathered += sample.instance_map.nbytes
        shards.append(shard)
        if gathered >= SHARD_BYTES:
            save_file(tensors, folder / f"{shard:05d}.safetensors")
            tensors, shard, gathered = {}, shard + 1, 0
    if tensors:
        save_file(tensors, folder / f"{shard:05d}.safetensors")
    return shards


def _make_room(folder: Path, budget: int) -> None:
    """Delete the stores used longest ago until the rest fit into ``budget`` bytes.

    A process that has one mapped keeps its pages: on POSIX a deleted file lives until it is closed.
    """
    indices: Sequence[Path] = sorted(
        (path for path in folder.glob("v*/index.json") if STORE.fullmatch(path.parent.name)),
        key=lambda index: index.stat().st_mtime,
        reverse=True,
    )
    used = 0
    for index in indices:
        used += sum(file.stat().st_size for file in index.parent.iterdir())
        if used > budget:
            shutil.rmtree(index.parent, ignore_errors=True)
