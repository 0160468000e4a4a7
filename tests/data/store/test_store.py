"""The store: decoded and checked once, whole or not at all, shared by all who need it."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from seglab.data.dataset import Sample, VOCSegmentation
from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.store import shards
from seglab.data.store.cached import Cached
from seglab.data.store.decode import decode
from seglab.data.store.digests import Tally
from seglab.errors import DataError
from seglab.runtime import private_folders

if TYPE_CHECKING:
    from tests.data.conftest import Tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "store"


def train(tree: Tree) -> VOCSegmentation:
    return VOCSegmentation(tree.root, 2007, "train")


def stores(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("v*") if path.is_dir())


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".*") if path.is_dir()]


def assert_equal(got: Sample, expected: Sample) -> None:
    assert got.id == expected.id
    assert got.image.dtype == got.class_map.dtype == expected.image.dtype
    assert got.image.equal(expected.image)
    assert got.class_map.equal(expected.class_map)
    assert got.image.stride() == expected.image.stride()


def test_instance_maps_are_kept_where_they_are_read(synth_root: Path, folder: Path) -> None:
    dataset = VOCSegmentation(synth_root, 2007, "train", instances=True)
    cached = Cached(dataset, folder)
    for index, expected in enumerate(dataset):
        got = cached[index]
        assert_equal(got, expected)
        assert got.instance_map is not None
        assert got.instance_map.equal(expected.instance_map)
    plain = Cached(VOCSegmentation(synth_root, 2007, "train"), folder)
    assert plain.path != cached.path
    assert plain[0].instance_map is None


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(self: SplitFiles, index: int) -> Pixels:
        raise AssertionError("decoded")

    monkeypatch.setattr(SplitFiles, "read", explode)


def test_samples_are_those_of_the_data_set(synth_root: Path, folder: Path) -> None:
    dataset = VOCSegmentation(synth_root, 2007, "train")
    cached = Cached(dataset, folder)
    assert (len(cached), cached.ids, cached.classes) == (11, dataset.ids, dataset.classes)
    for index, expected in enumerate(dataset):
        assert_equal(cached[index], expected)
        assert cached.size(index) == dataset.size(index) == expected.size
    assert_equal(cached[-1], dataset[-1])
    assert len(list(cached)) == 11
    with pytest.raises(IndexError):
        cached[11]


def test_the_second_opening_decodes_nothing(
    tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, str]] = []

    def progress(items: Any, total: int, text: str) -> Any:
        said.append((total, text))
        return items

    expected = list(Cached(train(tree), folder, progress=progress))
    assert said == [(3, "checking train")]
    forbid_decoding(monkeypatch)
    for got, sample in zip(Cached(train(tree), folder, progress=progress), expected, strict=True):
        assert_equal(got, sample)
    assert len(said) == 1


def test_a_moved_data_set_keeps_its_store(
    tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Cached(train(tree), folder)
    tree.root.rename(tree.root.with_name("elsewhere"))
    forbid_decoding(monkeypatch)
    Cached(VOCSegmentation(tree.root.with_name("elsewhere"), 2007), folder)


def test_a_changed_file_makes_a_new_store(tree: Tree, folder: Path) -> None:
    before = Cached(train(tree), folder)
    tree.write_mask(tree.mask("b"), np.full((9, 6), 7))
    after = Cached(train(tree), folder)
    assert after.path != before.path
    assert (after[1].class_map == 7).all()
    assert not (before[1].class_map == 7).all()
    assert len(stores(folder)) == 2


def test_the_cache_folder_is_the_default(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        private_folders, "user_cache_path", lambda name, **_: tree.root / "cache" / name
    )
    assert Cached(train(tree)).path.parent == tree.root / "cache" / "seglab" / "store"


def content(files: Iterable[Sample]) -> list[tuple[int, ...]]:
    return [(*sample.image.flatten().tolist(), *sample.class_map.flatten()) for sample in files]


@pytest.mark.parametrize("fitting", range(4))
def test_what_fits_is_stored_and_the_rest_decoded(
    tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch, fitting: int
) -> None:
    for _ in range(2):
        cached = Cached(train(tree), folder, max_bytes=fitting * 6 * 9 * 4)
        assert cached.stored == fitting
        for index, expected in enumerate(train(tree)):
            assert_equal(cached[index], expected)
            assert cached.size(index) == expected.size
    forbid_decoding(monkeypatch)
    again = Cached(train(tree), folder, max_bytes=fitting * 6 * 9 * 4)
    for index in range(fitting):
        assert_equal(again[index], cached[index])
    for index in range(fitting, 3):
        with pytest.raises(AssertionError, match="decoded"):
            again[index]


def test_a_store_grows_with_its_bound(
    tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def progress(items: Any, total: int, text: str) -> Any:
        said.append(f"{text} {total}")
        return items

    before = Cached(train(tree), folder, 6 * 9 * 4, progress)
    first = before.path / "00000.safetensors"
    inode = first.stat().st_ino
    for _ in range(2):
        grown = Cached(train(tree), folder, progress=progress)
        assert (grown.stored, grown.path) == (3, before.path)
    assert said == ["checking train 3", "storing train 2"]
    assert first.stat().st_ino == inode, "what was stored stays"
    assert sorted(path.name for path in grown.path.iterdir()) == [
        "00000.safetensors",
        "00001.safetensors",
        "index.jsonl",
    ]
    for index, expected in enumerate(train(tree)):
        assert_equal(grown[index], expected)
        assert_equal(before[index], expected)


def test_a_growing_store_deletes_no_other(tree: Tree, folder: Path) -> None:
    val = Cached(VOCSegmentation(tree.root, 2007, "val"), folder, 600)  # all of it: 280 bytes
    first = Cached(train(tree), folder, max_bytes=216, keep=[val.path])
    assert (first.stored, val.path.is_dir()) == (0, True)
    assert Cached(train(tree), folder, max_bytes=1200).stored < 3
    assert val.path.is_dir()


def test_a_store_that_a_killed_process_was_filling_is_continued(tree: Tree, folder: Path) -> None:
    cached = Cached(train(tree), folder, 6 * 9 * 4)
    (cached.path / "00001.safetensors").write_bytes(b"half")
    with (cached.path / "index.jsonl").open("a") as index:
        index.write('{"sizes": [[6,')
    assert Cached(train(tree), folder, 6 * 9 * 4).stored == 1
    grown = Cached(train(tree), folder)
    assert grown.stored == 3
    for index, expected in enumerate(train(tree)):
        assert_equal(grown[index], expected)


def test_a_store_deleted_while_it_is_used(synth_root: Path, folder: Path) -> None:
    dataset = VOCSegmentation(synth_root, 2007, "train")
    cached = Cached(dataset, folder)
    shutil.rmtree(cached.path)
    assert content(cached) == content(dataset)


@pytest.mark.parametrize("samples", [1, 3, 20])
@pytest.mark.parametrize("read", [0, 5])
def test_a_store_deleted_and_written_anew_while_it_is_used(
    synth_root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, samples: int, read: int
) -> None:
    dataset = VOCSegmentation(synth_root, 2007, "train")
    size = 48 * 36 * 4
    monkeypatch.setattr(shards, "SHARD_BYTES", 2 * size)
    cached = Cached(dataset, folder)
    for index in range(read):
        assert_equal(cached[index], dataset[index])
    shutil.rmtree(cached.path)
    monkeypatch.setattr(shards, "SHARD_BYTES", samples * size)  # its files begin elsewhere
    Cached(VOCSegmentation(synth_root, 2007, "train"), folder)
    cached.look()
    assert content(cached) == content(dataset)


def test_a_store_that_is_being_written_anew_is_used_as_it_grows(
    synth_root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = VOCSegmentation(synth_root, 2007, "train")
    monkeypatch.setattr(shards, "SHARD_BYTES", 2 * 48 * 36 * 4)
    cached = Cached(dataset, folder)
    assert_equal(cached[0], dataset[0])
    whole = (cached.path / "index.jsonl").read_text()
    monkeypatch.setattr(shards, "SHARD_BYTES", 48 * 36 * 4)
    shutil.rmtree(cached.path)
    Cached(VOCSegmentation(synth_root, 2007, "train"), folder)
    index = cached.path / "index.jsonl"
    lines = index.read_text()
    assert lines != whole
    index.write_text(lines.splitlines()[0] + "\n")  # the first file is written, no other yet
    assert_equal(cached[5], dataset[5])
    assert cached.stored == 1
    index.write_text(lines)
    monkeypatch.setattr(SplitFiles, "read", lambda *_: pytest.fail("decoded"))
    assert len(content(cached)) == len(dataset)


def test_content_that_changes_unseen_is_not_stored(tree: Tree, folder: Path) -> None:
    Cached(train(tree), folder, max_bytes=1)
    before = tree.mask("b").stat()
    changed = bytearray(tree.mask("b").read_bytes())
    changed[-20] ^= 1
    tree.mask("b").write_bytes(changed)
    os.utime(tree.mask("b"), ns=(before.st_atime_ns, before.st_mtime_ns))
    dataset = train(tree)
    keys = train(tree).stat_keys()
    (record,) = folder.glob("v*.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"changes": keys[1]}))
    with pytest.raises(DataError, match=f"{tree.mask('b')}: its content changed .* run touch"):
        Cached(dataset, folder)


def test_no_room_on_the_disk(tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        usage = SimpleNamespace(free=10**9 + 300, total=10**12)
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        assert Cached(train(tree), folder).stored == 1
    assert Cached(train(tree), folder).stored == 3


@pytest.mark.parametrize("number", [*shards.STOPS, errno.EIO])
def test_a_disk_that_is_full_while_a_file_is_written(
    tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    write = shards._write

    def full(path: Path, arrays: Mapping[str, np.ndarray]) -> int:
        if path.name == "00001.safetensors":
            path.write_bytes(b"half")
            raise OSError(number, os.strerror(number))
        return write(path, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "_write", full)
        if number == errno.EIO:
            with pytest.raises(DataError, match="cannot be written: Input/output error; "):
                Cached(train(tree), folder)
            return
        cached = Cached(train(tree), folder)
        assert cached.stored == 1
        assert len(list(cached.path.iterdir())) == 2
        assert_equal(cached[1], train(tree)[1])
    assert Cached(train(tree), folder).stored == 3


def test_records_stay_when_stores_make_room(tree: Tree, folder: Path) -> None:
    for max_bytes in (10**6, 1, 1):
        for split in ("train", "val"):
            Cached(VOCSegmentation(tree.root, 2007, split), folder, max_bytes)
    assert len(list(folder.glob("v*.json"))) == 2


def test_stores_used_longest_ago_make_room(synth_root: Path, folder: Path) -> None:
    def cached(offset: int, max_bytes: int = 10**9) -> Cached:
        names = [str(i + offset) for i in range(7)]  # another class list: another store
        return Cached(VOCSegmentation(synth_root, 2007, classes=names), folder, max_bytes)

    first, second, third = (cached(offset) for offset in range(3))
    size = sum(path.stat().st_size for path in first.path.iterdir())
    for age, made in enumerate((first, third, second)):
        os.utime(made.path / "index.jsonl", ns=(0, age * 10**9))
    cached(0)  # used again: now the newest
    before = first[0].image.clone()
    fourth = cached(3, max_bytes=3 * size + size // 2)
    assert set(stores(folder)) == {first.path, second.path, fourth.path}
    fifth = cached(4, max_bytes=2 * size)
    assert {fifth.path} <= set(stores(folder)) <= {fifth.path, fourth.path}
    assert first[0].image.equal(before)  # what is mapped stays


def test_a_folder_that_cannot_be_written(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match=r"data\.store\.dir=DIR, or data\.store\.enabled=false"):
            Cached(train(tree), folder)


def test_a_store_that_may_only_be_read_serves(
    tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Cached(train(tree), folder)

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("utime", "mkdir", "open"):
        monkeypatch.setattr(os, name, refuse)
    assert len(Cached(train(tree), folder)[0].id) == 1


@pytest.mark.parametrize("spoil", [("b",), ("a", "c")], ids=["one", "two"])
@pytest.mark.parametrize("how", ["image", "header", "label"])
def test_a_problem_is_reported_and_nothing_left(
    tree: Tree, folder: Path, spoil: tuple[str, ...], how: str
) -> None:
    for name in spoil:
        if how == "image":
            tree.image(name).write_bytes(tree.image(name).read_bytes()[:-40])
        elif how == "header":
            tree.image(name).write_bytes(b"no picture")
        else:
            tree.write_mask(tree.mask(name), np.full(train(tree).size("abc".index(name)), 99))
    with pytest.raises(DataError) as caught:
        Cached(train(tree), folder)
    said = str(caught.value)
    assert said.startswith(str((tree.mask if how == "label" else tree.image)(spoil[0])))
    assert ("(1 more: seglab data check lists them)" in said) == (len(spoil) == 2)
    assert not stores(folder)
    assert not leftovers(folder)


def test_decode_yields_the_good_samples_in_order_and_the_first_problem(tree: Tree) -> None:
    tree.list("train").write_text("e\nd\nc\nb\na\n")
    tree.image("d").write_bytes(b"")
    tree.image("b").write_bytes(b"")
    dataset = train(tree)
    samples = decode(dataset, Tally(dataset))
    for index in (0, 2, 4):
        expected = VOCSegmentation(tree.root, 2007, "train").read(index)
        assert np.array_equal(next(samples).image, expected.image)
    with pytest.raises(DataError, match=rf"^{re.escape(str(tree.image('d')))}: .*\(1 more"):
        next(samples)


def test_what_a_killed_maker_left_is_cleaned_away(tree: Tree, folder: Path) -> None:
    made = Cached(train(tree), folder).path
    (made / "index.jsonl").unlink()  # killed while it was being deleted
    (record,) = folder.glob("v*.json")
    killed = folder / f".{record.stem}.4711"  # killed while it was being made
    killed.mkdir()
    (killed / "00000.safetensors").write_bytes(b"half")
    assert_equal(Cached(train(tree), folder)[2], train(tree)[2])
    assert not leftovers(folder)
    assert len(stores(folder)) == 1


def test_an_interrupted_maker_leaves_nothing(tree: Tree, folder: Path) -> None:
    def interrupt(items: Any, total: int, text: str) -> Iterator[Any]:
        yield next(iter(items))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cached(train(tree), folder, progress=interrupt)
    assert not stores(folder)
    assert not leftovers(folder)


def test_a_damaged_store_says_which(tree: Tree, folder: Path) -> None:
    cached = Cached(train(tree), folder)
    (cached.path / "00000.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(DataError, match=rf"damaged store: .* delete {cached.path}"):
        Cached(train(tree), folder)[0]
    (cached.path / "index.jsonl").write_text("{\n")
    with pytest.raises(DataError, match=f"{cached.path}: damaged store"):
        Cached(train(tree), folder)


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_a_strangers_store_is_refused_and_runs_nothing(
    tree: Tree, folder: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "it-ran"
    cached = Cached(train(tree), folder)
    index = cached.path / "index.jsonl"
    whole = index.read_text()
    sizes = json.dumps({"sizes": [[6, 9]] * 4})
    for content in ("[]", "{}", '{"sizes": ["x"]}', '{"sizes": [[1]]}', "null", sizes):
        index.write_text(f"{content}\n")
        with pytest.raises(DataError, match=f"{cached.path}: damaged store"):
            Cached(train(tree), folder)
    index.write_text(whole)
    shard = cached.path / "00000.safetensors"
    torch.save({"0/image": Payload(mark)}, shard)
    with pytest.raises(DataError, match="damaged store"):
        Cached(train(tree), folder)[0]
    shard.write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(DataError, match="damaged store"):
        Cached(train(tree), folder)[0]
    save_file({"something": torch.ones(1)}, shard)
    with pytest.raises(DataError, match="damaged store"):
        Cached(train(tree), folder)[0]
    assert not mark.exists()


def test_what_is_no_store_is_never_deleted(tree: Tree, folder: Path) -> None:
    names = ("vue-app", "v1-notes", "v1-0123456789abcdef0123456")
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "index.json").write_text("{}" * 10_000)
    Cached(train(tree), folder, max_bytes=5_000)
    assert all((folder / name / "index.json").is_file() for name in names)


def test_several_shards(synth_root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = VOCSegmentation(synth_root, 2007, "train")
    monkeypatch.setattr(shards, "SHARD_BYTES", 2 * 48 * 36 * 4)
    cached = Cached(dataset, folder)
    lines = (cached.path / "index.jsonl").read_text().splitlines()
    files = [f"{number:05d}.safetensors" for number in range(len(lines))]
    assert len(files) >= 4
    assert sorted(path.name for path in cached.path.iterdir()) == [*files, "index.jsonl"]
    assert [size for line in lines for size in json.loads(line)["sizes"]] == [
        list(sample.size) for sample in dataset
    ]
    for index in (10, 0, 5, 6, 7, 0):
        assert_equal(cached[index], dataset[index])


def mapped_file(address: int) -> str:
    """Return what is mapped at ``address`` of this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return line.split(maxsplit=5)[5] if len(line.split()) > 5 else ""
    return ""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_pixels_are_mapped_not_copied(synth_root: Path, folder: Path) -> None:
    cached = Cached(VOCSegmentation(synth_root, 2007, "train"), folder)
    for index in (0, 7):
        once, again = cached[index], cached[index]
        for tensor, same in ((once.image, again.image), (once.class_map, again.class_map)):
            assert tensor.data_ptr() == same.data_ptr()
            assert mapped_file(tensor.data_ptr()) == str(cached.path / "00000.safetensors")


class Slow(VOCSegmentation):
    """Takes its time, so that another maker comes meanwhile, and counts what it decodes."""

    decoded = 0

    def read(self, index: int) -> Pixels:
        time.sleep(0.2)
        self.decoded += 1
        return super().read(index)


_together: Barrier


def meet_at(barrier: Barrier) -> None:
    global _together
    _together = barrier


def make(root: Path, folder: Path) -> tuple[int, list[int]]:
    dataset = Slow(root, 2007, "train")
    _together.wait(60)
    cached = Cached(dataset, folder)
    return dataset.decoded, [int(sample.image.sum()) for sample in cached]


def read(cached: Cached) -> tuple[int, list[int]]:
    _together.wait(60)
    return os.getpid(), [int(sample.image.sum()) for sample in cached]


@pytest.fixture(scope="module")
def two_processes() -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["seglab.data.store.cached"])
    with ProcessPoolExecutor(2, context, meet_at, (context.Barrier(2),)) as pool:
        yield pool


def test_two_processes_make_one_store(
    tree: Tree, folder: Path, two_processes: ProcessPoolExecutor
) -> None:
    made = [two_processes.submit(make, tree.root, folder) for _ in range(2)]
    decoded, sums = zip(*(future.result(120) for future in made), strict=True)
    assert sorted(decoded) == [0, 3]  # one works, the other waits
    assert sums == ([int(sample.image.sum()) for sample in train(tree)],) * 2
    assert len(stores(folder)) == 1
    assert not leftovers(folder)


def test_a_store_travels_to_other_processes(
    tree: Tree, folder: Path, two_processes: ProcessPoolExecutor
) -> None:
    cached = Cached(train(tree), folder)
    expected = [int(sample.image.sum()) for sample in cached]  # its files are open now
    futures = [two_processes.submit(read, cached) for _ in range(2)]
    pids, sums = zip(*(future.result(120) for future in futures), strict=True)
    assert len({os.getpid(), *pids}) == 3
    assert sums == (expected, expected)
    copy = pickle.loads(pickle.dumps(cached))
    assert_equal(copy[1], cached[1])
