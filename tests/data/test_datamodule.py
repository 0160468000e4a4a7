"""From a configuration to batches: the same whatever the workers and processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seglab.data.batches import Batch
from seglab.data.classes import VOC_CLASSES
from seglab.data.datamodule import VOCDataModule
from seglab.data.dataset import VOCSegmentation, open_dataset
from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.layouts.opening import open_files
from seglab.data.sampling import EpochOrder, evaluation_batches
from seglab.data.store.cached import Cached
from seglab.errors import ConfigError, DataError
from seglab.schema import DataConfig, SynthConfig

if TYPE_CHECKING:
    from tests.data.conftest import Tree

Make = Callable[..., DataConfig]


def same(first: Iterable[Batch], second: Iterable[Batch]) -> bool:
    return all(
        one.ids == two.ids
        and one.image.equal(two.image)
        and one.class_map.equal(two.class_map)
        and one.position.equal(two.position)
        for one, two in zip(first, second, strict=True)
    )


def without_store(config: DataConfig) -> DataConfig:
    return replace(config, store=replace(config.store, enabled=False))


def in_world(module: VOCDataModule, rank: int, world_size: int) -> VOCDataModule:
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)  # type: ignore[assignment]
    return module


@pytest.mark.parametrize("stored", [True, False])
def test_batches_hold_instance_maps_if_asked_to(
    data_config: Make, synth_root: Path, stored: bool
) -> None:
    config = data_config(synth_root)
    module = VOCDataModule(config if stored else without_store(config), instances=True)
    truth = open_dataset(config, "val", instances=True)
    for batch in module.val_dataloader():
        for position, instance_map in zip(batch.position, batch.instance_map, strict=True):
            assert instance_map.equal(truth[int(position)].instance_map)
    for batch in module.train_dataloader():
        assert batch.instance_map.shape == batch.class_map.shape
        background = batch.class_map == 0
        assert not batch.instance_map[background].any(), "both maps move together"
    plain = VOCDataModule(config)
    assert all(batch.instance_map is None for batch in plain.train_dataloader())


lengths = st.integers(0, 60)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 9), seeds, st.integers(0, 100))
def test_an_epoch_is_a_permutation(length: int, batch: int, seed: int, epoch: int) -> None:
    order = EpochOrder(length, batch, seed, 0, 1)
    order.set_epoch(epoch)
    pairs = list(order)
    assert len(pairs) == len(order) == length // batch * batch
    assert {number for number, _ in pairs} <= {epoch}
    indices = [index for _, index in pairs]
    assert len(set(indices)) == len(indices)
    assert set(indices) <= set(range(length))
    again = EpochOrder(length, batch, seed, 0, 1)
    again.set_epoch(epoch)
    assert list(again) == pairs


def test_the_order_follows_from_seed_and_epoch() -> None:
    def indices(seed: int, epoch: int) -> tuple[int, ...]:
        order = EpochOrder(40, 1, seed, 0, 1)
        order.set_epoch(epoch)
        return tuple(index for _, index in order)

    keys = [(seed, epoch) for seed in range(4) for epoch in range(4)]
    assert len({indices(*key) for key in keys}) == len(keys)
    assert all(sorted(indices(*key)) == list(range(40)) for key in keys)


def test_what_is_left_out_differs_by_epoch() -> None:
    order = EpochOrder(10, 4, 0, 0, 1)
    left_out = set()
    for epoch in range(30):
        order.set_epoch(epoch)
        left_out |= set(range(10)) - {index for _, index in order}
    assert left_out == set(range(10))


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 4), seeds, st.sampled_from([1, 2, 3]))
def test_processes_share_each_global_batch(
    length: int, batch: int, seed: int, processes: int
) -> None:
    shares = [list(EpochOrder(length, batch, seed, rank, processes)) for rank in range(processes)]
    single = list(EpochOrder(length, batch * processes, seed, 0, 1))
    assert len({len(share) for share in shares}) == 1
    for step in range(len(single) // (batch * processes)):
        together = [pair for share in shares for pair in share[step * batch : (step + 1) * batch]]
        assert sorted(together) == sorted(
            single[step * batch * processes : (step + 1) * batch * processes]
        )
    assert sum(map(len, shares)) == len(single)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=40),
    st.integers(1, 7),
    st.integers(1, 4),
)
def test_evaluation_batches(sizes: list[tuple[int, int]], batch: int, processes: int) -> None:
    batches = evaluation_batches(sizes, batch)
    assert sorted(index for members in batches for index in members) == list(range(len(sizes)))
    for members in batches:
        assert 1 <= len(members) <= batch
        assert len({sizes[index] for index in members}) == 1
    fullest = {size: -(-sizes.count(size) // batch) for size in sizes}
    assert len(batches) == sum(fullest.values())
    dealt = [members for rank in range(processes) for members in batches[rank::processes]]
    assert sorted(dealt) == sorted(batches)


def test_training_batches(synth_root: Path, data_config: Make) -> None:
    module = VOCDataModule(data_config(synth_root, batch_size=4), seed=3)
    batches = list(module.train_dataloader())
    assert len(batches) == 2  # of 11 samples: 3 are left out
    for batch in batches:
        assert batch.image.shape == (4, 3, 24, 24)
        assert batch.class_map.shape == (4, 24, 24)
        assert batch.image.dtype == batch.class_map.dtype == torch.uint8
        assert batch.image.is_contiguous(memory_format=torch.channels_last)
        assert batch.class_map.is_contiguous()
        assert batch.position.dtype == torch.int64
        ids = module.split("train").ids
        assert batch.ids == [ids[position] for position in batch.position]


def test_evaluation_is_at_the_original_size(synth_root: Path, data_config: Make) -> None:
    config = data_config(synth_root, eval_batch_size=3)
    truth = VOCSegmentation(synth_root, 2007, "val")
    module = VOCDataModule(config, seed=3)
    seen = []
    for batch in module.val_dataloader():
        assert len(batch.ids) <= 3
        for position, name, image, class_map in zip(
            batch.position.tolist(), batch.ids, batch.image, batch.class_map, strict=True
        ):
            sample = truth[position]
            assert name == sample.id
            assert image.equal(sample.image)
            assert class_map.equal(sample.class_map)
            seen.append(position)
    assert sorted(seen) == list(range(9))
    assert len({truth.size(index) for index in range(9)}) > 1
    assert sum(len(batch.ids) for batch in module.evaluation_dataloader("trainval")) == 20


def test_batches_do_not_depend_on_workers(synth_root: Path, data_config: Make) -> None:
    """Persistent workers too: an epoch's number travels with each index, not with the worker."""
    config = data_config(synth_root, batch_size=3, photometric=1.0)
    alone = VOCDataModule(config, seed=1).train_dataloader()
    helped = VOCDataModule(replace(config, num_workers=2), seed=1).train_dataloader()
    uncached = VOCDataModule(without_store(config), seed=1).train_dataloader()
    assert helped.persistent_workers
    epochs = []
    for epoch in (0, 1, 2, 1):
        for loader in (alone, helped, uncached):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        epochs.append(list(alone))
        assert same(epochs[-1], helped)
        assert same(epochs[-1], uncached)
    assert same(epochs[1], epochs[3])
    # The same sample looks different in another epoch.
    looks = [
        {name: image for batch in epoch for name, image in zip(batch.ids, batch.image, strict=True)}
        for epoch in epochs[:3]
    ]
    both = looks[0].keys() & looks[1].keys()
    assert len(both) >= 7
    assert not any(looks[0][name].equal(looks[1][name]) for name in both)
    val = [
        VOCDataModule(replace(config, num_workers=number), seed=1).val_dataloader()
        for number in (0, 2)
    ]
    assert same(*val)


def test_processes_deal_the_batches_among_them(synth_root: Path, data_config: Make) -> None:
    config = data_config(synth_root, batch_size=2, eval_batch_size=2)
    single = VOCDataModule(replace(config, batch_size=4), seed=1)
    shares = [in_world(VOCDataModule(config, seed=1), rank, 2) for rank in range(2)]
    for batch, *parts in zip(
        single.train_dataloader(), *(share.train_dataloader() for share in shares), strict=True
    ):
        assert sorted(batch.ids) == sorted(parts[0].ids + parts[1].ids)
        for part in parts:
            for name, image in zip(part.ids, part.image, strict=True):
                assert image.equal(batch.image[batch.ids.index(name)])
    whole = [batch.ids for batch in single.val_dataloader()]
    dealt = [[batch.ids for batch in share.val_dataloader()] for share in shares]
    assert sorted(whole) == sorted(dealt[0] + dealt[1])
    many = [in_world(VOCDataModule(config), rank, 30) for rank in range(30)]
    batches = [list(module.val_dataloader()) for module in many]
    assert [len(dealt) for dealt in batches] == [1] * 30, "an empty one joins the validation too"
    assert [bool(dealt[0].ids) for dealt in batches] == [index < len(whole) for index in range(30)]


def test_too_few_samples_for_a_batch(synth_root: Path, data_config: Make) -> None:
    VOCDataModule(data_config(synth_root, batch_size=11)).check()
    with pytest.raises(ConfigError, match=r"data\.batch_size=12: the train split has 11 samples"):
        VOCDataModule(data_config(synth_root, batch_size=12)).check()
    module = in_world(VOCDataModule(data_config(synth_root, batch_size=4)), 0, 3)
    with pytest.raises(ConfigError, match=r"data\.batch_size=4: 3 processes need 12 samples"):
        module.train_dataloader()


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("name", ["b", "e"])
def test_check_finds_what_is_wrong_in_either_split(
    tree: Tree, data_config: Make, enabled: bool, name: str
) -> None:
    config = data_config(tree.root, batch_size=2)
    if not enabled:
        config = without_store(config)
    module = VOCDataModule(config)
    module.check()
    kind = Cached if enabled else VOCSegmentation
    assert type(module.split("train")) is type(module.split("val")) is kind
    stores = [path for path in Path(config.store.dir or "").glob("v*") if path.is_dir()]
    assert len(stores) == 2 * enabled
    tree.write_mask(tree.mask(name), np.full((9, 6) if name == "b" else (6, 9), 33))
    with pytest.raises(DataError, match=f"{tree.mask(name)}: label 33"):
        VOCDataModule(config).check()


def test_a_split_is_checked_once(tree: Tree, data_config: Make) -> None:
    said = []

    def progress(items: object, total: int, text: str) -> object:
        said.append(text)
        return items

    module = VOCDataModule(without_store(data_config(tree.root, batch_size=2)), 0, progress)  # type: ignore[arg-type]
    module.check()
    module.train_dataloader()
    module.val_dataloader()
    assert said == ["checking train", "checking val"]


def bounded(config: DataConfig, max_bytes: float) -> DataConfig:
    """Return the configuration with a store of its own, of so many bytes."""
    store = replace(config.store, max_gb=max_bytes / 1e9, dir=f"{config.store.dir}-{max_bytes}")
    return replace(config, store=store)


SAMPLE = 48 * 36 * 4
"""The bytes of a decoded sample of the synthetic tree."""


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_a_full_a_bounded_and_no_store(
    synth_root: Path, data_config: Make, workers: int
) -> None:
    config = data_config(synth_root, batch_size=3, photometric=1.0, num_workers=workers)
    full = VOCDataModule(config, seed=1)
    full.check()
    assert full.storage() == []
    for max_bytes in (1, 5.5 * SAMPLE, 15.5 * SAMPLE):
        module = VOCDataModule(bounded(config, max_bytes), seed=1)
        module.check()
        counts = [cast("Cached", module.split(split)).stored for split in ("train", "val")]
        assert sum(counts) == max_bytes // SAMPLE
        (line,) = module.storage()
        assert f"{counts[0]} of 11 of train and {counts[1]} of 9 of val" in line
        assert module.identity == full.identity
        assert same(full.train_dataloader(), module.train_dataloader())
        assert same(full.val_dataloader(), module.val_dataloader())
    off = VOCDataModule(without_store(config), seed=1)
    off.check()
    assert off.storage() == []
    assert same(full.train_dataloader(), off.train_dataloader())
    assert same(full.val_dataloader(), off.val_dataloader())


@pytest.mark.parametrize("way", ["full", "bounded", "off"])
def test_a_second_start_decodes_nothing(
    tree: Tree, data_config: Make, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    config = data_config(tree.root, batch_size=2)
    if way != "full":
        config = bounded(config, 300) if way == "bounded" else without_store(config)
    first = VOCDataModule(config)
    first.check()
    decoded = []
    read = SplitFiles.read

    def spy(files: SplitFiles, index: int) -> Pixels:
        decoded.append(files.ids[index])
        return read(files, index)

    monkeypatch.setattr(SplitFiles, "read", spy)
    for _ in range(2):
        again = VOCDataModule(config)
        again.check()
        assert again.identity == first.identity
        assert [again.record(split) for split in ("train", "val")] == [
            first.record(split) for split in ("train", "val")
        ]
        assert decoded == []
    tree.write_mask(tree.mask("b"), np.full((9, 6), 7))
    VOCDataModule(config).check()
    assert decoded[:3] == ["a", "b", "c"], "a changed file is checked again, with its split"


def test_roots_that_are_not_there(data_config: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.root is not set: .* VOC2007/"):
        VOCDataModule(data_config(None)).check()
    with pytest.raises(ConfigError, match=r"data\.root is not set: .* of the data set$"):
        VOCDataModule(data_config(None, year=None)).check()
    with pytest.raises(ConfigError, match=r"data\.root=.*nowhere: no such folder"):
        VOCDataModule(data_config(tmp_path / "nowhere")).check()


def test_the_configuration_reaches_the_data_set(
    tree: Tree, data_config: Make, composed_data: DataConfig
) -> None:
    assert composed_data.root == "ROOT"
    assert tuple(composed_data.classes or ()) == VOC_CLASSES
    tree.mask("a").parent.rename(tree.folder / "Aug")
    config = data_config(tree.root, mask_dir="Aug", classes=[str(i) for i in range(30)])
    dataset = open_dataset(config, "val")
    assert len(dataset.classes) == 30
    assert dataset[0].id == "d"
    own = open_dataset(data_config(tree.folder, mask_dir="Aug", year=None), "train")
    assert own.classes == VOC_CLASSES
    tree.image("e").unlink()
    assert len(open_files(config, "val", missing_ok=True)) == 2


def test_the_synthetic_data_is_made_on_first_use(data_config: Make, tmp_path: Path) -> None:
    synth = SynthConfig(train=2, val=1, width=32, height=32, seed=0)
    config = data_config(tmp_path / "made", synth=synth, batch_size=2)
    VOCDataModule(config).check()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "made").rglob("*.jpg")}
    assert len(before) == 3
    assert len(open_dataset(config, "train", instances=True)[0].boxes) >= 1
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "made").rglob("*.jpg")}


@pytest.mark.voc
def test_batches_of_the_real_voc2007(voc_root: Path, data_config: Make, tmp_path: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("\n".join(VOCSegmentation(voc_root, 2007, "train").ids[:24]))
    config = data_config(
        voc_root, train_split=str(few), val_split=str(few), batch_size=8, crop_size=320
    )
    module = VOCDataModule(config)
    batch = next(iter(module.train_dataloader()))
    assert batch.image.shape == (8, 3, 320, 320)
    assert batch.class_map.unique()[-1] == 255
    assert sum(len(batch.ids) for batch in module.val_dataloader()) == 24
