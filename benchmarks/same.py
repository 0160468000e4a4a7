"""Whether two commits compute the same: weights, ``metrics.csv`` and ``metrics.json``.

    python -m benchmarks.same COMMIT [--head COMMIT] [NAME …]

Trains short runs in a worktree of each commit, with this environment, and compares them: every
tensor of ``last.ckpt`` bit by bit, the tables byte by byte. A change that should not change the
numbers passes. Exits 1 where something differs, or a run fails.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.measure import SHARED

ROOT = Path(__file__).parents[1]
WEIGHTS = SHARED.parent / "weights" / "mobilenet_v2_imagenet_features.pth"
SHORT = ["logger=csv", "trainer.accelerator=cpu", "trainer.limit_val_batches=4"]
TABLES = ("metrics.csv", "metrics.json")


def recipe(name: str, *more: str) -> list[str]:
    """Return the overrides of a short run of a recipe, on photographs where there are any."""
    if (SHARED / "VOC2007").is_dir():
        overrides = [f"experiments={name}_voc2007", f"data.root={SHARED}"]
        if name != "padded_cnn" and WEIGHTS.is_file():
            overrides.append(f"model.weights={WEIGHTS}")
    else:
        overrides = [f"model={name}"]
    return [*overrides, *SHORT, "trainer.limit_train_batches=3", *more]


RUNS = {
    "padded_cnn": recipe("padded_cnn", "trainer.max_epochs=2"),
    "padded_cnn_2_processes": recipe("padded_cnn", "trainer.max_epochs=2", "trainer.devices=2"),
    "fcn8s": recipe("fcn8s", "trainer.max_epochs=2"),
    "mask_rcnn": recipe("mask_rcnn", "trainer.max_epochs=1"),
    "resumed": [*SHORT, "experiments=smoke", "trainer.max_epochs=6", "resume=true"],
    "sweep": ["-m", *SHORT, "experiments=smoke", "trainer.max_epochs=2", "seed=0,1"],
}
"""What is trained. ``resumed`` is interrupted after its second epoch and resumed."""


def main() -> int:
    """Compare two commits; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("base", metavar="COMMIT", help="what is compared with")
    parser.add_argument("--head", metavar="COMMIT", default="HEAD", help="what is compared")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}")
    options = parser.parse_intermixed_args()
    if unknown := set(options.names) - set(RUNS):
        parser.error(f"no run {min(unknown)!r}; the runs are {', '.join(RUNS)}")
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="seglab-same-") as folder:
        here = Path(folder)
        with worktree(options.base, here / "base"), worktree(options.head, here / "head"):
            for name in options.names or RUNS:
                outputs = [train(name, here / side, here / "runs" / side) for side in SIDES]
                found = list(differences(*outputs))
                print(f"{name}: {'; '.join(found) or 'the same'}", flush=True)
                problems += found
    return 1 if problems else 0


SIDES = ("base", "head")


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[None]:
    """Check a commit out into ``folder`` for as long as the block lasts."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def train(name: str, source: Path, output: Path) -> Path:
    """Train one run with the code in ``source``; return its folder, or that of its runs.

    Raises:
        RuntimeError: the run failed; its output is shown.
    """
    folder, log = output / name, output / f"{name}.log"
    output.mkdir(parents=True, exist_ok=True)
    overrides = list(RUNS[name])
    key = "hydra.sweep.dir" if "-m" in overrides else "hydra.run.dir"
    command = [sys.executable, "-m", "seglab.cli", "train", *overrides, f"{key}={folder}"]
    environment = {**os.environ, "PYTHONPATH": str(source), "NO_COLOR": "1"}

    def start(file: object) -> subprocess.Popen[bytes]:
        streams = {"stdout": file, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=source, env=environment, **streams)  # type: ignore[call-overload,no-any-return]

    with log.open("wb") as file:
        process = start(file)
        if name == "resumed":
            wait_for_epoch(2, folder / "metrics.csv", process)
            process.send_signal(signal.SIGTERM)
            if process.wait() != 128 + signal.SIGTERM:
                raise RuntimeError(f"{name}: not interrupted\n{log.read_text()}")
            process = start(file)
        if process.wait() != 0:
            raise RuntimeError(f"{name}: exit code {process.returncode}\n{log.read_text()}")
    return folder


def wait_for_epoch(epoch: int, table: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the history contains a step of ``epoch``.

    Raises:
        RuntimeError: the run ended before.
    """
    while process.poll() is None:
        if table.is_file():
            header, *lines = table.read_text().splitlines() or [""]
            columns = header.split(",")
            if lines and int(lines[-1].split(",")[columns.index("epoch")] or 0) >= epoch:
                return
        time.sleep(0.02)
    raise RuntimeError(f"{table}: the run ended before epoch {epoch}")


def differences(base: Path, head: Path) -> Iterator[str]:
    """Yield what differs between the runs in two folders."""
    paths = [sorted(one.rglob("last.ckpt")) for one in (base, head)]
    if not paths[0] or len(paths[0]) != len(paths[1]):
        yield f"{len(paths[0])} and {len(paths[1])} checkpoints"
        return
    for one, other in zip(*paths, strict=True):
        run = one.parents[1]
        label = f"{run.relative_to(base)}/"
        weights = [torch.load(path, weights_only=True)["state_dict"] for path in (one, other)]
        if weights[0].keys() != weights[1].keys():
            yield f"{label}last.ckpt: other names of tensors"
        elif wrong := [key for key in weights[0] if not equal(weights[0][key], weights[1][key])]:
            yield f"{label}last.ckpt: {len(wrong)} of {len(weights[0])} tensors, first {wrong[0]}"
        for table in TABLES:
            if (run / table).read_bytes() != (other.parents[1] / table).read_bytes():
                yield f"{label}{table}"


def equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors hold the same bits."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()


if __name__ == "__main__":
    sys.exit(main())
