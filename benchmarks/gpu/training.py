"""Training steps and their clock: seglab's trainer, a bare loop, and ``seglab train`` itself."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch

from seglab.config.compose import compose
from seglab.data.batches import Batch
from seglab.data.classes import VOID
from seglab.runtime.process import computing, seed_everything
from seglab.schema import TrainConfig
from seglab.session.trainer import build_trainer
from seglab.tasks.base import main_output
from seglab.tasks.factories import build_task
from seglab.tasks.precision import precision_plugin
from seglab.tasks.semantic import SemanticSegmentation

NOTE = "window.json"
Note = dict[str, Any]


def now(device: torch.device) -> float:
    """Return the time at which the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def noted(device: torch.device, images: int, seconds: float) -> Note:
    """Return a rate, and the device's name, identity and peak memory since it was last reset."""
    note: Note = {"rate": images / seconds, "device": device.type, "peak_gib": None}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        peak = torch.cuda.max_memory_allocated(device) / 2**30
        note |= {"device": f"{properties.name} {properties.uuid}", "peak_gib": peak}
    return note


class Window(L.Callback):
    """Writes a note into the run folder: images per second of the last epoch, and its device.

    Args:
        skip: the steps at the start of each epoch that are not counted.
    """

    def __init__(self, skip: int = 0) -> None:
        self.skip, self.images, self.began, self.start = skip, 0, 0.0, 0.0

    def on_train_start(self, *_: Any) -> None:
        self.began = time.time()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if batch_idx == self.skip:
            self.images, self.start = 0, now(pl_module.device)
        self.images += len(batch.ids) * trainer.world_size

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        seconds = now(pl_module.device) - self.start
        note = noted(pl_module.device, self.images, seconds)
        note |= {"began": self.began, "ended": time.time()}
        (Path(trainer.default_root_dir) / NOTE).write_text(json.dumps(note))


class Fill(L.Callback):
    """Takes the memory of the GPU but for so many GiB before training starts.

    Args:
        leave: GiB that are left.
    """

    def __init__(self, leave: float) -> None:
        self.leave = leave

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        free, _ = torch.cuda.mem_get_info(pl_module.device)
        size = max(0, free - int(self.leave * 2**30))
        self.taken = torch.empty(size, dtype=torch.uint8, device=pl_module.device)


class Ready:
    """The same random batch, already on the device, so many times.

    Args:
        config: says how large it is, and how many classes it has.
        device: where it is.
        steps: how often it is given.
    """

    def __init__(self, config: TrainConfig, device: torch.device, steps: int) -> None:
        data, count = config.data, config.data.batch_size
        shape = (count, data.crop_size, data.crop_size)
        rng = torch.Generator().manual_seed(0)
        image = torch.randint(256, (count, 3, *shape[1:]), generator=rng, dtype=torch.uint8)
        truth = torch.randint(len(data.classes or ()), shape, generator=rng, dtype=torch.uint8)
        truth[:, : data.crop_size // 16] = VOID
        self.steps = steps
        self.batch = Batch(
            image.contiguous(memory_format=torch.channels_last).to(device),
            truth.to(device),
            torch.arange(count, device=device),
            [str(index) for index in range(count)],
        )

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        return (self.batch for _ in range(self.steps))


def composed(overrides: list[str]) -> TrainConfig:
    """Return the configuration of ``seglab train OVERRIDES``."""
    return compose("train", TrainConfig, overrides).config


def device_of(config: TrainConfig) -> torch.device:
    """Return the device that a run on one device computes on, its peak memory reset."""
    if config.trainer.accelerator == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", 0)
    torch.cuda.init()  # without it there is no memory to reset
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return device


def ready_steps(overrides: list[str], steps: int, skip: int, folder: Path) -> Note:
    """Train on ready-made batches with seglab's task and trainer; ``skip`` steps come first."""
    config = composed([*overrides, "trainer.max_epochs=1"])
    batches = Ready(config, device_of(config), skip + steps)
    with computing(torch.get_num_threads()):
        seed_everything(config.seed)
        trainer = build_trainer(config.trainer, folder, [Window(skip)])
        trainer.fit(build_task(config), train_dataloaders=batches)
    return read_note(folder)


def bare_steps(overrides: list[str], steps: int, skip: int) -> Note:
    """Train the same net on the same batches in a loop of PyTorch alone."""
    config = composed(overrides)
    device = device_of(config)
    torch.use_deterministic_algorithms(False)  # torch's default, which seglab's trainer changes
    task = build_task(config).to(device).train()
    assert isinstance(task, SemanticSegmentation)
    optimizer, scheduler = task.optimizer_and_schedule(skip + steps)
    precision = precision_plugin(config.trainer.precision, device.type)
    start = now(device)
    for number, batch in enumerate(Ready(config, device, skip + steps)):
        if number == skip:
            start = now(device)
        optimizer.zero_grad()
        with precision.forward_context():
            output = task.net(task.normalise(batch.image))
            loss = task.compute_loss(main_output(output), batch.class_map)
            if isinstance(output, dict) and "aux" in output:
                auxiliary = task.compute_loss(output["aux"], batch.class_map)
                loss = loss + task.aux_weight * auxiliary
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return noted(device, steps * config.data.batch_size, now(device) - start)


def read_note(folder: Path) -> Note:
    """Return what a :class:`Window` has written for a run."""
    note: Note = json.loads((folder / NOTE).read_text())
    return note


def seglab_train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Run ``seglab train`` in a folder, with a :class:`Window` in it."""
    window = f"+callbacks.window={{_target_:{Window.__module__}.Window}}"
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "seglab.cli", "train", window, *overrides],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "1000"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def finished(done: subprocess.CompletedProcess[str]) -> None:
    """Raise the last line of a command that failed."""
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise RuntimeError(f"exit code {done.returncode}: {lines[-1]}")


def run(overrides: list[str], folder: Path) -> Note:
    """Return the note of a run of ``seglab train``."""
    finished(seglab_train(folder, *overrides, "hydra.run.dir=run"))
    return read_note(folder / "run")
