"""Kills runs with SIGKILL at random moments and resumes them until they are done.

    python -m benchmarks.crash [--kills 10] [--seed 0]

As many kills as asked for hit each phase: training, validation, and the writing of a checkpoint. A
kill counts for the phase that the process was in when it died, which it notes in shared memory.
The weights of every run, its optimiser, its averaged weights, ``metrics.csv`` and ``metrics.json``
must in the end be those of a run that nobody disturbed. Each attempt is a process of its own with
the real run in it, forked from the warm server of ``seglab train -m``.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch

PHASES = {"training": 1, "validation": 2, "checkpoint": 3}
SHARED = struct.Struct("<BxxxIQ")
"""The phase, the optimiser steps done, and how many phases have begun."""

OVERRIDES = [
    "callbacks=ema",
    "+callbacks.phases={_target_:benchmarks.crash.Phases}",
    "data.synth.train=24",
    "data.synth.val=12",
    "data.synth.width=64",
    "data.synth.height=48",
    "data.batch_size=4",
    "data.eval_batch_size=2",
    "data.crop_size=32",
    "data.photometric=0.5",
    "model.net.channels=64",
    "model.net.dilations=[1,2,4]",
    "schedule.warmup_steps=10",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.max_epochs=8",
    "pictures.samples=2",
    "logger=csv",
    "resume=true",
]


class Board:
    """What an attempt tells of itself: a few bytes that outlive it."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), SHARED.size)

    def read(self) -> tuple[int, int, int]:
        """Return phase, steps and the number of phases begun."""
        phase, steps, begun = SHARED.unpack(self.memory[:])
        return phase, steps, begun

    def enter(self, phase: int, steps: int | None = None) -> None:
        """Note that a phase has begun; 0 is what lies between them."""
        _, before, begun = self.read()
        self.memory[:] = SHARED.pack(phase, before if steps is None else steps, begun + 1)


BOARD: Board | None = None


class Phases(L.Callback):
    """Notes on the board what the run is doing, from its first step on."""

    def on_train_batch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        if BOARD and trainer.global_step > 0:
            BOARD.enter(PHASES["training"], trainer.global_step)

    def on_validation_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        if BOARD:
            BOARD.enter(PHASES["validation"], trainer.global_step)

    def on_validation_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        if BOARD:
            BOARD.enter(0)


def attempt(overrides: list[str], folder: str, board: str) -> None:
    """Run, or go on with, the run in ``folder``, as the process that may be killed."""
    global BOARD
    from benchmarks import crash  # as the callback is imported, and not as a main program
    from seglab.config.compose import compose
    from seglab.run.checkpoints import AtomicCheckpointIO
    from seglab.schema import TrainConfig
    from seglab.sweep.start import run_job

    crash.BOARD = BOARD = Board(Path(board))
    save = AtomicCheckpointIO.save_checkpoint

    def noted(self: AtomicCheckpointIO, *arguments: Any, **more: Any) -> None:
        crash.BOARD.enter(PHASES["checkpoint"])
        save(self, *arguments, **more)
        crash.BOARD.enter(0)

    AtomicCheckpointIO.save_checkpoint = noted  # type: ignore[method-assign]
    run_job(compose("train", TrainConfig, overrides).config, Path(folder))


class Killer:
    """Starts attempts on one run after the other, and kills them.

    Args:
        work: where the runs and the board go.
        kills: how many kills each phase is to get.
        seed: of the random moments.
        overrides: what is trained.
    """

    def __init__(self, work: Path, kills: int, seed: int, overrides: list[str]) -> None:
        from seglab.runtime.launch import warm

        self.work, self.kills, self.overrides = work, kills, overrides
        self.random = random.Random(seed)
        self.context = warm()
        self.path = work / "board"
        self.lengths: dict[int, list[float]] = {number: [] for number in PHASES.values()}
        self.hits: Counter[str] = Counter()
        self.moments: list[dict[str, Any]] = []
        self.attempts = 0

    def start(self, folder: Path) -> tuple[Any, Board]:
        """Start an attempt, and return its process and its board."""
        self.attempts += 1
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(bytes(SHARED.size))
        with (self.work / "log.txt").open("a") as log:
            log.write(f"attempt {self.attempts}: {folder}\n")
        process = self.context.Process(
            target=logged,
            args=(str(self.work / "log.txt"), self.overrides, str(folder), str(self.path)),
        )
        process.start()
        return process, Board(self.path)

    def whole(self, folder: Path) -> None:
        """Run without a kill, and learn how long the phases are."""
        process, board = self.start(folder)
        since, last = time.perf_counter(), (0, 0, 0)
        for state in watch(process, board):
            if state != last:
                now = time.perf_counter()
                if last[0]:
                    self.lengths[last[0]].append(now - since)
                since, last = now, state
        finish(process)

    def kill_once(self, folder: Path) -> bool:
        """Start or resume a run and kill it in the phase that lacks most; False if it was done."""
        process, board = self.start(folder)
        wanted = min(PHASES, key=lambda name: self.hits[name])
        number = PHASES[wanted]
        skipped = self.random.randrange(10 if wanted == "training" else 2)
        delay = self.random.uniform(0, statistics.median(self.lengths[number]))
        seen, since = 0, None
        for phase, _, begun in watch(process, board):
            if since is not None:
                if time.perf_counter() - since >= delay:
                    process.kill()
                    break
            elif phase == number and begun != seen:
                seen, skipped = begun, skipped - 1
                if skipped < 0:
                    since = time.perf_counter()
        process.join()
        if process.exitcode == 0:
            return False
        if process.exitcode != -9:
            raise SystemExit(f"an attempt failed: see {self.work / 'log.txt'}")
        phase, steps, _ = board.read()
        hit = next((name for name, number in PHASES.items() if number == phase), "between")
        self.hits[hit] += 1
        parts = [path.name for path in folder.rglob(".*.part")]
        self.moments.append({"phase": hit, "step": steps, "half_written": parts})
        return True

    def done(self) -> bool:
        """Tell whether every phase has been hit often enough."""
        return all(self.hits[name] >= self.kills for name in PHASES)


def logged(log: str, overrides: list[str], folder: str, board: str) -> None:
    """Run :func:`attempt` with its output in a file."""
    from seglab.runtime.worker import detach

    detach(log)
    attempt(overrides, folder, board)


def watch(process: Any, board: Board) -> Iterator[tuple[int, int, int]]:
    """Yield what the board says, again and again, until the process ends."""
    while process.is_alive():
        for _ in range(20):
            yield board.read()
            time.sleep(0.0002)


def finish(process: Any) -> None:
    """Wait for an attempt that must succeed."""
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"an attempt ended with exit code {process.exitcode}")


def differences(one: Path, other: Path) -> list[str]:
    """Return what two runs differ in: tensors, history, metrics; nothing if they are equal."""
    loaded = [torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (one, other)]
    found = []
    for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
        tensors = [dict(leaves(checkpoint[part], part)) for checkpoint in loaded]
        for name in sorted({*tensors[0], *tensors[1]}):
            first, second = (each.get(name) for each in tensors)
            both = isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)
            if not (torch.equal(first, second) if both else first == second):
                found.append(name)
    for name in ("metrics.csv", "metrics.json"):
        if (one / name).read_bytes() != (other / name).read_bytes():
            found.append(name)
    return found


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield all that nested dicts and lists hold, by its path."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from leaves(inner, f"{name}/{key}")
    else:
        yield name, value


def crash(work: Path, kills: int, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Kill ``kills`` times in each phase, and return what came of it."""
    os.environ["XDG_CACHE_HOME"] = str(work / "cache")
    start = time.perf_counter()
    killer = Killer(work, kills, seed, overrides)
    whole = work / "whole"
    killer.whole(whole)
    differ: dict[str, list[str]] = {}
    while not killer.done():
        folder = work / f"killed{len(differ)}"
        while not killer.done() and killer.kill_once(folder):
            pass
        process, _ = killer.start(folder)  # to its end, or to see that it has reached it
        finish(process)
        differ[folder.name] = differences(whole, folder)
    steps = [int(line.split(",")[0]) for line in (whole / "metrics.csv").read_text().split()[1:]]
    return {
        "seed": seed,
        "kills": {name: killer.hits[name] for name in [*PHASES, "between"]},
        "half_written_files": sum(len(moment["half_written"]) for moment in killer.moments),
        "left_over": [str(p) for p in work.glob("killed*/**/.*.part")],
        "runs": len(differ),
        "attempts": killer.attempts,
        "steps_of_a_run": len(steps),
        "each_step_once": steps == list(range(len(steps))),
        "differences": differ,
        "seconds": round(time.perf_counter() - start, 1),
        "moments": killer.moments,
    }


def main() -> None:
    """Kill, compare, print, and write ``runs/benchmarks/crash.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10, help="in each phase")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as name:
        found = crash(Path(name), options.kills, options.seed, OVERRIDES)
    for phase, count in found["kills"].items():
        print(f"{phase:<12} {count:>4} kills")
    differ = [run for run, what in found["differences"].items() if what]
    print(
        f"{found['runs']} runs of {found['steps_of_a_run']} steps, {found['attempts']} starts, "
        f"{found['half_written_files']} half-written files left by kills, "
        f"{len(found['left_over'])} of them at the end, {found['seconds']} s"
    )
    print(f"runs that differ from the undisturbed one: {', '.join(differ) or 'none'}")
    output = Path("runs/benchmarks/crash.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=2) + "\n")
    print(output)
    sys.exit(bool(differ or found["left_over"] or not found["each_step_once"]))


if __name__ == "__main__":
    main()
