"""A disk that is full or may only be read: one clear line, and what was good before stays good."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.faults import armed

from benchmarks.crash import differences
from seglab import report
from seglab.run.checkpoints import read_checkpoint
from seglab.run.history import History
from seglab.run.status import FINISHED, status

EMA = ["callbacks=ema", "trainer.max_epochs=3", "data.photometric=0.5"]


class Disk:
    """A small file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", path)

    def fill(self, left: int = 0) -> None:
        """Leave this many bytes free."""
        with (self.path / "filler").open("wb") as file:
            file.write(bytes(shutil.disk_usage(self.path).free - left))
        assert shutil.disk_usage(self.path).free <= left

    def empty(self) -> None:
        (self.path / "filler").unlink()

    def read_only(self, yes: bool = True) -> None:
        self._mount("-o", f"remount,{'ro' if yes else 'rw'}", self.path)

    def _mount(self, *arguments: str | Path) -> None:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if shutil.which("mount") is None:
        pytest.skip("nothing can be mounted here: no mount command")
    path = tmp_path / "disk"
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)


class FillAt(L.Callback):
    """Fills the disk in the second epoch, when one of the hooks is called."""

    def __init__(self, hook: str, disk: Disk) -> None:
        def fill(trainer: L.Trainer, *arguments: Any) -> None:
            if trainer.current_epoch == 1:
                disk.fill()

        setattr(self, hook, fill)


@pytest.mark.parametrize(
    ("hook", "file"),
    [
        ("on_validation_start", "samples/"),  # pictures and counts of the validation
        ("on_train_epoch_end", "checkpoints/"),
    ],
)
def test_a_full_disk_stops_a_run_that_goes_on_when_there_is_space(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    file: str,
) -> None:
    arguments = [*tiny, *EMA]
    assert seglab_cli("train", *arguments, "hydra.run.dir=whole").code == 0
    run = disk.path / "run"
    with armed(FillAt(hook, disk)):
        answer = seglab_cli("train", *arguments, f"hydra.run.dir={run}")
    assert answer.code == 1
    assert answer.err.count("\n") == 1, answer.err
    assert answer.err.startswith(f"seglab: error: {run / file}")
    assert answer.err.endswith(
        ": No space left on device; free some space, and give resume=true to resume from the last "
        "checkpoint\n"
    )
    assert status(run) != FINISHED
    assert read_checkpoint(run / "checkpoints/last.ckpt")["global_step"] == 2
    steps = [row["step"] for row in History(run / "metrics.csv").rows()]
    assert steps in (["0", "1"], ["0", "1", "2"], ["0", "1", "2", "3"])
    assert list(run.rglob("*.part")) == []

    again = seglab_cli("train", *arguments, f"hydra.run.dir={run}", "resume=true")
    assert again.code == 1, "it is still full"
    assert again.err.count("\n") == 1, again.err

    disk.empty()
    answer = seglab_cli("train", *arguments, f"hydra.run.dir={run}", "resume=true")
    assert answer.code == 0, answer.err
    assert differences(tmp_path / "whole", run) == []
    assert (run / "report.html").is_file()


def test_a_history_on_a_full_disk_stays_whole(disk: Disk) -> None:
    history = History(disk.path / "metrics.csv")
    for step in range(3):
        history.log(step, {"a": float(step), "text": 0.0})
    history.flush()
    before = history.path.read_bytes()
    disk.fill()
    history.log(3, {"a": 1.0, "text": "x" * 20_000})  # type: ignore[dict-item]
    with pytest.raises(OSError, match="No space left") as full:
        history.flush()
    assert full.value.filename == str(history.path)
    assert history.path.read_bytes() == before
    history.log(2, {"text": "x" * 20_000})  # type: ignore[dict-item]
    with pytest.raises(OSError, match="No space left"):
        history.flush()
    assert history.path.read_bytes() == before, "a row that is added to"


def test_a_report_that_has_no_place_changes_nothing(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = report.write_report

    def full(folder: Path) -> Path:
        disk.fill(left=64 * 2**10)
        return write(folder)

    monkeypatch.setattr(report, "write_report", full)
    run = disk.path / "run"
    answer = seglab_cli("train", *tiny, f"hydra.run.dir={run}")
    assert answer.code == 0, answer.err
    assert status(run) == FINISHED
    said = [line for line in answer.out.splitlines() if "not written" in line]
    assert len(said) == 1
    assert "report.html: not written: " in said[0]
    assert "No space left on device" in said[0]
    assert list(run.rglob("*.part")) == []
    assert read_checkpoint(run / "checkpoints/last.ckpt")


@pytest.mark.parametrize("mode", ["complete", "progressive"])
@pytest.mark.parametrize("told", [True, False], ids=["full", "quota"])
def test_a_store_without_space_keeps_what_fits(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    told: bool,
    mode: str,
) -> None:
    assert seglab_cli("train", *tiny, "hydra.run.dir=whole").code == 0
    disk.fill(left=40 * 2**10)
    if not told:  # a quota, of which the file system's size says nothing
        usage = shutil._ntuple_diskusage(2**50, 1, 2**50)  # type: ignore[attr-defined]
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    store = [f"data.store.dir={disk.path / 'store'}", f"data.store.mode={mode}"]
    answer = seglab_cli("train", *tiny, *store, "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.out.splitlines() if "the store keeps" in line]
    assert "the store keeps 0 of " in line
    assert [path for path in disk.path.rglob("*") if path.suffix == ".safetensors"] == []
    whole, run = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "run")
    )
    assert all(value.equal(run[name]) for name, value in whole.items())


def test_a_store_on_a_read_only_disk_serves(
    seglab_cli: Callable[..., Any], tiny: list[str], disk: Disk
) -> None:
    store = f"data.store.dir={disk.path / 'store'}"
    part = "data.store.max_gb=3e-5"
    assert seglab_cli("train", *tiny, store, part, "hydra.run.dir=run").code == 0
    disk.read_only()
    for mode in ("complete", "progressive"):
        settings = [store, f"data.store.mode={mode}", f"hydra.run.dir={mode}"]
        answer = seglab_cli("train", *tiny, *settings)
        assert answer.code == 0, answer.err
        assert "the store keeps" in answer.out
    other = seglab_cli("train", *tiny, store, "data.synth.seed=9", "hydra.run.dir=other")
    assert (other.code, other.err.count("\n")) == (1, 1)
    assert "data.store.dir=DIR, or data.store.enabled=false" in other.err


def test_predictions_without_space(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, disk: Disk
) -> None:
    assert seglab_cli("train", *tiny, "hydra.run.dir=run").code == 0
    disk.fill()
    (photo,) = list(Path(tmp_path / "run/samples/fixed").glob("*.jpg"))[:1]
    out = disk.path / "out"
    checkpoint = "checkpoint=run/checkpoints/last.ckpt"
    answer = seglab_cli("predict", checkpoint, f"input={photo}", f"output={out}")
    assert (answer.code, answer.err.count("\n")) == (1, 1), answer.err
    assert answer.err.startswith(f"seglab: error: {out}")
    assert answer.err.endswith(": No space left on device; free some space\n")
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_a_read_only_disk(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    disk: Disk,
    interrupt: Callable[[int], None],
) -> None:
    arguments = [*tiny, "callbacks=ema"]
    finished, cut = disk.path / "finished", disk.path / "cut"
    assert seglab_cli("train", *arguments, f"hydra.run.dir={finished}").code == 0
    interrupt(1)
    assert seglab_cli("train", *arguments, f"hydra.run.dir={cut}").code == 130
    interrupt(-1)
    disk.read_only()
    for folder in (cut, disk.path / "new"):
        answer = seglab_cli("train", *arguments, f"hydra.run.dir={folder}", "resume=true")
        assert (answer.code, answer.err.count("\n")) == (1, 1), answer.err
        assert "not writable; give hydra.run.dir=DIR" in answer.err
    answer = seglab_cli("train", *arguments, f"hydra.run.dir={finished}", "resume=true")
    assert answer.code == 0, "there is nothing to do"
    last = finished / "checkpoints/last.ckpt"
    answer = seglab_cli("evaluate", f"checkpoint={last}", "hydra.run.dir=measured")
    assert answer.code == 0, answer.err
    answer = seglab_cli("predict", f"checkpoint={last}", f"input={finished}", "output=out")
    assert "Traceback" not in answer.err
    disk.read_only(False)
    answer = seglab_cli("train", *arguments, f"hydra.run.dir={cut}", "resume=true")
    assert answer.code == 0, answer.err
    assert differences(finished, cut) == []
