"""From files to normalised batches, on one core: ours, torchvision's presets, albumentations.

    python -m benchmarks.input [data.root=DIR] [rounds=5]

One epoch of VOC's training images in batches of 8: scaled by 0.5 to 2, cropped to 480, mirrored,
normalised with ImageNet's numbers, no loading process, one core and one thread for everybody. The
peers are written after public recipes: torchvision's segmentation references (the training preset
on PIL images, their default), and albumentations on OpenCV. `first epoch` counts the filling of our
store, decode and check included; the files are in the system's cache for all.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import albumentations
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from benchmarks.measure import data_overrides, in_turn, prepare, show
from benchmarks.peer_loops import Peer
from seglab.config.compose import compose
from seglab.data.datamodule import VOCDataModule
from seglab.data.dataset import open_dataset
from seglab.schema import TrainConfig
from seglab.tasks.factories import build_task

CROP, SCALE, BATCH = 480, (0.5, 2.0), 8
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def torchvision_preset(image_file: Path, mask_file: Path) -> Any:
    """The references' SegmentationPresetTrain on the PIL backend, scaled relative to each image."""
    image: Any = Image.open(image_file).convert("RGB")
    mask: Any = Image.open(mask_file)
    size = max(1, int(min(image.size) * float(torch.empty(1).uniform_(*SCALE))))
    image = F.resize(image, [size], antialias=True)
    mask = F.resize(mask, [size], interpolation=v2.InterpolationMode.NEAREST)
    if torch.rand(1) < 0.5:
        image, mask = F.hflip(image), F.hflip(mask)
    right, below = (max(0, CROP - side) for side in image.size)
    image = F.pad(image, [0, 0, right, below], fill=0)
    mask = F.pad(mask, [0, 0, right, below], fill=255)
    top, left = (int(torch.randint(side - CROP + 1, ())) for side in reversed(image.size))
    image, mask = (F.crop(one, top, left, CROP, CROP) for one in (image, mask))
    pixels = F.normalize(F.to_dtype(F.pil_to_tensor(image), torch.float, scale=True), MEAN, STD)
    return pixels, torch.as_tensor(np.array(mask), dtype=torch.int64)


def crops(side: int) -> list[Any]:
    """Return albumentations' way to scaled and mirrored crops."""
    return [
        albumentations.RandomScale(scale_limit=(SCALE[0] - 1, SCALE[1] - 1), p=1),
        albumentations.PadIfNeeded(side, side, border_mode=cv2.BORDER_CONSTANT, fill_mask=255),
        albumentations.RandomCrop(side, side),
        albumentations.HorizontalFlip(p=0.5),
    ]


def albumentations_preset(augment: Sequence[Any] = ()) -> Callable[[Path, Path], Any]:
    """Return what reads an image and its class map with OpenCV, augments and normalises them."""
    normal = [albumentations.Normalize(MEAN, STD), ToTensorV2()]
    transform = albumentations.Compose([*augment, *normal])

    def read(image_file: Path, mask_file: Path) -> Any:
        image = cv2.cvtColor(cv2.imread(str(image_file)), cv2.COLOR_BGR2RGB)
        found = transform(image=image, mask=np.array(Image.open(mask_file)))
        return found["image"], found["mask"]

    return read


def main(arguments: list[str]) -> None:
    rounds = int(dict(one.split("=", 1) for one in arguments).get("rounds", 5))
    overrides = data_overrides([one for one in arguments if not one.startswith("rounds=")])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    prepare(1)
    cv2.setNumThreads(0)
    sizes = [f"data.crop_size={CROP}", f"data.scale=[{SCALE[0]},{SCALE[1]}]"]
    config = compose(
        "train", TrainConfig, [*overrides, *sizes, f"data.batch_size={BATCH}", "data.flip=0.5"]
    ).config
    task = build_task(config)
    opened = open_dataset(config.data, "train")
    files = list(zip(opened.images, opened.masks, strict=True))
    images = len(files) // BATCH * BATCH

    def ours(folder: str) -> None:
        data = replace(config.data, store=replace(config.data.store, dir=folder))
        for batch in VOCDataModule(data).train_dataloader():
            task.normalise(batch.image)

    albumentations_crops = albumentations_preset(crops(CROP))

    def peer(augment: Callable[..., Any]) -> Callable[[], None]:
        loader = DataLoader(Peer(files, augment), BATCH, shuffle=True, drop_last=True)

        def epoch() -> None:
            for _ in loader:
                pass

        return epoch

    with tempfile.TemporaryDirectory() as kept:
        ours(kept)
        size = sum(file.stat().st_size for file in Path(kept).rglob("*.safetensors"))
        steady = in_turn(
            {
                "seglab": partial(ours, kept),
                "torchvision's references, PIL": peer(torchvision_preset),
                "albumentations, OpenCV": peer(albumentations_crops),
            },
            rounds,
        )
    show(
        "input/steady",
        steady,
        "seglab",
        units=images,
        unit="image",
        facts={"images": images, "store_mb": round(size / 1e6, 1)},
    )

    def fresh() -> None:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            ours(folder)
            spent.append(time.perf_counter() - started)
        os.sync()  # or a round would wait for the disk to take what the round before has written

    spent: list[float] = []
    first = in_turn(
        {"seglab": fresh, "albumentations, OpenCV": peer(albumentations_crops)},
        rounds,
    )
    first["seglab"] = spent[1:]  # without the deletion of the folder
    show("input/first epoch", first, "seglab", units=images, unit="image")


if __name__ == "__main__":
    main(sys.argv[1:])
