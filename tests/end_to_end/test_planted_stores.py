"""Stores, records and caches that somebody else could have put there, and masks that changed."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seglab.data.synthetic import SyntheticSpec, write_tree

DATA = ["data=voc2007", "data.root=data"]
STRANGER = 12345


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "seglab"


@pytest.fixture
def voc(tmp_path: Path, cache: Path) -> Path:
    write_tree(tmp_path / "data", SyntheticSpec(train=8, val=5, width=64, height=48))
    return tmp_path / "data" / "VOC2007"


@pytest.fixture
def train(seglab_cli: Callable[..., Any], tiny: list[str]) -> Callable[..., Any]:
    tiny = [override for override in tiny if not override.startswith("data.synth")]
    return lambda *more: seglab_cli(
        "train", *DATA, *tiny, "trainer.max_epochs=1", "resume=false", *more
    )


@pytest.fixture(params=[0o022, 0o002], ids=["umask 022", "umask 002"])
def umask(request: pytest.FixtureRequest) -> Any:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_the_cache_is_closed_to_others_and_an_older_one_is_closed(
    voc: Path, cache: Path, train: Callable[..., Any], seglab_cli: Callable[..., Any]
) -> None:
    assert train("hydra.run.dir=run").code == 0
    assert mode(cache) == mode(cache / "store") == 0o700
    assert list((cache / "store").glob("v3-*/index.jsonl"))
    for folder in (cache, cache / "store"):
        folder.chmod(0o777)
    assert train("hydra.run.dir=again").code == 0
    assert mode(cache) == mode(cache / "store") == 0o700
    cache.chmod(0o755)
    assert seglab_cli("data", "synth", "data.synth.train=2", "data.synth.val=2").code == 0
    assert mode(cache) == 0o700


@pytest.mark.usefixtures("umask")
def test_a_store_folder_of_ones_own_is_made_private_and_serves_others_read_only(
    voc: Path, train: Callable[..., Any], tmp_path: Path
) -> None:
    assert train("data.store.dir=mine", "hydra.run.dir=run").code == 0
    assert mode(tmp_path / "mine") == 0o700
    (tmp_path / "mine").chmod(0o755)
    assert train("data.store.dir=mine", "hydra.run.dir=again").code == 0
    inside = [path for path in (tmp_path / "mine").rglob("*") if path.suffix != ".lock"]
    assert inside
    assert not any(path.stat().st_mode & 0o022 for path in inside)


@pytest.mark.parametrize("bits", [0o020, 0o002])
def test_a_store_folder_that_others_may_write_to_is_refused(
    voc: Path,
    train: Callable[..., Any],
    seglab_cli: Callable[..., Any],
    tmp_path: Path,
    bits: int,
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755 | bits)
    answer = train("data.store.dir=shared", "hydra.run.dir=run")
    assert answer.code == 1
    assert "shared: other users may write to it" in answer.last_line
    assert "chmod go-w shared, or give data.store.dir=DIR" in answer.last_line
    assert not (tmp_path / "run").exists()
    assert not list(shared.iterdir()), "nothing is written there"
    assert (
        "other users may write to it"
        in seglab_cli("data", "check", *DATA, "data.store.dir=shared").out
    )
    off = train("data.store.dir=shared", "data.store.enabled=false", "hydra.run.dir=run")
    assert off.code == 0, "without a store the folder is not needed"
    assert not list(shared.iterdir())
    shared.chmod(0o755)
    assert train("data.store.dir=shared", "hydra.run.dir=again").code == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else_is_refused(
    voc: Path,
    cache: Path,
    train: Callable[..., Any],
    seglab_cli: Callable[..., Any],
    tmp_path: Path,
) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", STRANGER, STRANGER)
    answer = train("data.store.dir=theirs", "hydra.run.dir=run")
    assert answer.code == 1
    assert "theirs: belongs to another user" in answer.last_line

    assert train("hydra.run.dir=run").code == 0
    store = next((cache / "store").glob("v3-*/index.jsonl")).parent
    for path in (store, store / "index.jsonl", store / "00000.safetensors"):
        os.chown(path, STRANGER, STRANGER)
        answer = train("hydra.run.dir=again")
        assert answer.code == 1
        assert f"{path}: owned by another user; delete it" in answer.last_line
        os.chown(path, 0, 0)

    os.chown(cache, STRANGER, STRANGER)
    answer = train("hydra.run.dir=again")
    assert answer.code == 1
    assert f"{cache}: belongs to another user" in answer.last_line
    assert "XDG_CACHE_HOME" in answer.last_line
    os.chown(cache, 0, 0)

    assert seglab_cli("data", "synth", "data.synth.train=2").code == 0
    (made,) = cache.glob("synthetic-*")
    os.chown(made / "VOC2007", STRANGER, STRANGER)
    answer = seglab_cli("data", "show", "data.synth.train=2")
    assert answer.code == 1
    assert f"{made / 'VOC2007'}: owned by another user" in answer.last_line


def move_behind_a_link(path: Path, elsewhere: Path) -> Path:
    """Replace a file or folder by a link to where it is now."""
    target = elsewhere / path.name
    path.rename(target)
    path.symlink_to(target)
    return target


@pytest.mark.parametrize("part", ["store", "index.jsonl", "00000.safetensors", "record", "lock"])
def test_links_in_the_store_folder_are_refused_and_what_they_name_stays(
    voc: Path, cache: Path, train: Callable[..., Any], tmp_path: Path, part: str
) -> None:
    assert train("hydra.run.dir=run").code == 0
    store = next((cache / "store").glob("v3-*/index.jsonl")).parent
    record = next((cache / "store").glob("v3-*.json"))
    path = {"store": store, "record": record, "lock": record.with_suffix(".lock")}.get(
        part, store / part
    )
    (tmp_path / "elsewhere").mkdir()
    target = move_behind_a_link(path, tmp_path / "elsewhere")
    if part == "lock":  # only who makes a store looks at it
        target.write_text("precious")
        path.with_suffix(".json").unlink()
    before = target.read_bytes() if target.is_file() else sorted(target.iterdir())
    answer = train("hydra.run.dir=again")
    assert answer.code == 1
    assert f"{path}: a link, which seglab did not make there; delete it" in answer.last_line
    assert before == (target.read_bytes() if target.is_file() else sorted(target.iterdir()))


def test_the_store_folder_and_the_data_may_lie_behind_links(
    voc: Path, train: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "scratch")
    for name in ("JPEGImages", "SegmentationClass"):
        move_behind_a_link(voc / name, tmp_path / "scratch")
    move_behind_a_link(voc / "ImageSets/Segmentation/val.txt", tmp_path / "scratch")
    answer = train("data.store.dir=link", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    assert list((tmp_path / "scratch").glob("v3-*/index.jsonl"))


def change_quietly(path: Path) -> None:
    """Swap two labels of a mask: same length, same times."""
    before = path.stat()
    with Image.open(path) as mask:
        labels, colours = np.array(mask), mask.getpalette()
    swapped = np.where(labels == 0, 1, np.where(labels == 1, 0, labels)).astype(np.uint8)
    changed = Image.fromarray(swapped)
    changed.putpalette(colours or [])
    changed.save(path)
    with path.open("ab") as file:
        file.write(b"\0" * (before.st_size - path.stat().st_size))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def roomy(voc: Path) -> Path:
    """Return the folder of masks, with some bytes to spare at the end of each file."""
    for path in (voc / "SegmentationClass").iterdir():
        with path.open("ab") as file:
            file.write(b"\0" * 200)
    return voc / "SegmentationClass"


@pytest.mark.parametrize("first", ["data check", "train", "train without a store"])
def test_a_changed_mask_of_equal_size_and_time_is_found_by_the_check(
    roomy: Path,
    train: Callable[..., Any],
    seglab_cli: Callable[..., Any],
    first: str,
) -> None:
    if first == "data check":
        assert seglab_cli("data", "check", *DATA).code == 0
    else:
        off = ["data.store.enabled=false"] * (first != "train")
        assert train("hydra.run.dir=run", *off).code == 0
    path = roomy / "000002.png"
    change_quietly(path)
    for _ in range(2):
        checked = seglab_cli("data", "check", *DATA)
        assert checked.code == 1
        assert "SegmentationClass/000002.png: its content changed" in checked.out
        assert "run touch on it" in checked.out
    os.utime(path)
    assert seglab_cli("data", "check", *DATA).code == 0


def test_a_changed_mask_of_equal_size_and_time_never_comes_from_an_old_store(
    roomy: Path, train: Callable[..., Any], tmp_path: Path
) -> None:
    def score(run: str, *more: str) -> dict[str, float]:
        assert train(f"hydra.run.dir={run}", *more).code == 0
        scores: dict[str, float] = json.loads((tmp_path / run / "metrics.json").read_text())
        return scores

    first = score("first")
    for path in sorted(roomy.iterdir()):
        change_quietly(path)
    second = score("second")
    assert second["val/loss"] != first["val/loss"]
    shutil.rmtree(tmp_path / "cache")
    assert score("afresh") == second == score("off", "data.store.enabled=false")
