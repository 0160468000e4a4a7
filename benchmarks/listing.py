"""Opening, stat-based key and division of data sets of many images, on files that exist.

    python -m benchmarks.listing [images=10000[,1000000]] [folder=DIR]

The files are hard links to a few tiny ones, so that a file system with room for their names is
enough; DIR is where they are made, and deleted again. Each number is of a process of its own, after
one pass that is not counted (the system's cache of names is warm). The classes of each image, which
the first division of a data set reads from its masks once, are made up here. The budgets are 2 s
for 10,000 images, 20 s for 1,000,000, and 1 GB for either.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

LINKS = 50_000
"""Names per file: ext4 allows 65,000."""

BUDGET_MB = 1000


def make(root: Path, images: int) -> None:
    """Write a list of so many ids, and an image and a mask of each."""
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    ids = [f"{number:07}" for number in range(images)]
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for folder, suffix, array in (
        ("JPEGImages", ".jpg", pixels),
        ("SegmentationClass", ".png", pixels[..., 0] % 3),
    ):
        (root / folder).mkdir()
        for start in range(0, images, LINKS):
            first = root / folder / f"{ids[start]}{suffix}"
            Image.fromarray(array).save(first)
            for name in ids[start + 1 : start + LINKS]:
                os.link(first, root / folder / f"{name}{suffix}")
    (lists / "all.txt").write_text("\n".join(ids) + "\n")
    (lists / "train.txt").write_text("\n".join(ids[: images // 5 * 4]) + "\n")
    (lists / "val.txt").write_text("\n".join(ids[images // 5 * 4 :]) + "\n")


def settings(root: Path, divided: bool) -> Any:
    """Return the configuration of the data; with its store beside it."""
    from seglab.config.compose import compose
    from seglab.schema import DataCommandConfig

    given = ["data=folder", f"data.root={root}", "data.classes=[a,b,c]"]
    given.append(f"data.store.dir={root.parent / 'store'}")
    if divided:
        given += ["data.train_split=all", "data.val_fraction=0.2"]
    return compose("data", DataCommandConfig, given).config.data


def remember(root: Path) -> None:
    """Write the record of the whole list, with made-up classes of each image."""
    from seglab.data.layouts.base import Part
    from seglab.data.layouts.opening import LAYOUTS
    from seglab.data.store.digests import Tally
    from seglab.data.store.records import RecordFile, usable_folder

    config = settings(root, divided=True)
    files = LAYOUTS["folder"](config, "all", part=Part("all"))
    place = RecordFile(files, usable_folder(config))
    tally = Tally(files)
    for index in range(len(files)):
        present = (1, index % 2, int(index % 97 == 0))
        tally.add(["0" * 64] * 2, counts=[*present, *[0] * 253])
    place.write(tally.record(place.changes))


def measure(root: Path, divided: bool, send: Any) -> None:
    """Open both splits and their keys in this process, and send what it took."""
    from seglab.data.layouts.opening import open_files
    from seglab.data.store.records import RecordFile

    config = settings(root, divided)
    before = time.process_time()
    seconds = {"opening": 0.0, "key": 0.0}
    count = 0
    for split in ("train", "val"):
        start = time.perf_counter()
        files = open_files(config, split)
        seconds["opening"] += time.perf_counter() - start
        start = time.perf_counter()
        RecordFile(files, None)
        seconds["key"] += time.perf_counter() - start
        count += len(files)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000
    send.send((count, seconds, time.process_time() - before, peak))


def alone(context: Any, function: Any, *arguments: Any) -> Any:
    """Return what a function sends from a process of its own."""
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=function, args=(*arguments, send))
    process.start()
    send.close()  # or a dead process would be waited for
    result = receive.recv()
    process.join()
    return result


def main(arguments: list[str]) -> None:
    from benchmarks.measure import keep

    given = {"images": "10000", "folder": tempfile.gettempdir()}
    given |= dict(one.split("=", 1) for one in arguments)
    context = multiprocessing.get_context("spawn")
    found = []
    for images in map(int, given["images"].split(",")):
        with tempfile.TemporaryDirectory(dir=given["folder"]) as folder:
            root = Path(folder) / "data"
            start = time.perf_counter()
            make(root, images)
            remember(root)
            print(f"{images:,} images, made in {time.perf_counter() - start:.0f} s")
            budget = 2.0 if images <= 10_000 else 20.0
            for name, divided in (("two lists", False), ("data.val_fraction", True)):
                alone(context, measure, root, divided)
                count, seconds, busy, peak = alone(context, measure, root, divided)
                assert count == images
                total = sum(seconds.values())
                parts = ", ".join(f"{part} {one:.2f} s" for part, one in seconds.items())
                kept = "" if total <= budget and peak <= BUDGET_MB else "   OVER THE BUDGET"
                times = f"{total:6.2f} s ({parts}; {busy:.2f} s of processor)"
                print(f"  {name:<18} {times}, {peak:.0f} MB{kept}", flush=True)
                row = {"images": images, "way": name, **seconds, "processor": busy}
                found.append({**row, "peak MB": peak})
    keep("listing", {"runs": found})


if __name__ == "__main__":
    main(sys.argv[1:])
