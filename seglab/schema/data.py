"""The data set, its layout and splits, and how it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from seglab.schema.rules import Bound, Mark, Name, OneOf, Range


@dataclass(frozen=True)
class StoreConfig:
    """Where decoded pixels are kept between runs; see ``seglab.data.store.cached``."""

    enabled: bool
    dir: str | None
    max_gb: Annotated[float, Bound(above=0)]
    mode: Annotated[str, OneOf("complete", "progressive")] = "complete"


@dataclass(frozen=True)
class SynthConfig:
    """The built-in data set; see ``seglab.data.synthetic``."""

    train: Annotated[int, Bound(1, 100_000)]
    val: Annotated[int, Bound(1, 100_000)]
    width: Annotated[int, Bound(32, 4096)]
    height: Annotated[int, Bound(32, 4096)]
    seed: Annotated[int, Bound(0)]


@dataclass(frozen=True)
class DataConfig:
    """A data set, its layout and splits, loading and augmentation."""

    name: Annotated[str, Name()]
    root: Annotated[str | None, Mark.NO_EFFECT]  # the identity of the data counts
    year: Annotated[int | None, Bound(2007, 2012)]
    classes: list[str] | None
    train_split: str
    val_split: str
    mask_dir: str
    synth: SynthConfig | None
    batch_size: Annotated[int, Bound(1)]
    eval_batch_size: Annotated[int, Bound(1), Mark.NO_EFFECT]
    num_workers: Annotated[int, Bound(0), Mark.NO_EFFECT]
    crop_size: Annotated[int | None, Bound(1)]
    scale: Annotated[list[float], Bound(above=0), Range()]
    flip: Annotated[float, Bound(0, 1)]
    photometric: Annotated[float, Bound(0, 1)]
    store: Annotated[StoreConfig, Mark.NO_EFFECT]
    mask_values: dict[str, str] | None = None
    channels: Annotated[int, Bound(1, 64)] = 3
    value_range: Annotated[list[float] | None, Range(strict=True)] = None
    allow_overlap: Annotated[bool, Mark.NO_EFFECT] = False
    layout: Annotated[str, OneOf("folder", "pairs", "coco", "dataset")] = "folder"
    dataset: dict[str, Any] | None = None
    image_dir: str = "JPEGImages"
    instance_dir: str = "SegmentationObject"
    image_suffix: str = ""
    mask_suffix: str = ""
    annotations: str = "{split}.json"
    ignore_classes: list[str] | None = None
    merge_classes: dict[str, list[str]] | None = None
    source_classes: list[str] | None = None
    val_fraction: Annotated[float | None, Bound(0.001, 0.999)] = None
    split_seed: Annotated[int, Bound(0)] = 0
    max_images: Annotated[int | None, Bound(1)] = None
    group: str | None = None
    splits: Annotated[str | None, Mark.NO_EFFECT] = None  # the identity of the data counts

    def split_name(self, split: str) -> str:
        """Return the list that a command's ``split=`` means.

        ``val`` and ``train`` are the run's own validation and training split; anything else is
        the name of a list, or its file. With ``val_fraction``, ``val`` and ``train`` are parts.
        """
        if self.val_fraction is not None:
            same = split == "val" and self.val_split == self.train_split  # debug=overfit
            return "train" if same else split
        return {"val": self.val_split, "train": self.train_split}.get(split, split)
