"""What pruning saves in a search, and how many short jobs a sweep does in a minute.

    python -m benchmarks.search

First the same 24 configurations (random sampler, one seed) on the built-in data, two at a time:
without a pruner, and with ASHA at Optuna's defaults. Budgets: the best mIoU within 0.01, at most
40 % of the epochs and of the wall time. Then 12 short jobs: as a sweep, two at a time; and as a
Hydra application that starts each as a fresh run, which its basic launcher does one after another.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import keep

TRIALS, EPOCHS = 24, 16
DATA = ["data.synth.train=96", "data.synth.val=32", "trainer.accelerator=cpu", "logger=csv"]
SPACE = [
    "optimizer.lr=tag(log, interval(1e-5, 1e-1))",
    "optimizer.weight_decay=tag(log, interval(1e-6, 1e-2))",
]
SEARCH = [
    *("train", "-m", "search=optuna", "hydra.sweeper.sampler=random", "hydra.launcher.n_jobs=2"),
    *(f"hydra.sweeper.n_trials={TRIALS}", f"trainer.max_epochs={EPOCHS}", *DATA, *SPACE),
]
SHORT = ["experiments=smoke", "trainer.accelerator=cpu", "logger=csv", "trainer.max_epochs=1"]
JOBS = 12

APPLICATION = f"""
import subprocess, sys
import hydra

@hydra.main(version_base=None)
def main(config):
    job = [f"seed={{config.seed}}", f"hydra.run.dir=fresh/{{config.seed}}"]
    command = [sys.executable, "-m", "seglab.cli", "train", *{SHORT!r}, *job]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

main()
"""


def call(folder: Path, *arguments: str) -> float:
    """Run a Python command, and return its seconds."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start


def epochs_of(sweep: Path) -> int:
    """Return the epochs that all runs of a sweep have trained."""
    total = 0
    for history in sweep.glob("*/metrics.csv"):
        with history.open(newline="") as file:
            total += max((int(row["epoch"]) + 1 for row in csv.DictReader(file)), default=0)
    return total


def searched(folder: Path, name: str, *more: str) -> dict[str, Any]:
    """Run a search, and return what it cost and found."""
    seconds = call(folder, "-m", "seglab.cli", *SEARCH, f"sweep.name={name}", *more)
    sweep = folder / "sweeps" / name
    with (sweep / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == TRIALS
    best = max(float(row["val/mIoU"]) for row in rows if row["status"] == "finished")
    pruned = sum(row["status"] == "pruned" for row in rows)
    return {"seconds": seconds, "epochs": epochs_of(sweep), "best": best, "pruned": pruned}


def main() -> None:
    """Measure and print both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways = {
            "no pruner": searched(folder, "whole"),
            "ASHA": searched(folder, "asha", "hydra.sweeper.pruner=asha"),
        }
        for way, found in ways.items():
            print(
                f"{way:<10} {found['seconds']:6.1f} s  {found['epochs']:4} epochs  "
                f"best val/mIoU {found['best']:.4f}  {found['pruned']} pruned",
                flush=True,
            )
        whole, asha = ways["no pruner"], ways["ASHA"]
        print(
            f"ASHA takes {asha['seconds'] / whole['seconds']:.0%} of the time and "
            f"{asha['epochs'] / whole['epochs']:.0%} of the epochs; its best differs by "
            f"{asha['best'] - whole['best']:+.4f}",
            flush=True,
        )
        seeds = f"seed=range(0,{JOBS})"
        two = ["sweep.name=short", "hydra.launcher.n_jobs=2"]
        sweep = call(folder, "-m", "seglab.cli", "train", "-m", *SHORT, seeds, *two)
        (folder / "application.py").write_text(APPLICATION)
        fresh = call(folder, "application.py", "-m", f"+{seeds}")
        print(
            f"{JOBS} short jobs: {sweep:.1f} s as a sweep, {fresh:.1f} s as fresh runs of Hydra's "
            f"basic launcher: {fresh / sweep:.1f} times"
        )
        keep("search", {**ways, "sweep_seconds": sweep, "fresh_seconds": fresh})


if __name__ == "__main__":
    main()
