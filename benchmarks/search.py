"""What pruning saves in a search, and how many short jobs a sweep does in a minute.

    python -m benchmarks.search [hydra.sweeper.seed=1 …]

First the same 24 configurations (random sampler, one seed) of the default recipe, 60 epochs on the
built-in data, two at a time: without a pruner, and with ``asha``. Budgets: the best mIoU within
0.01, at most 40 % of the epochs and of the wall time. Overrides apply to both, such as
``trainer.max_epochs=16``, too short for the runs to separate.

Then 12 short jobs: as a sweep, two at a time; as a Hydra application that starts each as a fresh
run, which its basic launcher does one after another and its joblib launcher two at a time; and, if
it is installed, as trials of Ray Tune that call :func:`seglab.fit`, two at a time: each in a new
process, Ray's default, or in processes that are reused.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import keep

TRIALS = 24
SPACE = [
    "optimizer.lr=tag(log, interval(1e-5, 1e-1))",
    "optimizer.weight_decay=tag(log, interval(1e-6, 1e-2))",
]
SEARCH = [
    *("train", "-m", "search=optuna", "hydra.sweeper.sampler=random", "hydra.launcher.n_jobs=2"),
    *(f"hydra.sweeper.n_trials={TRIALS}", "trainer.accelerator=cpu", "logger=csv", *SPACE),
]
SHORT = ["experiments=smoke", "trainer.accelerator=cpu", "logger=csv", "trainer.max_epochs=1"]
JOBS = 12

APPLICATION = f"""
import subprocess, sys
import hydra

@hydra.main(version_base=None)
def main(config):
    job = [f"seed={{config.seed}}", f"hydra.run.dir={{config.to}}/{{config.seed}}"]
    command = [sys.executable, "-m", "seglab.cli", "train", *{SHORT!r}, *job]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

main()
"""

TUNE = f"""
import sys
import ray
from pathlib import Path
from ray import tune

def train(config):
    import seglab
    job = [f"seed={{config['seed']}}", f"hydra.run.dir={{config['folder']}}/{{config['seed']}}"]
    seglab.fit(*{SHORT!r}, "trainer.threads=1", *job, quiet=True)

folder = Path(sys.argv[1]).resolve()
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
results = tune.Tuner(
    tune.with_resources(train, {{"cpu": 1}}),
    param_space={{"seed": tune.grid_search([*range({JOBS})]), "folder": str(folder)}},
    tune_config=tune.TuneConfig(reuse_actors=folder.name == "reused"),
    run_config=tune.RunConfig(storage_path=str(folder.parent / "results"), verbose=0),
).fit()
assert not results.errors, results.errors
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


def results_of(folder: Path) -> list[float]:
    """Return the mIoU of the runs of a folder, sorted."""
    files = folder.glob("*/metrics.json")
    return sorted(json.loads(file.read_text())["val/mIoU"] for file in files)


def check(folder: Path, sweep: Path) -> None:
    """Check that the same jobs were done; on other numbers of threads, sums round differently."""
    one, other = results_of(folder), results_of(sweep)
    assert len(one) == len(other), (one, other)
    assert max(abs(a - b) for a, b in zip(one, other, strict=True)) < 0.01, (one, other)


def throughput(folder: Path) -> dict[str, float]:
    """Run the short jobs each way; return the seconds."""
    seeds = f"seed=range(0,{JOBS})"
    two = ["sweep.name=short", "hydra.launcher.n_jobs=2"]
    seconds = {"sweep": call(folder, "-m", "seglab.cli", "train", "-m", *SHORT, seeds, *two)}
    (folder / "application.py").write_text(APPLICATION)
    launchers: dict[str, list[str]] = {"basic": []}
    try:
        import hydra_plugins.hydra_joblib_launcher  # noqa: F401

        launchers["joblib"] = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    except ImportError:
        print("Hydra's joblib launcher: not measured, it is not installed: make bench installs it")
    for launcher, more in launchers.items():
        application = ["application.py", "-m", f"+{seeds}", f"+to={launcher}"]
        seconds[f"Hydra's {launcher} launcher"] = call(folder, *application, *more)
        check(folder / launcher, folder / "sweeps/short")
    try:
        import ray.tune  # noqa: F401
    except ImportError:
        print("Ray Tune: not measured, it is not installed: pip install 'ray[tune]'")
        return seconds
    (folder / "tuner.py").write_text(TUNE)
    for name in ("new", "reused"):
        seconds[f"Ray Tune, {name} processes"] = call(folder, "tuner.py", name)
        check(folder / name, folder / "sweeps/short")
    return seconds


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
            "no pruner": searched(folder, "whole", *sys.argv[1:]),
            "ASHA": searched(folder, "asha", "hydra.sweeper.pruner=asha", *sys.argv[1:]),
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
        jobs = throughput(folder)
        for way, seconds in jobs.items():
            print(f"{JOBS} short jobs, {way}: {seconds:.1f} s, {seconds / jobs['sweep']:.1f} times")
        keep("search", {**ways, "jobs": jobs})


if __name__ == "__main__":
    main()
