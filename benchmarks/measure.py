"""Times ways of doing the same thing in turn, and prints and keeps medians, spread and ratios.

In turn, because the machine's mood changes by the minute: what slows one way down slows the others.
"""

from __future__ import annotations

import atexit
import json
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch

from seglab.runtime.memory import keep_memory
from seglab.runtime.process import computing, share_of_cores

OUTPUT = Path("runs/benchmarks")

SHARED = Path(__file__).parents[2] / "shared" / "VOCdevkit"
"""Where real photographs lie beside a checkout, if they do."""


_UNTIL_EXIT = ExitStack()
atexit.register(_UNTIL_EXIT.close)


def prepare(threads: int | None) -> int:
    """Compute as a process of the command line does, from now on; return its CPU threads."""
    keep_memory()
    threads = share_of_cores(threads)
    _UNTIL_EXIT.enter_context(computing(threads))
    return threads


class Clock(L.Callback):
    """Notes how long the training of the last epoch took."""

    seconds = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        Clock.seconds = time.perf_counter() - self.start


def data_overrides(overrides: list[str]) -> list[str]:
    """Return what chooses the data: as given, or real photographs, or the built-in ones."""
    given = {one.split("=")[0] for one in overrides}
    if "data" in given:
        return overrides
    if "data.root" in given:
        return ["data=voc2007", *overrides]
    if (SHARED / "VOC2007").is_dir():
        return ["data=voc2007", f"data.root={SHARED}", *overrides]
    print("no photographs at hand (data.root=DIR): the built-in data set, larger than usual")
    synthetic = {"width": 500, "height": 375, "train": 64, "val": 32}
    return [*(f"data.synth.{name}={value}" for name, value in synthetic.items()), *overrides]


def in_turn(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each way in each round, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def show(
    benchmark: str,
    seconds: Mapping[str, list[float]],
    base: str,
    *,
    units: int = 1,
    unit: str = "",
    facts: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Print a line for each way and keep everything as ``runs/benchmarks/NAME.json``.

    Args:
        benchmark: what was measured; several may share a file as ``FILE/PART``.
        seconds: what :func:`in_turn` returned.
        base: the way that the others are held against, round by round.
        units: how many images, steps or calls one round was.
        unit: their name.
        facts: what else is to be kept and printed.

    Returns:
        The median over rounds of the time of each other way divided by that of ``base``.
    """
    print(f"{benchmark}, ms {f'a {unit}' if unit else ''}: median (fastest to slowest)")
    ratios = {}
    for name, times in seconds.items():
        scaled = sorted(1000 * one / units for one in times)
        line = f"  {name:<34} {statistics.median(scaled):9.2f} "
        line += f"({scaled[0]:.2f} to {scaled[-1]:.2f})"
        if name != base:
            each = sorted(a / b for a, b in zip(times, seconds[base], strict=True))
            ratios[name] = statistics.median(each)
            line += f"   {ratios[name]:6.2f} x {base} ({each[0]:.2f} to {each[-1]:.2f})"
        print(line, flush=True)
    for fact, value in (facts or {}).items():
        print(f"  {fact}: {value}")
    keep(benchmark, {"seconds": dict(seconds), "base": base, "times": ratios, **(facts or {})})
    return ratios


def keep(benchmark: str, found: Mapping[str, Any]) -> None:
    """Write what was found, with the machine it was found on."""
    name, _, part = benchmark.partition("/")
    path = OUTPUT / f"{name}.json"
    OUTPUT.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text()) if part and path.is_file() else {}
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    kept[part or "result"] = {**machine, **found}
    path.write_text(json.dumps(kept, indent=2) + "\n")
