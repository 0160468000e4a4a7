"""The lines of the table: each is one function, called in a process of its own."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.training import (
    Fill,
    Note,
    bare_steps,
    composed,
    finished,
    read_note,
    ready_steps,
    run,
    seglab_train,
)
from seglab.run.status import FAILED, read_status

Result = dict[str, Any]
"""Of a line: ``ways``, the notes of each round by way, and ``base``, the way that the others are
held against; or ``skipped``, why it was; and ``outcome``, a sentence."""


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        overrides: model, sizes, device and data.
        steps: measured in each round.
        skip: the steps before them.
        rounds: measured, in turn.
        tiny: a trial on a CPU.
    """

    overrides: list[str]
    steps: int
    skip: int
    rounds: int
    tiny: bool


Ways = dict[str, Callable[[Path], Note]]


def in_turn(ways: Ways, rounds: int, base: str | None, **more: Any) -> Result:
    """Measure each way in each round, in a folder of its own."""
    notes: dict[str, list[Note]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                notes[name].append(way(Path(folder)))
    return {"ways": notes, "base": base, **more}


def variants(plan: Plan, settings: dict[str, list[str]], base: str) -> Result:
    """Measure steps on ready-made batches with different settings."""
    return in_turn(
        {
            name: partial(ready_steps, [*plan.overrides, *more], plan.steps, plan.skip)
            for name, more in settings.items()
        },
        plan.rounds,
        base,
    )


def fed(plan: Plan) -> Result:
    """``seglab train`` from files, its logging on, against batches that need no loading."""
    fed = [*plan.overrides, *SHORT, f"trainer.limit_train_batches={plan.steps}"]
    return in_turn(
        {
            "ready-made batches": partial(ready_steps, plan.overrides, plan.steps, plan.skip),
            "seglab train, from photographs": partial(run, fed),
            "bare PyTorch loop, ready-made batches": lambda _: bare_steps(
                plan.overrides, plan.steps, plan.skip
            ),
        },
        plan.rounds,
        "ready-made batches",
    )


SHORT = [
    *("trainer.max_epochs=2", "trainer.check_val_every_n_epoch=2", "trainer.limit_val_batches=1"),
    *("logger=csv", "pictures.samples=0"),
]
"""The second epoch is measured, and a single batch is validated."""


def precision(plan: Plan) -> Result:
    """bfloat16 against float32."""
    settings = {name: [f"trainer.precision={name}"] for name in ("32-true", "bf16-mixed")}
    return variants(plan, settings, "32-true")


def layout(plan: Plan) -> Result:
    """channels_last against contiguous."""
    settings = {
        "contiguous": ["trainer.channels_last=false"],
        "channels_last": ["trainer.channels_last=true"],
    }
    return variants(plan, settings, "contiguous")


def compiled(plan: Plan) -> Result:
    """trainer.compile against eager."""
    settings = {"eager": ["trainer.compile=false"], "compiled": ["trainer.compile=true"]}
    return variants(plan, settings, "eager")


def deterministic(plan: Plan) -> Result:
    """The default, the same weights for the same seed, against torch's fastest kernels."""
    settings = {f"deterministic={value}": [f"trainer.deterministic={value}"] for value in MODES}
    return variants(plan, settings, f"deterministic={MODES[0]}")


MODES = ("warn", "false")


def devices(plan: Plan) -> Result:
    """All GPUs against one, each with as large a batch."""
    count = 2 if plan.tiny else torch.cuda.device_count()
    if count < 2:
        return {"skipped": f"needs several GPUs; this machine has {count}"}
    share = max(1, plan.steps // count)
    ways: Ways = {}
    for number in (1, count):
        settings = [f"trainer.devices={number}", f"trainer.limit_train_batches={share}"]
        ways[settings[0]] = partial(run, [*plan.overrides, *SHORT, *settings, "trainer.threads=1"])
    return in_turn(ways, plan.rounds, "trainer.devices=1")


def memory(plan: Plan) -> Result:
    """A batch for which the device has no room ends in one line that names the keys."""
    data = composed(plan.overrides).data
    crop = f"data.crop_size={2_000_000 if plan.tiny else data.crop_size}"  # no CPU has room for it
    full = [f"+callbacks.fill={{_target_:{Fill.__module__}.Fill,leave:1}}"] if not plan.tiny else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = seglab_train(folder, *plan.overrides, *SHORT, *full, crop, "hydra.run.dir=run")
        status = read_status(folder / "run").get("status")
    line = (done.stderr.strip().splitlines() or [""])[-1]
    device = "can't allocate memory" if plan.tiny else " out of memory"  # torch: CUDA out of …
    promised = {
        "exit code 1": done.returncode == 1,
        "no traceback": "Traceback" not in done.stderr,
        "status failed": status == FAILED,
        "seglab's line": line.startswith("seglab: error: out of memory during training"),
        "torch's reason": device in line.partition("torch: ")[2],
        "the sizes": f"data.batch_size={data.batch_size} {crop} " in line,
        "what to lower": "lower data.batch_size" in line,
    }
    missing = [what for what, held in promised.items() if not held]
    if missing:
        raise RuntimeError(f"not as promised: {', '.join(missing)}; last line: {line}")
    return {"outcome": f"as promised: {line}"}


def sweep(plan: Plan) -> Result:
    """Two jobs, one after the other and at the same time."""
    count = 0 if plan.tiny else torch.cuda.device_count()
    settings = [*plan.overrides, *SHORT, f"trainer.limit_train_batches={plan.steps}", "seed=0,1"]
    config = composed(plan.overrides)
    images = 2 * 2 * plan.steps * config.data.batch_size

    def jobs(number: int, folder: Path) -> Note:
        name = ["sweep.name=two", f"hydra.launcher.n_jobs={number}"]
        start = time.perf_counter()
        finished(seglab_train(folder, "-m", *settings, *name))
        rate = images / (time.perf_counter() - start)
        notes = [read_note(one.parent) for one in folder.glob("sweeps/two/*/status.json")]
        return {
            "rate": rate,
            "peak_gib": max(note["peak_gib"] or 0.0 for note in notes) or None,
            "devices": sorted(note["device"] for note in notes),
            "at_once": max(n["began"] for n in notes) < min(n["ended"] for n in notes),
        }

    alone, both = "one job at a time", "two jobs at a time"
    result = in_turn({alone: partial(jobs, 1), both: partial(jobs, 2)}, 1, alone)
    note = result["ways"][both][0]
    if not note["at_once"] or result["ways"][alone][0]["at_once"]:
        raise RuntimeError("the jobs did not run as hydra.launcher.n_jobs says")
    if count > 1 and len(set(note["devices"])) != 2:
        raise RuntimeError(f"two jobs on {count} GPUs shared one: {note['devices'][0]}")
    shared = "each on its own GPU" if count > 1 else f"both on one {'GPU' if count else 'CPU'}"
    return {**result, "outcome": f"{shared}, from the command's start to its end"}


def recipes(plan: Plan) -> Result:
    """The steps of the recipes that need a GPU, and the hours that their schedules would take."""
    names = ("fcn_resnet50_voc2012_aug", "fcn8s_vgg16_voc2012_aug")
    device = ["trainer.accelerator=cpu", "data.batch_size=2", "data.crop_size=32"]
    ways: Ways = {}
    for name in names:
        settings = [f"experiments={name}", "model.weights=null", *(device if plan.tiny else [])]
        ways[name] = partial(ready_steps, settings, plan.steps, plan.skip)
    result = in_turn(ways, 1, None)
    hours = []
    for name in names:
        epochs = composed([f"experiments={name}"]).trainer.max_epochs
        rate = statistics.median(note["rate"] for note in result["ways"][name])
        hours.append(f"{name} {epochs * TRAIN_AUG / rate / 3600:.1f} h")
    return {**result, "outcome": f"at this rate all epochs take: {', '.join(hours)}"}


TRAIN_AUG = 10_582
"""The training images of VOC2012 with SBD."""

LINES: dict[str, tuple[Callable[[Plan], Result], float]] = {
    "fed": (fed, 150),
    "precision": (precision, 75),
    "layout": (layout, 60),
    "compiled": (compiled, 180),
    "deterministic": (deterministic, 60),
    "devices": (devices, 105),
    "memory": (memory, 60),
    "sweep": (sweep, 120),
    "recipes": (recipes, 60),
}
"""Each line, and its limit in seconds."""
