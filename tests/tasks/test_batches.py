"""What a run says of its batches."""

from __future__ import annotations

from seglab.config.compose import compose
from seglab.schema import TrainConfig
from seglab.tasks.batches import batch_sizes


def said(processes: int, *overrides: str) -> list[str]:
    config = compose("train", TrainConfig, ["data.batch_size=4", *overrides]).config
    return batch_sizes(config, 30, processes)


def test_an_ordinary_run_says_nothing() -> None:
    assert said(1) == []


def test_gathered_batches_and_processes_multiply() -> None:
    assert said(1, "trainer.accumulate_grad_batches=2") == [
        "effective batch size 8: 4 samples x 2 batches per step",
        "each epoch leaves out 2 of 30 samples, which fill no batch",
    ]
    assert said(3, "trainer.accumulate_grad_batches=2", "optimizer.lr_rule=linear") == [
        "effective batch size 24: 4 samples x 3 processes x 2 batches per step",
        "each epoch leaves out 6 of 30 samples, which fill no batch",
        "learning rate x 3 (optimizer.lr_rule=linear)",
    ]
