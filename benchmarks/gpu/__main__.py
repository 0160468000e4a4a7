"""What a GPU does for seglab: every number that docs/speed.md leaves open for want of one.

    python -m benchmarks.gpu [data.root=DIR] [minutes=15] [steps=60] [rounds=3] [lines=fed,memory]
    python -m benchmarks.gpu device=cpu

torchvision's FCN-ResNet-50 at VOC's usual sizes (crops of 512, batches of 16, bf16-mixed,
channels_last), with random weights. Each line of `benchmarks/gpu/lines.py` runs in a process of its
own with a time limit, so that a failure costs one row. VOC2007's photographs are linked under new
ids until an epoch is long enough. Written after each line: runs/benchmarks/gpu.md and gpu.json.
`key=value` of `seglab train` apply to every line, such as data.batch_size=8 on a small GPU.
`device=cpu` tries the benchmark itself with tiny sizes; its numbers mean nothing.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.lines import LINES, Plan, Result
from benchmarks.gpu.table import table
from benchmarks.gpu.training import composed
from benchmarks.measure import OUTPUT, data_overrides, keep
from benchmarks.scale import make
from seglab.data.dataset import open_dataset
from seglab.schema import TrainConfig

GIVEN = {"minutes": "15", "steps": "60", "rounds": "3", "lines": ",".join(LINES), "device": "gpu"}
TINY = {"steps": "2", "rounds": "1"}
GRACE = 20.0
"""Seconds that a line over its time gets to end its own processes."""

NET = {
    "gpu": [
        *("trainer=gpu", "model=fcn_resnet50", "data.batch_size=16", "data.crop_size=512"),
        f"data.num_workers={min(8, os.cpu_count() or 1)}",
    ],
    "cpu": [
        *("trainer=cpu", "model=padded_cnn", "data.batch_size=2", "data.crop_size=32"),
        *("data=synthetic", "data.synth.train=8", "data.synth.val=4"),
    ],
}


def attempt(command: list[str], limit: float) -> Result:
    """Run a line in a process of its own.

    Returns:
        What it prints last, as JSON; if it fails or takes longer than ``limit`` seconds, why.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return {"failed": f"over its {limit:.0f} s; fewer steps=… or rounds=… take less"}
        finally:
            end(process)
        texts = [Path(f"/dev/fd/{file.fileno()}").read_text() for file in (out, err)]
    if code == 0:
        result: Result = json.loads(texts[0].splitlines()[-1])
        return result
    print(texts[1], file=sys.stderr)
    return {"failed": (texts[1].strip().splitlines() or [f"exit code {code}"])[-1]}


def end(process: subprocess.Popen[Any]) -> None:
    """End a process, unless it has ended, and its children, which get some time to end theirs."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def long_enough(root: Path, config: TrainConfig, images: int) -> list[str]:
    """Link the data until an epoch has so many images; return what chooses it."""
    train = open_dataset(config.data, config.data.train_split)
    make(root, config, len(train), math.ceil(images / len(train)))
    names = json.dumps(list(train.classes))
    return ["data=folder", f"data.root={root}", f"data.classes={names}"]


def machine(tiny: bool) -> str:
    """Return what the table was measured on."""
    if tiny:
        return "A trial of the benchmark on a CPU with tiny sizes: the numbers mean nothing."
    count, name = torch.cuda.device_count(), torch.cuda.get_device_name(0)
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    return f"{count} x {name}, {os.cpu_count()} cores, {versions}."


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["line"]:
        name, plan = arguments[1], Plan(**json.loads(arguments[2]))
        print("\n" + json.dumps(LINES[name][0](plan)))
        return
    named = dict(one.split("=", 1) for one in arguments if one.split("=")[0] in GIVEN)
    given = {**GIVEN, **(TINY if named.get("device") == "cpu" else {}), **named}
    own = [one for one in arguments if one.split("=")[0] not in GIVEN]
    tiny, steps, minutes = given["device"] == "cpu", int(given["steps"]), float(given["minutes"])
    if not tiny and not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: torch finds no GPU; device=cpu tries the benchmark without one")
    start, results = time.monotonic(), dict[str, Result]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = [*NET[given["device"]], "model.weights=null", *own]
        config = composed(data_overrides(settings))
        data = long_enough(folder / "data", config, steps * config.data.batch_size)
        kept = [one for one in settings if not re.match(r"data(\.root|\.synth\..*)?=", one)]
        overrides = [*kept, *data, f"data.store.dir={folder / 'store'}"]
        plan = Plan(overrides, steps, 1 if tiny else 5, int(given["rounds"]), tiny)
        for line in given["lines"].split(","):
            left = 60 * minutes - (time.monotonic() - start) - GRACE
            command = [sys.executable, "-m", "benchmarks.gpu", "line", line]
            limit = min(LINES[line][1] * (5 if tiny else 1), left)
            results[line] = (
                attempt([*command, json.dumps(vars(plan))], limit)
                if left > 0
                else {"failed": f"no time was left of minutes={minutes:g}"}
            )
            keep(f"gpu/{line}", results[line])
            (OUTPUT / "gpu.md").write_text(table(machine(tiny), results))
            print(f"{line}: {time.monotonic() - start:.0f} s in all", flush=True)
    print((OUTPUT / "gpu.md").read_text())


if __name__ == "__main__":
    main(sys.argv[1:])
