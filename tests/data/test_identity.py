"""The identity of data: its classes, ids and file bytes, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from seglab.data.datamodule import VOCDataModule
from seglab.data.identity import data_identity
from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.layouts.opening import open_files
from seglab.errors import DataError
from seglab.schema import DataConfig

if TYPE_CHECKING:
    from tests.data.conftest import Tree

Make = Callable[..., DataConfig]


@pytest.fixture(params=["store", "no store"])
def config(request: pytest.FixtureRequest, tree: Tree, data_config: Make) -> DataConfig:
    made = data_config(tree.root, batch_size=2)
    return replace(made, store=replace(made.store, enabled=request.param == "store"))


def identity(config: DataConfig) -> dict[str, str]:
    module = VOCDataModule(config)
    module.check()
    return module.identity


def fresh(config: DataConfig, tmp_path: Path) -> DataConfig:
    """Return the configuration with another, empty folder for stores and records."""
    number = len(list(tmp_path.glob("fresh*")))
    (tmp_path / f"fresh{number}").mkdir()
    return replace(config, store=replace(config.store, dir=str(tmp_path / f"fresh{number}")))


def edit_in_place(path: Path, content: bytes) -> None:
    """Write other bytes of the same length and put the times of the file back."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap_contents(first: Path, second: Path) -> None:
    """Let two masks of one size trade their bytes, times and lengths staying as they are."""
    size = max(first.stat().st_size, second.stat().st_size)
    for path in (first, second):
        if path.stat().st_size < size:  # only then: writing changes the time
            path.write_bytes(path.read_bytes().ljust(size, b"\0"))  # PNG readers stop at IEND
    one, two = first.read_bytes(), second.read_bytes()
    edit_in_place(first, two)
    edit_in_place(second, one)


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(self: SplitFiles, index: int) -> Pixels:
        raise AssertionError("decoded")

    monkeypatch.setattr(SplitFiles, "read", explode)


def test_the_check_and_the_bytes_alone_give_one_digest(config: DataConfig, tmp_path: Path) -> None:
    checked = identity(config)
    assert len(checked["train"]) == len(checked["val"]) == 64
    assert checked["train"] != checked["val"]
    hashed = fresh(config, tmp_path)
    assert data_identity(hashed, "train", instances=False) == checked["train"]
    assert data_identity(hashed, "val", instances=False) == checked["val"]


def test_instance_maps_are_part_of_it_where_they_are_read(
    tree: Tree, config: DataConfig, tmp_path: Path
) -> None:
    shutil.copytree(tree.mask("a").parent, tree.instances("a").parent)
    module = VOCDataModule(config, instances=True)
    module.check()
    hashed = fresh(config, tmp_path)
    assert data_identity(hashed, "train", instances=True) == module.identity["train"]
    assert data_identity(hashed, "train", instances=False) != module.identity["train"]


def test_a_copy_with_other_times_is_the_same_data(
    tree: Tree, config: DataConfig, tmp_path: Path
) -> None:
    first = identity(config)
    shutil.copytree(tree.root, tmp_path / "copy", copy_function=shutil.copyfile)
    assert identity(replace(config, root=str(tmp_path / "copy"))) == first
    shutil.rmtree(tree.root)
    assert identity(replace(config, root=str(tmp_path / "copy"))) == first


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_any_other_byte_is_other_data(
    tree: Tree, config: DataConfig, tmp_path: Path, kind: str
) -> None:
    first = identity(config)
    path: Path = getattr(tree, kind)("b")
    path.write_bytes(path.read_bytes() + b"\0")
    assert identity(config)["train"] != first["train"]
    assert identity(config)["val"] == first["val"]


def test_classes_and_the_order_of_the_list_are_part_of_it(tree: Tree, config: DataConfig) -> None:
    first = identity(config)
    other = identity(replace(config, classes=[str(number) for number in range(21)]))
    assert other["train"] != first["train"]
    tree.list("train").write_text("b\na\nc\n")
    assert identity(config)["train"] != first["train"]


def test_other_masks_of_the_same_sizes_and_times_are_other_data(
    tree: Tree, config: DataConfig, tmp_path: Path
) -> None:
    """The same ids, sizes and times: only the bytes tell the two data sets apart."""
    swap_contents(tree.mask("a"), tree.mask("c"))
    swap_contents(tree.mask("a"), tree.mask("c"))
    other = tmp_path / "other"
    shutil.copytree(tree.root, other)  # copies times too
    there = other / "VOC2007/SegmentationClass"
    swap_contents(there / "a.png", there / "c.png")
    changed = replace(config, root=str(other))
    first, second = identity(config), identity(changed)
    assert first["train"] != second["train"]
    assert first["val"] == second["val"]
    for one, expected in ((config, first), (changed, second), (config, first)):
        assert data_identity(one, "train", instances=False) == expected["train"]
        module = VOCDataModule(one)
        pixels = module.split("train")[0].class_map.numpy()
        assert np.array_equal(pixels, open_files(one, "train").read(0).class_map)


def test_data_written_in_one_tick_of_the_clock_are_told_apart(
    tree: Tree, config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes, modification and change times are equal, as where one clock tick saw both written."""
    swap_contents(tree.mask("a"), tree.mask("c"))
    other = tmp_path / "other"
    shutil.copytree(tree.root, other)
    there = other / "VOC2007/SegmentationClass"
    swap_contents(there / "a.png", there / "c.png")
    real = Path.stat

    def coarse(self: Path, **arguments: bool) -> object:
        status = real(self, **arguments)
        fields = ("st_mode", "st_size", "st_mtime_ns", "st_dev", "st_ino", "st_uid", "st_mtime")
        return SimpleNamespace(st_ctime_ns=0, **{name: getattr(status, name) for name in fields})

    monkeypatch.setattr(Path, "stat", coarse)
    first, second = identity(config), identity(replace(config, root=str(other)))
    assert first["train"] != second["train"]
    assert first["val"] == second["val"]


def test_a_moved_data_set_is_not_read_again(
    tree: Tree, config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = identity(config)
    tree.root.rename(tmp_path / "moved")
    forbid_decoding(monkeypatch)
    monkeypatch.setattr("seglab.data.store.records.hash_files", None)
    assert identity(replace(config, root=str(tmp_path / "moved"))) == first


def test_a_checked_data_set_is_not_decoded_again(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = identity(config)
    forbid_decoding(monkeypatch)
    assert identity(config) == first


def test_an_identity_asked_for_is_remembered_but_no_check(
    tree: Tree, config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = data_identity(config, "train", instances=False)
    with monkeypatch.context() as patch:
        patch.setattr("seglab.data.store.records.hash_files", None)
        assert data_identity(config, "train", instances=False) == hashed
    tree.image("a").write_bytes(b"no picture")
    data_identity(config, "train", instances=False)
    with pytest.raises(DataError, match="cannot be decoded"):
        identity(config)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"identity": 1}', "{}"])
def test_a_damaged_record_is_made_anew(config: DataConfig, content: str) -> None:
    first = identity(config)
    records = list(Path(config.store.dir or "").glob("v*.json"))
    assert len(records) == 2
    for record in records:
        whole = json.loads(record.read_text())
        record.write_text(content)
        assert identity(config) == first
        assert json.loads(record.read_text()) == whole
        for odd in ({"files": ["abc"]}, {"identity": "../../elsewhere"}, {"counts": [1]}):
            record.write_text(json.dumps({**whole, **odd}))
            assert identity(config) == first


def test_a_folder_that_cannot_be_written_costs_only_the_memory(
    config: DataConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    off = replace(config.store, enabled=False, dir=str(tmp_path / "file" / "below"))
    assert identity(replace(config, store=off)) == identity(config)


def test_the_identity_can_be_asked_for_without_torch(tree: Tree, tmp_path: Path) -> None:
    program = f"""
import sys
from seglab.config.compose import compose
from seglab.data.identity import data_identity
from seglab.schema import TrainConfig
overrides = ["data=voc2007", "data.root={tree.root}", "data.store.dir={tmp_path / "store"}"]
print(data_identity(compose("train", TrainConfig, overrides).config.data, "val", instances=False))
assert "torch" not in sys.modules
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.strip()) == 64


def test_a_file_beyond_all_bounds_is_refused_before_it_is_read(
    config: DataConfig, tree: Tree
) -> None:
    """A tail of zeros takes no space on the disk, and hours to read."""
    (image,) = list(tree.root.glob("VOC2007/JPEGImages/a.*"))
    os.truncate(image, 200 * 10**9)
    with pytest.raises(DataError, match=r"200,000,000,000 bytes; more than 1,073,741,824"):
        VOCDataModule(config).check()
