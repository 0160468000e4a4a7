"""A store that is filled while the training runs: the same batches, record and errors."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from seglab.data.datamodule import VOCDataModule
from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.store import filling, shards
from seglab.data.store.cached import Cached
from seglab.data.store.digests import Record
from seglab.data.store.index import IndexLine, read_index
from seglab.errors import DataError
from seglab.schema import DataConfig

if TYPE_CHECKING:
    from tests.data.conftest import Tree

Make = Callable[..., DataConfig]


def progressive(config: DataConfig, **settings: Any) -> VOCDataModule:
    module = VOCDataModule(config, seed=1, progressive=True, **settings)
    module.check()
    return module


def other_folder(config: DataConfig, name: str) -> DataConfig:
    return replace(config, store=replace(config.store, dir=f"{config.store.dir}-{name}"))


def filled(module: VOCDataModule) -> list[str]:
    """Wait until the training split is checked; return the warnings."""
    lines: list[str] = []
    with module.filling(lines.append):
        end = time.monotonic() + 60
        while module.record("train").counts is None and time.monotonic() < end:
            time.sleep(0.01)
            module.on_before_batch_transfer(cast("Any", None), 0)
    return lines


def train(module: VOCDataModule) -> Cached:
    return cast("Cached", module.split("train"))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """Let the filling read as many samples as this is released."""
    gate = threading.Semaphore(0)
    read = filling._read

    def wait(files: SplitFiles, record: Record, index: int) -> Pixels:
        assert gate.acquire(timeout=60)
        return read(files, record, index)

    monkeypatch.setattr(filling, "_read", wait)
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    yield gate
    gate.release(10_000)


def test_nothing_is_decoded_before_the_first_batch(
    tree: Tree, data_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, decoded = SplitFiles.read, []

    def spy(files: SplitFiles, index: int) -> Pixels:
        decoded.append(files.ids[index])
        return read(files, index)

    monkeypatch.setattr(SplitFiles, "read", spy)
    config = data_config(tree.root, batch_size=2)
    module = progressive(config)
    assert sorted(decoded) == ["d", "e"], "the validation split"
    assert module.storage() == ["training starts while the store of train is filled"]
    assert module.identity == VOCDataModule(other_folder(config, "whole")).identity


@pytest.mark.parametrize("max_bytes", [None, 1000, 1])
def test_what_is_left_is_what_a_complete_check_leaves(
    tree: Tree, data_config: Make, max_bytes: int | None
) -> None:
    config = data_config(tree.root, batch_size=2)
    if max_bytes is not None:
        config = replace(config, store=replace(config.store, max_gb=max_bytes / 1e9))
    module, whole = progressive(config), VOCDataModule(other_folder(config, "whole"))
    filled(module)
    assert module.record("train") == whole.record("train")
    again = VOCDataModule(config)
    again.check()
    assert again.record("train") == whole.record("train")
    if max_bytes is None:
        assert train(again).stored == 3
        for name in ("00000.safetensors", "index.jsonl"):
            assert (train(again).path / name).read_bytes() == (
                train(whole).path / name
            ).read_bytes()


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_while_the_store_is_filled(
    synth_root: Path, data_config: Make, steps: threading.Semaphore, workers: int
) -> None:
    config = data_config(synth_root, batch_size=2, photometric=1.0, num_workers=workers)
    whole = VOCDataModule(other_folder(config, "whole"), seed=1)
    whole.check()
    module = progressive(config)
    loaders = whole.train_dataloader(), module.train_dataloader()
    with module.filling(print):
        for epoch in range(3):
            for loader in loaders:
                loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            for expected, got in zip(*loaders, strict=True):
                assert got.ids == expected.ids
                assert got.image.equal(expected.image)
                assert got.class_map.equal(expected.class_map)
                steps.release()
        steps.release(20)
    assert 0 < train(module).stored <= 11


def test_a_filling_that_was_ended_early_is_continued(
    tree: Tree, data_config: Make, steps: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = data_config(tree.root, batch_size=2)
    first = progressive(config)
    index = train(first).path / "index.jsonl"
    with first.filling(print):
        steps.release(1)
        while not (index.is_file() and index.read_text().count("\n") == 1):
            time.sleep(0.01)
        steps.release(10_000)  # whatever is decoded now is decoded for nothing
        cast("Any", first._background).stop.set()
    stored = index.read_text().count("\n")
    assert first.record("train").counts is None
    read: list[int] = []
    real = filling._read

    def spy(files: SplitFiles, record: Record, index: int) -> Pixels:
        read.append(index)
        return real(files, record, index)

    monkeypatch.setattr(filling, "_read", spy)
    second = progressive(config)
    filled(second)
    assert sorted(read) == list(range(stored, 3))
    whole = VOCDataModule(other_folder(config, "whole"))
    assert second.record("train") == whole.record("train")
    assert train(second).stored == 3


@pytest.mark.parametrize("what", ["label", "image", "changed"])
def test_a_bad_sample_ends_the_training(tree: Tree, data_config: Make, what: str) -> None:
    path = tree.image("b") if what == "image" else tree.mask("b")
    if what == "image":
        path.write_bytes(b"no picture")
    elif what == "label":
        tree.write_mask(path, np.full((9, 6), 33))
    module = progressive(data_config(tree.root, batch_size=2))
    if what == "changed":  # after its bytes were read for the identity
        tree.write_mask(path, np.full((9, 6), 7))
    expected = f"{path}: {'label 33' if what == 'label' else ''}"
    with pytest.raises(DataError, match=expected):
        filled(module)
    if what != "changed":
        with pytest.raises(DataError, match=expected):
            _ = module.split("train")[1]
    shutil.rmtree(module.config.store.dir or "")
    if what != "changed":
        with pytest.raises(DataError, match=expected):
            VOCDataModule(module.config).check()


def test_what_only_a_whole_check_can_tell_is_told(tree: Tree, data_config: Make) -> None:
    for name, size in (("a", (6, 9)), ("b", (9, 6)), ("c", (6, 9))):
        tree.write_mask(tree.mask(name), np.full(size, 3))
    config = data_config(tree.root, batch_size=2)
    whole = VOCDataModule(other_folder(config, "whole"))
    whole.check()
    module = progressive(config)
    assert module.warnings() == []
    assert filled(module) == whole.warnings() != []
    assert filled(progressive(config)) == []


def test_masks_of_nothing_but_background_end_the_training(tree: Tree, data_config: Make) -> None:
    for name, size in (("a", (6, 9)), ("b", (9, 6)), ("c", (6, 9))):
        tree.write_mask(tree.mask(name), np.zeros(size))
    with pytest.raises(DataError, match="no pixel of a class other than background"):
        filled(progressive(data_config(tree.root, batch_size=2)))


def test_two_threads_look_at_a_growing_index_at_once(
    tree: Tree, data_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = data_config(tree.root, batch_size=2)
    cached = train(progressive(config))
    VOCDataModule(config).check()  # fills it
    both = threading.Barrier(2)

    def read(path: Path, start: int = 0) -> list[IndexLine]:
        lines = [*read_index(path, start)]
        both.wait(60)
        return lines

    monkeypatch.setattr("seglab.data.store.cached.read_index", read)
    with ThreadPoolExecutor(2) as pool:
        for looked in [pool.submit(cached.look) for _ in range(2)]:
            looked.result(60)
    assert cached.stored == 3
