"""Whether a long run stays flat: resident memory, open files, threads, seconds an epoch.

    python -m benchmarks.long_run [--epochs 2000] [logger=csv …]

Trains the padded CNN on tiny synthetic images as ``seglab train`` does, with validation and a
checkpoint after every epoch, and looks at its own process twenty times. The table is printed and
written to ``runs/benchmarks/long_run-LOGGER.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L

LOOKS = 20

TINY = [
    "trainer=cpu",
    "trainer.threads=1",
    "data.synth.train=8",
    "data.synth.val=4",
    "data.synth.width=32",
    "data.synth.height=32",
    "data.batch_size=4",
    "data.eval_batch_size=4",
    "data.crop_size=32",
    "model.net.channels=4",
    "model.net.dilations=[1]",
    "pictures.samples=1",
]


def look(epoch: int) -> dict[str, float]:
    """Return what this process holds now, and its clock."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        "epoch": epoch,
        "rss_mb": int(fields["VmRSS"].split()[0]) / 1024,
        "fds": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 (names are all that is wanted)
        "threads": int(fields["Threads"]),
        "cpu_s": time.process_time(),
        "wall_s": time.monotonic(),
    }


class Look(L.Callback):
    """Adds a line to ``looks.jsonl`` in the run folder after every so many epochs."""

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the state that the epoch before has left."""
        if trainer.current_epoch and trainer.current_epoch % self.every == 0:
            with (Path(trainer.default_root_dir) / "looks.jsonl").open("a") as file:
                file.write(json.dumps(look(trainer.current_epoch)) + "\n")


def measure(epochs: int, overrides: list[str], folder: Path) -> list[dict[str, float]]:
    """Train in ``folder`` and return what was seen, with CPU and wall milliseconds an epoch."""
    every = max(1, epochs // LOOKS)
    looking = f"+callbacks.look={{_target_:benchmarks.long_run.Look,every:{every}}}"
    run = [f"trainer.max_epochs={epochs + 1}", looking, "hydra.run.dir=run", *overrides]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-m", "seglab.cli", "train", *TINY, *run],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    looks = [json.loads(line) for line in (folder / "run/looks.jsonl").read_text().splitlines()]
    for before, after in pairwise(looks):
        for clock in ("cpu", "wall"):
            spent = (after[f"{clock}_s"] - before[f"{clock}_s"]) / every
            after[f"{clock}_ms_an_epoch"] = 1000 * spent
    return looks


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=2000)
    parser.add_argument("overrides", nargs="*", default=["logger=csv"])
    options: Any = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        looks = measure(options.epochs, options.overrides, Path(folder))
    print(f"{'epoch':>6} {'RSS MB':>8} {'files':>6} {'threads':>8} {'CPU ms/epoch':>13}")
    for one in looks:
        spent = f"{one['cpu_ms_an_epoch']:.1f}" if "cpu_ms_an_epoch" in one else "-"
        print(
            f"{one['epoch']:>6} {one['rss_mb']:>8.1f} {one['fds']:>6} {one['threads']:>8}"
            f" {spent:>13}"
        )
    names = [value.partition("=")[2] for value in options.overrides if value.startswith("logger=")]
    output = Path("runs/benchmarks") / f"long_run-{(names or ['wandb'])[0]}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(looks, indent=2) + "\n")
    print(f"{time.monotonic() - start:.0f} s in all; {output}")


if __name__ == "__main__":
    main()
