"""COCO's layout: a JSON file of polygons and run lengths, a folder of images. Imports no torch."""

from __future__ import annotations

import json
from difflib import get_close_matches
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from seglab.data.classes import VOID
from seglab.data.files import all_formats, image_size
from seglab.data.layouts.base import Part, Source, SplitFiles
from seglab.data.layouts.coco_listing import BACKGROUND, read_listing
from seglab.data.layouts.coco_masks import paint
from seglab.data.layouts.lists import configured_root
from seglab.data.masks import too_many_objects
from seglab.errors import ConfigError, DataError
from seglab.schema import DataConfig


class CocoFiles(SplitFiles):
    """A split that ``ROOT/SPLIT.json`` lists, with its images in ``ROOT/SPLIT/``.

    Categories that are not among the classes are not painted.
    """

    per_sample = ("images", "entries")

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
        self.split, self.instances, self.formats = split, instances, all_formats()
        self.list_file = self.folder / config.annotations.replace("{split}", split)
        self.image_folder = self.folder / config.image_dir.replace("{split}", split)
        if not self.folder.is_dir():
            raise ConfigError(f"data.root={self.folder}: no such folder")
        listing = read_listing(self.list_file)
        self.categories = listing.categories
        self.labels: dict[int, int | None] = {
            key: names.index(name) if name in names else None
            for key, name in self.categories.items()
        }
        self._check_names(names)
        places: dict[str, int] = {}
        for place, file in enumerate(listing.images):
            name = PurePosixPath(file).with_suffix("").as_posix()
            if name in places:
                other = listing.images[places[name]]
                wrong = f"{file!r} is listed twice"
                if file != other:
                    wrong = f"{file!r} and {other!r} have one name"
                raise DataError(f"{self.list_file}: {wrong}")
            places[name] = place
        self.ids = [*places]
        if part is not None:
            self.split, self.ids = part.name, part.of(partial(list, self.ids), self.list_file)
        chosen = [places[name] for name in self.ids]
        self.images = [self.image_folder / listing.images[place] for place in chosen]
        self.entries = [listing.entries[place] for place in chosen]
        if not look:
            return
        if not self.image_folder.is_dir():
            raise DataError(f"{self.image_folder}: no such folder; see data.image_dir")
        for path in () if missing_ok else self.images:
            if not path.is_file():
                raise DataError(f"{path}: not found, but {self.list_file} lists it")

    def maps(self, index: int) -> list[Source]:
        """Return the sample's annotations, for each map."""
        return [self.entries[index]] * (1 + self.instances)

    def instance_source(self, index: int) -> Source:
        """Return the sample's annotations."""
        return self.entries[index]

    def listings(self) -> list[Path]:
        """Return the JSON file."""
        return [self.list_file]

    def rule(self) -> object:
        """Return the label of each category."""
        return sorted(self.labels.items())

    def read_class_map(self, source: Source) -> np.ndarray:
        """Paint the labels of the annotated objects."""
        return self._paint(source)[0]

    def read_instance_map(self, source: Source) -> np.ndarray:
        """Paint the ids of the annotated objects.

        Raises:
            TooManyObjectsError: there are more than 254.
        """
        _, instance_map, objects = self._paint(source)
        if objects >= VOID:
            raise too_many_objects(self._named(source), objects)
        return instance_map.astype(np.uint8)

    def _paint(self, source: Source) -> tuple[np.ndarray, np.ndarray, int]:
        assert isinstance(source, bytes)
        content = json.loads(source)
        path, (rows, columns) = self.image_folder / content["image"], content["size"]
        height, width = image_size(path, self.formats)
        if height * width != rows * columns:  # before so much is painted
            raise DataError(
                f"{self._named(source)}: {columns}x{rows} pixels, but {path} has {width}x{height}"
            )
        try:
            return paint(content, self.labels)
        except ValueError as error:
            raise DataError(f"{self._named(source)}: {error}") from None

    def _named(self, source: Source) -> str:
        assert isinstance(source, bytes)
        return f"{self.list_file}: {json.loads(source)['image']}"

    def _check_names(self, names: list[str]) -> None:
        known = [BACKGROUND, *self.categories.values()]
        if names[0] != BACKGROUND and names[0] in known:
            raise ConfigError(
                f"data.classes: {names[0]!r} is first, but a category; the first class is what no "
                "object covers, such as background"
            )
        for name in names[1:]:
            if name not in known:
                near = get_close_matches(name, known, n=3, cutoff=0.5) or known
                raise ConfigError(
                    f"data.classes: {name!r} is no category of {self.list_file}; there is "
                    f"{', '.join(near)}"
                )
