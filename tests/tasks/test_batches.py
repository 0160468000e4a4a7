"""What a run says of its batches."""

from __future__ import annotations

from seglab.config.compose import compose
from seglab.schema import TrainConfig
from seglab.tasks.batches import batch_sizes, within_warmup


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


def warmup(*overrides: str) -> list[str]:
    given = ["data.batch_size=4", "schedule.warmup_steps=28", "trainer.max_epochs=4", *overrides]
    return within_warmup(compose("train", TrainConfig, given).config, 30, 1)


def test_a_run_that_ends_within_its_warmup_says_so() -> None:
    assert warmup() == [  # 7 batches per epoch
        "schedule.warmup_steps=28: the run has 28 steps, so it ends within the warm-up and never "
        "reaches its learning rate"
    ]
    assert warmup("schedule.warmup_steps=27") == []
    assert warmup("trainer.max_epochs=5") == []
    assert "the run has 16 steps" in warmup("trainer.accumulate_grad_batches=2")[0]
    assert "the run has 12 steps" in warmup("trainer.limit_train_batches=0.5")[0]
    assert "the run has 8 steps" in warmup("trainer.limit_train_batches=2")[0]
    assert warmup("schedule.warmup_steps=0", "trainer.limit_train_batches=1") == []
