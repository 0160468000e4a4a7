"""Data sets to test on: one written by hand, the synthetic one, and the real VOC2007."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seglab.data.classes import flat_palette
from seglab.data.synthetic import SyntheticSpec, write_tree
from seglab.schema import DataConfig

SIZES = {"a": (6, 9), "b": (9, 6), "c": (6, 9), "d": (4, 4), "e": (6, 9)}
"""Height and width of the samples of the hand-made tree; the first three are its training split."""


class Tree:
    """A hand-made VOC folder, to be spoilt by the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (folder / name).mkdir(parents=True)

    @property
    def root(self) -> Path:
        return self.folder.parent

    def image(self, name: str) -> Path:
        return self.folder / "JPEGImages" / f"{name}.jpg"

    def mask(self, name: str) -> Path:
        return self.folder / "SegmentationClass" / f"{name}.png"

    def instances(self, name: str) -> Path:
        return self.folder / "SegmentationObject" / f"{name}.png"

    def annotation(self, name: str) -> Path:
        return self.folder / "Annotations" / f"{name}.xml"

    def list(self, split: str) -> Path:
        return self.folder / "ImageSets" / "Segmentation" / f"{split}.txt"

    def write_mask(self, path: Path, labels: np.ndarray) -> None:
        path.parent.mkdir(exist_ok=True)
        mask = Image.fromarray(labels.astype(np.uint8))
        mask.putpalette(flat_palette())
        mask.save(path)

    def add(self, name: str, size: tuple[int, int]) -> None:
        """Write a noise image and a class map that holds 0, 20 and 255."""
        rng = np.random.default_rng(list(name.encode()))
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(self.image(name))
        labels = rng.integers(0, 21, size)
        labels.flat[:3] = 0, 20, 255
        self.write_mask(self.mask(name), labels)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A VOC2007 of three training and two validation images, under a root of its own."""
    made = Tree(tmp_path / "root" / "VOC2007")
    for name, size in SIZES.items():
        made.add(name, size)
    made.list("train").write_text("a\nb\nc\n")
    made.list("val").write_text("d\ne\n")
    return made


@pytest.fixture(scope="session")
def synth_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic tree; not to be written to."""
    root = tmp_path_factory.mktemp("synthetic")
    write_tree(root, SyntheticSpec(train=11, val=9, width=48, height=36, seed=5))
    return root


@pytest.fixture(scope="session")
def voc_root() -> Path:
    """The folder that holds the real VOC2007."""
    root = Path(__file__).resolve().parents[3] / "shared" / "VOCdevkit"
    if not (root / "VOC2007").is_dir():
        pytest.skip("no VOC2007 in ../shared/VOCdevkit beside the checkout")
    return root


@pytest.fixture(scope="session")
def composed_data() -> DataConfig:
    """What ``data=voc2007`` composes to."""
    from seglab.config.compose import compose
    from seglab.schema import TrainConfig

    return compose("train", TrainConfig, ["data=voc2007", "data.root=ROOT"]).config.data


@pytest.fixture
def data_config(composed_data: DataConfig, tmp_path: Path) -> Callable[..., DataConfig]:
    """Make a data configuration whose store lies in the test's own folder."""

    def make(root: Path | None, **changes: Any) -> DataConfig:
        store = replace(composed_data.store, dir=str(tmp_path / "store"))
        changes = {"root": root and str(root), "store": store, "crop_size": 24} | changes
        return replace(composed_data, **changes)

    return make
