"""What evaluating Mask R-CNN costs beyond its forward passes.

    python -m benchmarks.object_eval [data.root=DIR] [model.weights=FILE …] [rounds=3] [images=60]

Ours is a validation pass as `seglab train` makes it: objects, their masks pasted at the image's
size, class maps, mIoU, run-length codes and mask AP. The bare forward passes are torchvision's
model on the same normalised photographs; torchvision's own post-processing (non-maximum
suppression, pasting of masks) is part of them. A trained model's weights matter: the work grows
with what it finds.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import data_overrides, in_turn, show
from seglab.config.compose import compose
from seglab.data.datamodule import VOCDataModule
from seglab.models.weights import load_pretrained
from seglab.runtime.process import share_of_cores
from seglab.schema import TrainConfig
from seglab.session.trainer import build_trainer
from seglab.tasks.factories import build_task


@torch.inference_mode()
def main(arguments: list[str]) -> None:
    given: dict[str, Any] = {"rounds": 3, "images": 60}
    given |= dict(one.split("=", 1) for one in arguments if one.split("=")[0] in given)
    overrides = data_overrides([one for one in arguments if one.split("=")[0] not in given])
    recipe = ["experiments=mask_rcnn_voc2007", "model.weights=null", *overrides]
    config = compose("train", TrainConfig, recipe).config
    torch.set_num_threads(share_of_cores(None))
    print(f"{torch.get_num_threads()} threads")
    limit = int(given["images"]) // config.data.eval_batch_size
    data = VOCDataModule(config.data, instances=True, limit=limit)
    task = build_task(config).eval()
    if config.model.weights is not None:
        load_pretrained(task.net, config.model.net, config.model.weights)
    images = [image[None] for batch in data.val_dataloader() for image in batch.image]
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(config.trainer, Path(folder))

        def forward() -> None:
            task.eval()
            for image in images:
                task(image)

        seconds = in_turn(
            {
                "forward passes": forward,
                "a validation pass": lambda: trainer.validate(task, data, verbose=False),
            },
            int(given["rounds"]),
        )
    show("object_eval", seconds, "forward passes", units=len(images), unit="image")


if __name__ == "__main__":
    main(sys.argv[1:])
