"""SIGUSR2, SIGINT, SIGTERM: a run saves where it is, and goes on to the same weights."""

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
from helpers.faults import armed

from seglab.runtime import preemption


class SignalAt(L.Callback):
    """Sends the signal during a step, once; or during the validation that follows it."""

    def __init__(self, step: int, number: int = signal.SIGUSR2, validation: bool = False) -> None:
        self.step, self.number, self.validation = step, number, validation

    def on_train_batch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        if trainer.global_step == self.step and not self.validation:
            os.kill(os.getpid(), self.number)

    def on_validation_batch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        if trainer.global_step == self.step and self.validation and arguments[2] == 1:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("step", "extra"),
    [
        (4, []),
        (4, ["data.num_workers=1"]),
        (3, ["trainer.accumulate_grad_batches=2"]),
        (2, ["trainer.accumulate_grad_batches=2"]),  # an incomplete group is still to come
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

    with monkeypatch.context() as patch, armed(SignalAt(step)):
        patch.setattr(preemption, "_asked", False)
        assert seglab_cli("train", *arguments, "hydra.run.dir=cut", "resume=true").code == 130
    assert json.loads((tmp_path / "cut/status.json").read_text())["status"] == "interrupted"
    assert load(tmp_path / "cut")["global_step"] == step + 1
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL

    answer = seglab_cli("train", *arguments, "hydra.run.dir=cut", "resume=true")
    assert answer.code == 0, answer.err
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize(
    ("number", "code", "step", "validation"),
    [
        (signal.SIGINT, 130, 4, False),
        (signal.SIGTERM, 143, 0, False),  # in the first step
        (signal.SIGTERM, 143, 6, True),  # in the second of three validations
        (signal.SIGINT, 130, 9, True),  # in the last one
    ],
)
def test_a_run_that_is_told_to_end_saves_where_it_is(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: int,
    step: int,
    validation: bool,
) -> None:
    arguments = [*tiny, "data.synth.train=14", "data.photometric=0.5", "trainer.max_epochs=3"]
    arguments += ["callbacks=ema", "callbacks.ema.decay=0.8"]
    assert seglab_cli("train", *arguments, "hydra.run.dir=whole").code == 0

    with armed(SignalAt(step, number, validation)):
        answer = seglab_cli("train", *arguments, "hydra.run.dir=cut", "resume=true")
    assert answer.code == code
    resumed = "hydra.run.dir=cut resume=true, with the same settings, resumes it"
    assert answer.err == f"seglab: interrupted; {resumed}\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    cut = tmp_path / "cut"
    assert json.loads((cut / "status.json").read_text())["status"] == "interrupted"
    assert (cut / "report.html").is_file()
    assert load(cut)["global_step"] == (step if validation else step + 1)
    assert len(rows(cut)) == load(cut)["global_step"]

    answer = seglab_cli("train", *arguments, "hydra.run.dir=cut", "resume=true")
    assert answer.code == 0, answer.err
    assert_same(tmp_path / "whole", cut)


def test_a_signal_before_the_run_is_one_line(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check(self: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("seglab.data.datamodule.VOCDataModule.check", check)
    answer = seglab_cli("train", *tiny, "hydra.run.dir=run")
    assert (answer.code, answer.err) == (143, "seglab: interrupted\n")
    assert not (tmp_path / "run").exists()

    def cut_short(self: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy failed to import") from None

    monkeypatch.setattr("seglab.data.datamodule.VOCDataModule.check", cut_short)
    answer = seglab_cli("train", *tiny, "hydra.run.dir=run")
    assert (answer.code, answer.err) == (130, "seglab: interrupted\n")


def assert_same(one: Path, other: Path) -> None:
    """Assert that two runs came to the same weights, history and metrics, to the last bit."""
    whole, cut = load(one), load(other)
    assert whole["global_step"] == cut["global_step"]
    for part in ("state_dict", "current_model_state"):
        for name, weight in whole.get(part, {}).items():
            assert torch.equal(weight, cut[part][name]), name
    assert rows(one) == rows(other)
    assert (one / "metrics.json").read_text() == (other / "metrics.json").read_text()


def load(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))
