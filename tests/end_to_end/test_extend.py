"""resume=true with a larger trainer.max_epochs extends a finished run."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.faults import armed
from helpers.warm import command

WARM_UP = ["schedule.warmup_steps=0"]
STEPS = 2
"""Per epoch: 8 samples in batches of 4."""


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def rates(run: Path) -> list[float]:
    return [float(row["lr/head"]) for row in rows(run) if row["lr/head"]]


def checkpoint(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    return content


def same_weights(one: Path, two: Path) -> bool:
    first, second = (checkpoint(run)["state_dict"] for run in (one, two))
    return first.keys() == second.keys() and all(first[k].equal(second[k]) for k in first)


def times(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.rglob("*")}


@pytest.fixture
def train(seglab_cli: Callable[..., Any], tiny: list[str]) -> Callable[..., Any]:
    def call(folder: str, epochs: int, *more: str) -> Any:
        own = [*tiny, f"trainer.max_epochs={epochs}", f"hydra.run.dir={folder}", "resume=true"]
        return seglab_cli("train", *own, *more)

    return call


@pytest.mark.parametrize("more", [[], ["callbacks=ema", "schedule.warmup_steps=5"]])
def test_an_extended_run_of_a_constant_schedule_equals_the_longer_run_to_the_bit(
    train: Callable[..., Any], tmp_path: Path, more: list[str]
) -> None:
    more = [*WARM_UP, "schedule=constant", *more]
    assert train("long", 4, *more).code == 0
    assert train("run", 2, *more).code == 0
    answer = train("run", 4, *more)
    assert answer.code == 0, answer.err
    lines = [line for line in answer.out.splitlines() if line.startswith("extends")]
    assert lines == ["extends the run from 2 to 4 epochs: a new schedule from step 4"]
    assert same_weights(tmp_path / "run", tmp_path / "long")
    for name in ("metrics.csv", "metrics.json"):
        texts = [(tmp_path / run / name).read_text() for run in ("run", "long")]
        assert texts[0] == texts[1], name
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert status["status"] == "finished"
    assert [start["step"] for start in status["history"]] == [0, 4]


def test_a_new_schedule_covers_the_added_epochs_and_is_resumed_after_an_interruption(
    train: Callable[..., Any], tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    more = [*WARM_UP, "optimizer.lr=0.01"]
    for run in ("whole", "run"):
        assert train(run, 2, *more).code == 0
    assert train("whole", 5, *more).code == 0
    first = [0.01 * (1 - step / 4) ** 0.9 for step in range(4)]
    added = [0.01 * (1 - step / 6) ** 0.9 for step in range(6)]
    assert rates(tmp_path / "whole") == pytest.approx(first + added)

    for epoch in (2, 3):  # before the first added step, and after the first added epoch
        interrupt(epoch)
        assert train("run", 5, *more).code == 130
        status = json.loads((tmp_path / "run/status.json").read_text())
        assert status["status"] == "interrupted"
        assert not (tmp_path / "run/metrics.json").exists()
        interrupt(-1)
    answer = train("run", 5, *more, "schedule.restart=false")
    assert answer.code == 2
    assert "schedule.restart=true, not false" in answer.last_line
    assert train("run", 5, *more).code == 0
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    steps = [int(row["step"]) for row in rows(tmp_path / "run")]
    assert steps == [*range(10)]
    assert rates(tmp_path / "run") == rates(tmp_path / "whole")


class Snapshots(L.Callback):
    """Copies the run folder as an epoch starts, which is what SIGKILL would leave."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        shutil.copytree("run", f"killed{trainer.current_epoch}")


def test_a_run_that_is_killed_while_it_is_extended_comes_to_the_same_weights(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    assert train("run", 1, *WARM_UP).code == 0
    with armed(Snapshots()):
        assert train("run", 3, *WARM_UP).code == 0
    for epoch in (1, 2):  # before the first checkpoint of the extension, and after it
        killed = tmp_path / f"killed{epoch}"
        assert json.loads((killed / "status.json").read_text())["status"] == "started"
        answer = train(killed.name, 3, *WARM_UP)
        assert answer.code == 0, answer.err
        assert same_weights(killed, tmp_path / "run")
        assert rates(killed) == rates(tmp_path / "run")


def test_without_a_restart_the_last_rates_stay_however_often_a_run_is_extended(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    more = [*WARM_UP, "optimizer.lr=0.01", "schedule.restart=false"]
    for epochs in (2, 3, 4):
        answer = train("run", epochs, *more)
        assert answer.code == 0, answer.err
    assert "extends the run from 3 to 4 epochs: the last learning rates from step 6" in answer.out
    first = [0.01 * (1 - step / 4) ** 0.9 for step in range(4)]
    assert rates(tmp_path / "run") == pytest.approx(first + [first[-1]] * 4)


def test_a_schedule_of_torchs_starts_again_too(train: Callable[..., Any], tmp_path: Path) -> None:
    more = ["schedule._target_=torch.optim.lr_scheduler.OneCycleLR", "+schedule.max_lr=0.01"]
    assert train("run", 2, *more).code == 0
    answer = train("run", 4, *more)
    assert answer.code == 0, answer.err
    seen = rates(tmp_path / "run")
    assert seen[4:] == pytest.approx(seen[:4])
    assert len({*seen[:4]}) == 4


@pytest.mark.parametrize("epochs", [2, 1])
def test_a_finished_run_of_no_fewer_epochs_is_left_alone_on_any_number_of_processes(
    train: Callable[..., Any], tmp_path: Path, epochs: int
) -> None:
    assert train("run", 2).code == 0
    before = times(tmp_path / "run")
    for more in ([], ["trainer.devices=2"], ["trainer.devices=3"], ["schedule.restart=false"]):
        answer = train("run", epochs, *more)
        assert answer.code == 0, answer.err
        assert "nothing to do" in answer.out
        assert ("max_epochs=1: the run has finished 2 epochs and keeps" in answer.out) == (
            epochs == 1
        )
    assert times(tmp_path / "run") == before


def test_an_extension_is_planned_and_refused_by_name(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    assert train("run", 1).code == 0
    before = times(tmp_path / "run")
    dry = train("run", 3, "--dry-run")
    assert dry.code == 0, dry.err
    assert dry.out.splitlines()[-1] == "# run: would extend from 1 to 3 epochs"
    answer = train("run", 3, "optimizer.lr=0.5")
    assert answer.code == 2
    assert "optimizer.lr=0.003, not 0.5" in answer.last_line
    assert times(tmp_path / "run") == before

    assert train("best", 1, "checkpoints=best").code == 0
    answer = train("best", 3, "checkpoints=best")
    assert answer.code == 2
    assert "best has finished 1 epochs and has no last.ckpt" in answer.last_line
    assert json.loads((tmp_path / "best/status.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_two_processes_extend_a_run_as_they_train_the_longer_one(
    tiny: list[str], tmp_path: Path
) -> None:
    more = [*WARM_UP, "schedule=constant", "trainer.devices=2", "data.batch_size=2", "resume=true"]
    for run, epochs in (("long", 2), ("run", 1), ("run", 2)):
        own = [*tiny, *more, f"trainer.max_epochs={epochs}", f"hydra.run.dir={run}"]
        done = command(tmp_path, "train", *own)
        assert done.returncode == 0, done.stderr
    assert same_weights(tmp_path / "run", tmp_path / "long")
