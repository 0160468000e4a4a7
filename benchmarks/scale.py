"""How time and memory grow with the number of images and of classes, and over epochs.

    python -m benchmarks.scale [data.root=DIR] [images=100] [epochs=3]
    python -m benchmarks.scale files=1000000    # tiny files: see benchmarks.many_files

Data sets of once, twice and four times the images (links under new ids) with 21 classes, and of
once the images with 60 and 150 classes. For each, in a process of its own: opening with the store
made and with the store filled, training epochs of FCN-8s on MobileNetV2 with small crops, and a
validation of whole images after each. Memory is what belongs to the process alone (RssAnon, its
peak after each epoch); the store's pages are the system's to drop. The peer of each line is the
first one: growth is given as a ratio.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L

from benchmarks import many_files
from benchmarks.measure import data_overrides, keep, prepare
from seglab.config.compose import compose
from seglab.data.datamodule import VOCDataModule
from seglab.data.dataset import open_dataset
from seglab.schema import TrainConfig

PLAN = ((1, 21), (2, 21), (4, 21), (1, 60), (1, 150))
SPLITS = {"train": 1.0, "val": 0.5}


def anonymous() -> float:
    """Return the memory of this process alone, in MiB."""
    status = Path("/proc/self/status").read_text().split("RssAnon:")[1]
    return int(status.split()[0]) / 1024


class Watch(L.Callback):
    """Notes time and peak memory of each epoch, and the time of each validation."""

    def __init__(self) -> None:
        self.peaks: list[float] = []
        self.train: list[float] = []
        self.val: list[float] = []
        self.peak = 0.0
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            self.peak = max(self.peak, anonymous())
            time.sleep(0.02)

    def on_train_epoch_start(self, *_: Any) -> None:
        self.peak = 0.0
        self.start = time.perf_counter()

    def on_validation_start(self, *_: Any) -> None:
        self.train.append(time.perf_counter() - self.start)
        self.start = time.perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        self.val.append(time.perf_counter() - self.start)
        self.peaks.append(self.peak)


def measure(root: Path, images: int, times: int, classes: int, epochs: int, send: Any) -> None:
    """Train on so many links in this process, and send what it took."""
    from seglab.session.trainer import build_trainer
    from seglab.tasks.factories import build_task

    store = root.parent / f"store-{times}-{classes}"
    names = json.dumps([f"class {k}" if k else "background" for k in range(classes)])
    settings = [
        "data=folder",
        f"data.root={root}",
        f"data.classes={names}",
        f"data.store.dir={store}",
        "data.crop_size=160",
        "model=fcn8s",
        "model.net.backbone=mobilenet_v2",
        "trainer=cpu",
        f"trainer.max_epochs={epochs}",
        "logger=csv",
    ]
    config = compose("train", TrainConfig, settings).config
    prepare(None)
    opening = []
    for _ in range(2):
        start = time.perf_counter()
        data = VOCDataModule(config.data)
        data.check()
        opening.append(time.perf_counter() - start)
    watch = Watch()
    trainer = build_trainer(config.trainer, root, [watch])
    trainer.fit(build_task(config), data)
    size = sum(file.stat().st_size for file in store.rglob("*.safetensors"))
    send.send(
        {
            "images": sum(len(split) for split in data.splits.values()),
            "classes": classes,
            "store made, s": opening[0],
            "opened again, s": opening[1],
            "epoch, s": min(watch.train),
            "validation, s": min(watch.val),
            "peak MiB of each epoch": [round(one) for one in watch.peaks],
            "store, MB": size / 1e6,
        }
    )


def make(root: Path, config: TrainConfig, images: int, times: int) -> None:
    """Link the first images of both splits so many times, each time under new ids."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for split, share in SPLITS.items():
        data = open_dataset(config.data, split)
        ids = []
        for number in range(times):
            for index in range(int(images * share)):
                index %= len(data)
                ids.append(f"{data.ids[index]}_{number}")
                image, mask = data.images[index], data.masks[index]
                (root / "JPEGImages" / f"{ids[-1]}{image.suffix}").symlink_to(image.resolve())
                (root / "SegmentationClass" / f"{ids[-1]}.png").symlink_to(mask.resolve())
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(ids) + "\n")


def main(arguments: list[str]) -> None:
    given: dict[str, Any] = {"images": 100, "epochs": 3, "files": 0, "rounds": 3, "folder": None}
    given |= dict(one.split("=", 1) for one in arguments if one.split("=")[0] in given)
    if given["files"]:
        many_files.main(int(given["files"]), int(given["rounds"]), given["folder"])
        return
    overrides = data_overrides([one for one in arguments if one.split("=")[0] not in given])
    config = compose("train", TrainConfig, overrides).config
    images, epochs = int(given["images"]), int(given["epochs"])
    context = multiprocessing.get_context("spawn")  # a process each: memory is seldom given back
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for times, classes in PLAN:
            root = Path(folder) / f"{times}x{classes}" / "data"
            make(root, config, images, times)
            receive, send = context.Pipe(duplex=False)
            work = (root, images, times, classes, epochs, send)
            process = context.Process(target=measure, args=work)
            process.start()
            send.close()  # or a dead process would be waited for
            found.append(receive.recv())
            process.join()
            first, one = found[0], found[-1]
            parts = []
            for name, value in one.items():
                if isinstance(value, float):
                    parts.append(f"{name} {value:.2f} ({value / first[name]:.2f} x)")
                else:
                    parts.append(f"{name} {value}")
            print("  ".join(parts), flush=True)
    keep("scale/growth", {"runs": found})


if __name__ == "__main__":
    main(sys.argv[1:])
