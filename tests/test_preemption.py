"""SIGUSR2: a run saves in the middle of an epoch, and goes on to the same weights."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import seglab.job
from seglab import preemption


class SignalAt(L.Callback):
    """Sends the signal during a step, once."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGUSR2)


@pytest.mark.parametrize(
    ("step", "extra"),
    [
        (4, []),
        (4, ["data.num_workers=1"]),
        (3, ["trainer.accumulate_grad_batches=2"]),
        (5, []),  # the last step of an epoch: its validation is still to come
    ],
)
def test_a_preempted_run_goes_on_within_the_epoch_to_the_same_weights(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    extra: list[str],
) -> None:
    arguments = [*tiny, "data.synth.train=14", "data.photometric=0.5", "trainer.max_epochs=3"]
    arguments += extra
    assert seglab_cli("train", *arguments, "hydra.run.dir=whole").code == 0

    build_trainer = seglab.job.build_trainer

    def with_signal(config: Any, folder: Path, callbacks: list[L.Callback]) -> L.Trainer:
        return build_trainer(config, folder, [SignalAt(step), *callbacks])

    with monkeypatch.context() as patch:
        patch.setattr(seglab.job, "build_trainer", with_signal)
        patch.setattr(preemption._Wish, "asked", False)
        assert seglab_cli("train", *arguments, "hydra.run.dir=cut", "resume=true").code == 130
    assert json.loads((tmp_path / "cut/status.json").read_text())["status"] == "interrupted"
    assert load(tmp_path / "cut")["global_step"] == step + 1
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL

    answer = seglab_cli("train", *arguments, "hydra.run.dir=cut", "resume=true")
    assert answer.code == 0, answer.err
    whole, cut = (load(tmp_path / name) for name in ("whole", "cut"))
    assert whole["global_step"] == cut["global_step"]
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, cut["state_dict"][name]), name
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    assert (tmp_path / "whole/metrics.json").read_text() == (
        tmp_path / "cut/metrics.json"
    ).read_text()


def load(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))
