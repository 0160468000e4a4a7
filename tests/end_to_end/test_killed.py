"""A run that is killed, or whose newest checkpoint is damaged, comes to the same weights."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.crash import OVERRIDES, crash, differences


@pytest.mark.slow
def test_kills_in_training_validation_and_saving_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = 5
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # set by crash(), and restored
    found = crash(tmp_path, kills, seed=kills, overrides=OVERRIDES)
    assert min(found["kills"][name] for name in ("training", "validation", "checkpoint")) >= kills
    assert found["steps_of_a_run"] == 48
    assert found["each_step_once"]
    assert found["differences"] == {name: [] for name in found["differences"]}
    assert found["left_over"] == []


EMA = ["callbacks=ema", "trainer.max_epochs=3", "data.photometric=0.5"]


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
) -> None:
    arguments = [*tiny, *EMA]
    assert seglab_cli("train", *arguments, "hydra.run.dir=whole").code == 0
    interrupt(2)
    assert seglab_cli("train", *arguments, "hydra.run.dir=cut").code == 130
    last = tmp_path / "cut/checkpoints/last.ckpt"
    previous = last.with_name("previous.ckpt")
    assert previous.is_file()
    good = last.read_bytes()

    # One changed bit in the middle of a tensor, of which torch says nothing.
    with zipfile.ZipFile(last) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    header = good[largest.header_offset :][:30]
    names = sum(int.from_bytes(header[place : place + 2], "little") for place in (26, 28))
    flipped = bytearray(good)
    flipped[largest.header_offset + 30 + names + largest.file_size // 2] ^= 1
    last.write_bytes(flipped)
    for command in (["evaluate"], ["predict", "input=x", "output=y"]):
        answer = seglab_cli(*command, f"checkpoint={last}")
        assert answer.code == 1
        assert f"checkpoint={last}: damaged" in answer.last_line
        assert "Traceback" not in answer.err

    interrupt(-1)
    answer = seglab_cli("train", *arguments, "hydra.run.dir=cut", "resume=true")
    assert answer.code == 0, answer.err
    said = [line for line in answer.out.splitlines() if "damaged" in line]
    assert len(said) == 1
    assert "cut/checkpoints/last.ckpt: damaged" in said[0]
    assert said[0].endswith("resumes from cut/checkpoints/previous.ckpt, step 2")
    assert "epoch 1/3" not in answer.out
    assert "epoch 2/3" in answer.out
    assert differences(tmp_path / "whole", tmp_path / "cut") == []
    assert {path.name for path in last.parent.iterdir()} == {"last.ckpt", "best.ckpt"}


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_where_all_checkpoints_are_damaged_nothing_is_touched(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
    content: bytes | None,
) -> None:
    arguments = [*tiny, *EMA, "hydra.run.dir=cut"]
    interrupt(2)
    assert seglab_cli("train", *arguments).code == 130
    folder = tmp_path / "cut/checkpoints"
    for name in ("last.ckpt", "previous.ckpt"):
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(good[:-100] if content is None else content)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").rglob("*.*")}
    interrupt(-1)
    answer = seglab_cli("train", *arguments, "resume=true")
    assert answer.code == 1
    assert "Traceback" not in answer.err
    for said in ("last.ckpt: ", "previous.ckpt: ", "delete cut/checkpoints to start from the beg"):
        assert said in answer.last_line
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").rglob("*.*")}
    assert json.loads((tmp_path / "cut/status.json").read_text())["status"] == "interrupted"
