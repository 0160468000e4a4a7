"""What a training step costs beyond a bare PyTorch loop over the same batches.

    python -m benchmarks.step [data.root=DIR] [rounds=4] [steps=13]

The padded CNN's and FCN-8s' recipes, three epochs of so many steps a round. The last is timed: W&B
is imported and started beside the first steps. Ours is the run that `seglab train` makes, its
logging (history and W&B offline) and its progress bar on, from the epoch's start to its end;
validation and checkpoints come after that. The bare loop takes batches from the same loader and has
the same net, loss, optimiser and schedule, and nothing else.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console

from benchmarks.measure import Clock, data_overrides, prepare, show
from seglab.config.compose import compose
from seglab.data.datamodule import VOCDataModule
from seglab.data.weights import balance
from seglab.schema import TrainConfig
from seglab.sweep.start import run_job
from seglab.tasks.base import main_output
from seglab.tasks.factories import build_task
from seglab.tasks.semantic import SemanticSegmentation

RECIPES = ("padded_cnn_voc2007", "fcn8s_voc2007")
EPOCHS = 3


def ours(config: TrainConfig) -> float:
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        console = Console(file=nowhere, force_terminal=True)
        run_job(config, Path(folder) / "run", console=console)
    return Clock.seconds


def bare(config: TrainConfig, steps: int) -> float:
    prepare(config.trainer.threads)
    torch.use_deterministic_algorithms(False)  # torch's default, which our run has changed
    L.seed_everything(config.seed, verbose=False)
    data = VOCDataModule(config.data, config.seed)
    task = build_task(balance(config, data.record("train"))).train()
    assert isinstance(task, SemanticSegmentation)
    optimizer, scheduler = task.optimizer_and_schedule(EPOCHS * steps)
    assert scheduler is not None
    loader = data.train_dataloader()
    for _ in range(EPOCHS):
        start = time.perf_counter()
        for batch in islice(loader, steps):
            optimizer.zero_grad()
            logits = main_output(task.net(task.normalise(batch.image)))
            loss = task.compute_loss(logits, batch.class_map)
            loss.backward()
            optimizer.step()
            scheduler.step()
    return time.perf_counter() - start


def main(arguments: list[str]) -> None:
    given: dict[str, Any] = {"rounds": 4, "steps": 13}
    given |= dict(one.split("=", 1) for one in arguments if one.split("=")[0] in given)
    overrides = data_overrides([one for one in arguments if one.split("=")[0] not in given])
    steps = int(given["steps"])
    for recipe in RECIPES:
        settings = [
            f"experiments={recipe}",
            "model.weights=null",
            *(["~callbacks.ema"] if recipe.startswith("fcn") else []),
            "+callbacks.clock={_target_:benchmarks.measure.Clock}",
            f"trainer.max_epochs={EPOCHS}",
            f"trainer.limit_train_batches={steps}",
            "trainer.limit_val_batches=1",
            "pictures.samples=0",
        ]
        config = compose("train", TrainConfig, [*settings, *overrides]).config
        ways = {"bare loop": partial(bare, config, steps), "seglab train": partial(ours, config)}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(int(given["rounds"]) + 1):
            # Either goes first every other time: the machine slows down as a round goes on.
            for name in list(ways)[:: 1 if number % 2 else -1]:
                found = ways[name]()
                if number:
                    seconds[name].append(found)
        show(f"step/{recipe}", seconds, "bare loop", units=steps, unit="step")


if __name__ == "__main__":
    main(sys.argv[1:])
