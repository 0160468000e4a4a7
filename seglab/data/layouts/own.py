"""A data set of the user's own: a class that gives samples as arrays. Imports no torch itself."""

from __future__ import annotations

import io
import threading
import traceback
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from hydra.errors import HydraException

from seglab.data.file_stats import StatDigests, file_stats
from seglab.data.layouts.base import Part, Source, SplitFiles
from seglab.data.layouts.lists import configured_root
from seglab.errors import ConfigError, DataError, one_line
from seglab.instantiate import build
from seglab.runtime.own_code import INSTALLED, own_code_digests, own_modules
from seglab.schema import DataConfig


class OwnDataset(Protocol):
    """One split of a data set of the user's own; ``data.dataset`` names its class.

    The class may take ``root`` (``data.root``, a Path or None) and ``split`` (such as ``train``)
    beside arguments of its own. One thread at a time reads samples, in any order and process.

    Attributes:
        ids: the unique names of the samples.
        paths: the files that the samples are read from; empty if code alone makes them. Together
            with the ids and the code they tell whether the samples may have changed.
    """

    ids: Sequence[str]
    paths: Sequence[str | Path]

    def __getitem__(self, index: int) -> Sequence[np.ndarray]:
        """Return image, class map and, for instances, instance map of a sample.

        Returns:
            ``(H, W, C)`` uint8, C being ``data.channels``; ``(H, W)`` uint8, class indices and 255
            for void; ``(H, W)`` uint8, instance ids from 1, 0 for background, 255 for void.
        """


class _Last(threading.local):
    """The last sample that each thread has read: its parts are asked for one by one."""

    def __init__(self) -> None:
        self.key: tuple[object, int] | None = None
        self.arrays: list[np.ndarray] = []

    def keep(self, key: tuple[object, int], arrays: list[np.ndarray]) -> None:
        """Replace the sample."""
        self.key, self.arrays = key, arrays


_LAST = _Last()

_READING = threading.Lock()


class OwnFiles(SplitFiles):
    """A split of :class:`OwnDataset`. Its identity is that of the arrays, whatever they come from.

    Arguments and errors are those of :class:`seglab.data.layouts.opening.Opener`.
    """

    per_sample = ()
    remedy = "data.dataset has to give the numbers of classes"

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
        if config.mask_values is not None:
            raise ConfigError("data.mask_values: data.dataset gives the numbers of classes itself")
        super().__init__(names, config)
        self.node: dict[str, Any] = config.dataset or {}
        root = None if config.root is None else configured_root(config)
        self.target = str(self.node["_target_"])
        try:
            self.dataset: OwnDataset = build(self.node, "data.dataset", root=root, split=split)
        except HydraException as error:
            raise DataError(f"{self.target}: {split}: {_described(error.__cause__)}") from None
        self.split, self.instances = split, instances
        self.folder = self.image_folder = root or Path()
        self.list_file = Path(self.target)
        ids = [*self._attribute("ids")]
        self.places = {name: place for place, name in enumerate(ids)}
        if odd := [name for name in ids if not isinstance(name, str)]:
            kind = type(odd[0]).__name__
            raise DataError(f"{self.target}: ids of {split} must be texts; {odd[0]!r} is {kind}")
        if not ids:
            raise DataError(f"{self.target}: ids of {split} must not be empty")
        if twice := [name for place, name in enumerate(ids) if self.places[name] != place]:
            raise DataError(f"{self.target}: ids of {split} have {twice[0]!r} twice")
        self.ids = ids
        if part is not None:
            self.split, self.ids = part.name, part.of(partial(list, ids), self.list_file)
        self.images = [self.image_folder / name for name in self.ids]  # for messages
        self.token = object()  # unlike id(self), never that of another split
        self.sizes: dict[int, tuple[int, int]] = {}
        if instances and look:
            self._arrays(0)  # a data set without instance maps is known before all is read

    def files(self, index: int) -> list[Source]:
        """Return the arrays of a sample as the bytes of ``.npy`` files."""
        return [_packed(array) for array in self._arrays(index)[: 2 + self.instances]]

    def maps(self, index: int) -> list[Source]:
        """Return the sources of the class map and, with instances, of the instance map."""
        return self.files(index)[1:]

    def instance_source(self, index: int) -> Source | None:
        """Return the source of an instance map, if the data set has one."""
        arrays = self._arrays(index, instances=False)
        return _packed(arrays[2]) if len(arrays) > 2 else None

    def read_image(self, index: int) -> tuple[np.ndarray, int]:
        """Return the image, which is upright."""
        return self._arrays(index)[0], 1

    def read_class_map(self, source: Source) -> np.ndarray:
        """Return labels ``(H, W)`` uint8."""
        return _unpacked(source)

    read_instance_map = read_class_map

    def rule(self) -> object:
        """Return nothing: the arrays hold labels."""
        return None

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image, read once."""
        if index not in self.sizes:
            height, width = self._arrays(index, instances=False)[0].shape[:2]
            self.sizes[index] = (height, width)
        return self.sizes[index]

    def decoded_bytes(self, index: int) -> int:
        """Return the memory of the first sample in bytes: to know others, they must be read."""
        height, width = self.size(0)
        return height * width * self.bytes_per_pixel

    def stat_keys(self) -> tuple[str, str]:
        """Return the digests of :meth:`SplitFiles.stat_keys`, of the data set's code and files."""
        code = own_code_digests(own_modules({"dataset": self.node}))
        known = (self.classes, self.meaning(), *self.pixel_format.meaning(), self.node, code)
        digests = StatDigests(repr((known, self.split)))
        paths = [str(path) for path in self._attribute("paths")]
        digests.add(self.ids, [paths] if paths else [], file_stats(paths))
        return digests.own.hexdigest(), digests.changes.hexdigest()

    def named(self, source: Source, index: int) -> str:
        """Return the name of a sample for errors."""
        if isinstance(source, Path):
            return "its image"
        return f"{self.target}, {self.ids[index]!r} of {self.split}"

    def _attribute(self, name: str) -> Sequence[Any]:
        try:
            value: Sequence[Any] = getattr(self.dataset, name)
        except AttributeError:
            raise ConfigError(f"data.dataset._target_={self.target}: has no {name}") from None
        if isinstance(value, str | bytes | Path) or not isinstance(value, Iterable):
            raise ConfigError(f"data.dataset._target_={self.target}: {name} must be a list")
        return value

    def _arrays(self, index: int, *, instances: bool | None = None) -> list[np.ndarray]:
        """Read and check the arrays of a sample, once for consecutive calls of a thread.

        Raises:
            DataError: it cannot be read, or its arrays are no sample; names it.
        """
        key, wanted = (self.token, index), self.instances if instances is None else instances
        if key != _LAST.key:
            place = self.places[self.ids[index]]
            try:
                with _READING:
                    arrays = [np.asarray(array) for array in self.dataset[place]]
            except Exception as error:  # of any kind: the code is the user's
                raise DataError(f"{self.named(b'', index)}: {_described(error)}") from None
            _LAST.keep(key, arrays)
        arrays = _LAST.arrays
        if len(arrays) < 2 + wanted:
            kinds = "image, class map and instance map" if wanted else "image and class map"
            raise DataError(f"{self.named(b'', index)}: {len(arrays)} arrays; must be {kinds}")
        channels = self.pixel_format.channels
        if arrays[0].ndim == 2 and channels == 1:
            arrays = [arrays[0][..., None], *arrays[1:]]
        right = [("image", (*arrays[0].shape[:2], channels)), ("class map", None)]
        right += [("instance map", None)] if len(arrays) > 2 else []
        for (kind, shape), array in zip(right, arrays, strict=False):
            if array.dtype != np.uint8 or (array.shape != shape if shape else array.ndim != 2):
                form = f"(H, W, {channels}) uint8 (data.channels={channels})"
                raise DataError(
                    f"{self.named(b'', index)}: {kind} is {array.shape} {array.dtype}; must be "
                    f"{form if shape else '(H, W) uint8'}"
                )
        return arrays


def _described(error: BaseException | None) -> str:
    """Return an error of the user's code in one line, with the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    own = [frame for frame in frames if not INSTALLED & {*Path(frame.filename).parts}]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {one_line(error or '')}{place}"


def _packed(array: np.ndarray) -> bytes:
    np.save(file := io.BytesIO(), np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


def _unpacked(source: Source) -> np.ndarray:
    assert isinstance(source, bytes), "arrays come as bytes"
    array: np.ndarray = np.load(io.BytesIO(source), allow_pickle=False)
    return array
