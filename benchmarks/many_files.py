"""What a data set of very many files costs before and at the first step.

    python -m benchmarks.scale files=1000000 [rounds=3] [folder=DIR]

Makes so many tiny images, each with a mask, or as many as the disk takes. Each start is a
process of its own: opening the lists, the key of all files' stats, the digest of their bytes, the
division by `data.val_fraction` (with made-up classes), the order of an epoch, and a training of one
step and one validated batch: with nothing remembered and the store filled before or meanwhile
(progressive), with the check and the store remembered, and with the check remembered and no store.
Memory is the peak of the process (VmHWM).
"""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import listing

SIDE = 32
FREE = 0.1
"""The share of the disk that is left alone."""


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    Image.fromarray(pixels).save(file := BytesIO(), kind)
    return file.getvalue()


def make(root: Path, images: int) -> int:
    """Write the images, masks and lists; return how many there are."""
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    photo, mask = encoded(pixels, "JPEG"), encoded(pixels[..., 0] % 3, "PNG")
    photos, masks = root / "JPEGImages", root / "SegmentationClass"
    photos.mkdir()
    masks.mkdir()
    ids: list[str] = []
    for number in range(images):
        if number % 10_000 == 0:
            disk = shutil.disk_usage(root)
            if disk.free < FREE * disk.total:
                print(f"the disk takes {number:,} of {images:,} images")
                break
        ids.append(f"{number:07}")
        try:  # the number makes each file another one, for the digests
            (photos / f"{ids[-1]}.jpg").write_bytes(photo + ids[-1].encode())
            (masks / f"{ids[-1]}.png").write_bytes(mask)
        except OSError as error:
            print(f"the disk takes {number:,} of {images:,} images: {error}")
            ids.pop()
            break
    end = len(ids) // 5 * 4
    for name, part in (("all", ids), ("train", ids[:end]), ("val", ids[end:])):
        (lists / f"{name}.txt").write_text("\n".join(part) + "\n")
    return len(ids)


def peak() -> float:
    """Return the most memory of this process so far, in MB."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000


def nothing(root: Path, send: Any) -> None:
    """Send the memory of the imports alone."""
    send.send(({}, peak()))


def look(root: Path, send: Any) -> None:
    """Open both lists, and compute their keys, their digests and the order of an epoch."""
    from seglab.data.layouts.opening import open_files
    from seglab.data.sampling import EpochOrder
    from seglab.data.store.digests import hash_files
    from seglab.data.store.records import RecordFile

    config = listing.settings(root, divided=False)
    times = dict.fromkeys(("opening", "key of the stats", "digest of the bytes"), 0.0)
    length = 0
    for split in ("train", "val"):
        start = time.perf_counter()
        files = open_files(config, split)
        opened = time.perf_counter()
        place = RecordFile(files, None)
        keyed = time.perf_counter()
        hash_files(files).record(place.changes)
        spent = (opened - start, keyed - opened, time.perf_counter() - keyed)
        times = {name: times[name] + one for name, one in zip(times, spent, strict=True)}
        length = length or len(files)
    start = time.perf_counter()
    assert len(list(EpochOrder(length, 8, 0, 0, 1))) == length // 8 * 8
    times["order of an epoch"] = time.perf_counter() - start
    send.send((times, peak()))


def divide(root: Path, send: Any) -> None:
    """Open both parts of a divided list, and compute their keys."""
    from seglab.data.layouts.opening import open_files
    from seglab.data.store.records import RecordFile

    config = listing.settings(root, divided=True)
    start = time.perf_counter()
    for split in ("train", "val"):
        RecordFile(open_files(config, split), None)
    send.send(({"opening, key and division": time.perf_counter() - start}, peak()))


def step(root: Path, name: str, settings: list[str], send: Any) -> None:
    """Train one step, and validate one batch."""
    from benchmarks.measure import prepare
    from seglab.config.compose import compose
    from seglab.data.datamodule import VOCDataModule
    from seglab.schema import TrainConfig
    from seglab.session.trainer import build_trainer
    from seglab.tasks.factories import build_task

    given = ["data=folder", f"data.root={root}", "data.classes=[a,b,c]", "data.crop_size=32"]
    given += [f"data.store.dir={root.parent / 'store'}", *settings]
    given += ["model=padded_cnn", "trainer=cpu", "trainer.max_epochs=1", "logger=csv"]
    given += ["trainer.limit_train_batches=1"]
    config = compose("train", TrainConfig, given).config
    prepare(None)
    start = time.perf_counter()
    progressive = config.data.store.mode == "progressive"
    data = VOCDataModule(config.data, limit=1, progressive=progressive)
    data.check()
    checked = time.perf_counter()
    with data.filling(print):
        data.warnings()
        build_trainer(config.trainer, root.parent / name, []).fit(build_task(config), data)
        end = time.perf_counter()
    send.send(({f"{name}: check": checked - start, f"{name}: one step": end - checked}, peak()))


def main(images: int, rounds: int, folder: str | None) -> None:
    """Make the files, measure each start so many times, and print and keep what it took."""
    from benchmarks.measure import keep

    context = multiprocessing.get_context("spawn")
    times: dict[str, list[float]] = {}
    peaks: dict[str, list[float]] = {}

    def measure(what: str, function: Any, *arguments: Any) -> None:
        seconds, memory = listing.alone(context, function, root, *arguments)
        for name, one in seconds.items():
            times.setdefault(name, []).append(one)
        peaks.setdefault(what, []).append(memory)

    with tempfile.TemporaryDirectory(dir=folder) as parent:
        root = Path(parent) / "data"
        start = time.perf_counter()
        images = make(root, images)
        print(f"{images:,} images, made in {time.perf_counter() - start:.0f} s", flush=True)
        measure("imports alone", nothing)
        behind = ["data.store.mode=progressive", f"data.store.dir={root.parent / 'other'}"]
        for name, settings in (("progressive first start", behind), ("first start", [])):
            measure(name, step, name, settings)
        for _ in range(rounds):
            measure("later start", step, "later start", [])
            measure("no store", step, "no store", ["data.store.enabled=false"])
            measure("looking", look)
        listing.remember(root)
        for _ in range(rounds):
            measure("division", divide)
        for unit, rows in (("s", times), ("MB at the peak", peaks)):
            for name, values in rows.items():
                low, middle, high = min(values), statistics.median(values), max(values)
                print(f"  {name:<28} {middle:9.2f} {unit} ({low:.2f} to {high:.2f})", flush=True)
    keep("scale/files", {"images": images, "seconds": times, "peak MB": peaks})
