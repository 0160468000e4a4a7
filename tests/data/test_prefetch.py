"""What is decoded ahead of a slow consumer is bounded by number and by bytes."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seglab.data import prefetch as prefetching
from seglab.data.check import DataCheck
from seglab.data.datamodule import VOCDataModule
from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.prefetch import prefetch
from seglab.data.store import shards
from seglab.schema import DataConfig


class Watch:
    """Counts the bytes of the decoded images that are alive."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alive = self.most = self.decoded = 0
        self.lock = threading.Lock()
        read = SplitFiles.read

        def watched(files: SplitFiles, index: int) -> Pixels:
            pixels = read(files, index)
            weakref.finalize(pixels.image, self.add, -pixels.image.nbytes)
            self.add(pixels.image.nbytes)
            self.decoded += 1
            return pixels

        monkeypatch.setattr(SplitFiles, "read", watched)

    def add(self, count: int) -> None:
        with self.lock:
            self.alive += count
            self.most = max(self.most, self.alive)


def slowly(items: Iterable[Any], total: int, text: str) -> Iterable[Any]:
    for item in items:
        time.sleep(0.01)
        yield item


@pytest.mark.parametrize("how", ["check", "store", "no store"])
@pytest.mark.parametrize("side", [100, 500])
def test_large_photographs_do_not_pile_up_in_memory(
    data_config: Callable[..., DataConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    side: int,
) -> None:
    """Photographs of a quarter of the bound each, and some that are larger than it alone."""
    folder = tmp_path / "root/VOC2007"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for number in range(24):
        rng = np.random.default_rng(number)
        image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"JPEGImages/{number}.jpg")
        Image.fromarray(image[..., 0] % 21).save(folder / f"SegmentationClass/{number}.png")
    names = [str(number) for number in range(24)]
    (folder / "ImageSets/Segmentation/train.txt").write_text("\n".join(names[:20]))
    (folder / "ImageSets/Segmentation/val.txt").write_text("\n".join(names[20:]))
    bound = 4 * 4 * 100 * 100
    monkeypatch.setattr(prefetching, "AHEAD_BYTES", bound)
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    watch = Watch(monkeypatch)
    config = data_config(tmp_path / "root")
    if how == "check":
        assert not list(DataCheck(config, slowly).problems())
    else:
        config = replace(config, store=replace(config.store, enabled=how == "store"))
        VOCDataModule(config, progress=slowly).check()
    assert watch.decoded >= 24
    image_bytes = 3 * side * side
    # Beside them, the consumer holds one or two for a moment.
    assert watch.most <= max(bound, image_bytes) + 2 * image_bytes


def test_results_come_in_order_and_a_bounded_number_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def square(index: int) -> int:
        begun.append(index)
        return index**2

    for count, root in enumerate(prefetch(square, 200)):
        assert root == count**2
        assert len(begun) <= count + 1 + prefetching.AHEAD
    assert sorted(begun) == list(range(200))


def test_a_consumer_that_stops_waits_for_nothing_more() -> None:
    done: list[int] = []

    def slow(index: int) -> None:
        time.sleep(0.02)
        done.append(index)

    results = prefetch(slow, 1000)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(done) < prefetching.AHEAD
