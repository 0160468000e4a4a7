"""From the shell to the first training step, against importing torch, torchvision and lightning.

    python -m benchmarks.start [rounds=5] [key=value …]

Each in a fresh process, in turn: the three imports alone; `seglab --help`; `seglab train` on the
built-in data, its store filled, until the first optimiser step is done and its process ended, once
as it is and once with `logger=csv`. What building the model takes is measured inside the first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lightning as L

from benchmarks.measure import in_turn, show

BUILD = """
import time, torch
from seglab.config.compose import compose
from seglab.schema import TrainConfig
from seglab.tasks.factories import build_task
config = compose("train", TrainConfig, {overrides!r}).config
start = time.perf_counter()
build_task(config)
print(time.perf_counter() - start)
"""


class EndAtFirstStep(L.Callback):
    """Ends the process when the first training step is done."""

    def on_train_batch_end(self, *_: Any) -> None:
        os._exit(0)


def main(arguments: list[str]) -> None:
    given = {"rounds": "5"}
    given |= dict(one.split("=", 1) for one in arguments if one.split("=")[0] in given)
    overrides = [one for one in arguments if one.split("=")[0] not in given]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], env=environment, cwd=folder, check=True, capture_output=True
        )
        return done.stdout.decode()

    def train(*more: str) -> None:
        clock = "+callbacks.clock={_target_:benchmarks.start.EndAtFirstStep}"
        with tempfile.TemporaryDirectory() as out:
            settings = ["trainer=cpu", clock, f"hydra.run.dir={out}/run", *overrides, *more]
            run("-m", "seglab.cli", "train", *settings)

    with tempfile.TemporaryDirectory() as folder:
        imports = "import torch, torchvision, lightning"
        seconds = in_turn(
            {
                "the three imports": lambda: run("-c", imports),
                "seglab --help": lambda: run("-m", "seglab.cli", "--help"),
                "seglab train": train,
                "seglab train logger=csv": lambda: train("logger=csv"),
            },
            int(given["rounds"]),
        )
        build = float(run("-c", BUILD.format(overrides=["trainer=cpu", *overrides])))
    facts = {"building the model, s": round(build, 2)}
    show("start", seconds, "the three imports", facts=facts)


if __name__ == "__main__":
    main(sys.argv[1:])
