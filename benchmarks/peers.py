"""An epoch of training with its validation: seglab, and three loops in the shape of its peers.

    python -m benchmarks.peers [data.root=DIR] [images=64] [crop=192] [rounds=3]

FCN-8s on MobileNetV2 with random weights, batches of 8 crops of VOC's photographs (scaled by 0.5 to
2, mirrored), AdamW, cross entropy; as many whole photographs are validated for mIoU. Each way in a
process of its own, in turn, without loading processes, on all cores. The second of two epochs is
measured, from its first batch to its last metric: no checkpoint, page or picture of anybody. seglab
starts without a store and fills it before its first step. Also written: runs/benchmarks/peers.md.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.measure import OUTPUT, data_overrides, keep
from benchmarks.peer_loops import LOOPS, Clock, Job
from seglab.config.compose import compose
from seglab.data.dataset import VOCSegmentation, open_dataset
from seglab.schema import TrainConfig

SEGLAB = "seglab train"
LR = 1e-4
Found = dict[str, float]

HEAD = (
    "| | images per second | against seglab | training, ms per image | its processor time "
    "| validation, ms per image | its processor time | until the first step, s | peak memory, MB |"
    "\n|---|---|---|---|---|---|---|---|---|"
)


def settings(images: int, crop: int) -> list[str]:
    """Return the overrides that say what everybody trains."""
    return [
        *("model=fcn8s", "model.net.backbone=mobilenet_v2", "model.weights=null", "trainer=cpu"),
        *("optimizer=adamw", f"optimizer.lr={LR}", "optimizer.weight_decay=0.01"),
        *("schedule=constant", "loss=cross_entropy", "data.scale=[0.5,2.0]", "data.flip=0.5"),
        *(f"data.batch_size={min(8, images)}", f"data.crop_size={crop}"),
        *(f"data.max_images={images}", "trainer.max_epochs=2", "logger=csv", "pictures.samples=0"),
        f"+callbacks.clock={{_target_:{Clock.__module__}.Clock}}",
    ]


def measure(way: str, overrides: list[str]) -> Found:
    """Train in this process, and return what it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = f"data.store.dir={folder / 'store'}"
        config = compose("train", TrainConfig, [*overrides, store]).config
        miou = ours(config, folder) if way == SEGLAB else LOOPS[way](job(config, folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**Clock.seconds, "peak": peak, "mIoU": miou}


def ours(config: TrainConfig, folder: Path) -> float:
    """Train as ``seglab train`` does."""
    from seglab.runtime.memory import keep_memory
    from seglab.sweep.start import run_job

    keep_memory()  # as the command line does
    return run_job(config, folder / "run", console=Console(stderr=True)).metrics["val/mIoU"]


def job(config: TrainConfig, folder: Path) -> Job:
    """Return the same net, files and sizes for another loop."""
    from seglab.tasks.factories import build_task

    data = config.data
    files = []
    for name in (data.train_split, data.val_split):
        split = open_dataset(data, name)
        assert isinstance(split, VOCSegmentation)
        files.append(list(zip(split.images, split.masks, strict=True)))
    return Job(
        net=build_task(config).net.to(memory_format=torch.contiguous_format),  # torch's default
        classes=len(data.classes or ()),
        train=files[0],
        val=files[1],
        crop=data.crop_size,
        batch=data.batch_size,
        lr=LR,
        epochs=config.trainer.max_epochs,
        folder=folder,
    )


def table(found: Mapping[str, list[Found]], images: int) -> str:
    """Return a row for each way: medians over the rounds, and the lowest and highest of rates."""
    lines = [HEAD]
    rates = {way: [rate(one, images) for one in rounds] for way, rounds in found.items()}
    for way, rounds in found.items():
        ratios = [one / base for one, base in zip(rates[way], rates[SEGLAB], strict=True)]
        cells = [way, spread(rates[way], 1), "" if way == SEGLAB else spread(ratios, 2)]
        for key, scale, digits in COLUMNS:
            each = [one[key] * (1000 / images if scale else 1) for one in rounds]
            cells.append(f"{statistics.median(each):.{digits}f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


COLUMNS = (
    ("training", True, 1),
    ("training, processor", True, 1),
    ("validation", True, 1),
    ("validation, processor", True, 1),
    ("first step", False, 1),
    ("peak", False, 0),
)
"""The key of a column, whether it is seconds of an epoch, and its digits."""


def rate(one: Found, images: int) -> float:
    """Return images per second, trained and validated."""
    return 2 * images / (one["training"] + one["validation"])


def spread(values: list[float], digits: int) -> str:
    """Return the median, the lowest and the highest."""
    numbers = (statistics.median(values), min(values), max(values))
    return "{} ({} to {})".format(*(f"{number:.{digits}f}" for number in numbers))


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["way"]:
        print("\n" + json.dumps(measure(arguments[1], json.loads(arguments[2]))))
        return
    given = {"images": "64", "crop": "192", "rounds": "3"}
    given |= dict(one.split("=", 1) for one in arguments if one.split("=")[0] in given)
    rest = data_overrides([one for one in arguments if one.split("=")[0] not in given])
    images = int(given["images"])
    overrides = json.dumps([*settings(images, int(given["crop"])), *rest])
    found: dict[str, list[Found]] = {way: [] for way in (SEGLAB, *LOOPS)}
    for _ in range(int(given["rounds"])):
        for way, rounds in found.items():
            command = [sys.executable, "-m", "benchmarks.peers", "way", way, overrides]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rounds.append(json.loads(done.stdout.splitlines()[-1]))
        keep("peers", {"images": images, "crop": int(given["crop"]), "ways": found})
        (OUTPUT / "peers.md").write_text(table(found, images))
    print(table(found, images))


if __name__ == "__main__":
    main(sys.argv[1:])
