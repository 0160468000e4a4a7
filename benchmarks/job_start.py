"""How long a job of a sweep takes to its first training step, and what a fresh command takes.

    python -m benchmarks.job_start

Trains the built-in data three times as ``seglab train`` and then four jobs in one local sweep. Both
are measured alike: the age of the process when its first optimiser step is done, and in brackets
the CPU time that it has used, which other work on the machine does not stretch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L


class FirstStep(L.Callback):
    """Notes how old its process is when its first training step is done."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        if trainer.global_step == 1:
            note = Path(trainer.default_root_dir) / "first_step"
            note.write_text(f"{age_of_process()} {time.process_time()}")


def age_of_process() -> float:
    """Return the seconds since this process was forked."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22, in ticks since boot
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start


def train(folder: Path, *arguments: str) -> None:
    """Run ``seglab train`` with the clock in it."""
    clock = "+callbacks.clock={_target_:benchmarks.job_start.FirstStep}"
    command = [sys.executable, "-m", "seglab.cli", "train", "trainer=cpu", "trainer.max_epochs=1"]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [*command, clock, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def main() -> None:
    """Measure and print both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(3):
            train(folder, f"hydra.run.dir=fresh{number}")
        train(folder, "-m", "sweep.name=warm", "seed=range(0,4)")
        for what, pattern in (
            ("a fresh seglab train", "fresh*/first_step"),
            ("a job of a sweep", "sweeps/warm/*/first_step"),
        ):
            notes = sorted(
                [float(number) for number in path.read_text().split()]
                for path in folder.glob(pattern)
            )
            listed = ", ".join(f"{age:.2f} ({cpu:.2f})" for age, cpu in notes)
            print(f"{what:<22} first step after {listed} s")


if __name__ == "__main__":
    main()
