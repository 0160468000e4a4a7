"""Peak memory of evaluating Mask R-CNN against the number of images, and what the AP keeps of each.

    python -m benchmarks.object_memory data.root=DIR [model.weights=FILE …]

Evaluates the first quarter, the first half and all of the validation split of `mask_rcnn_voc2007`
in a process each, and prints the peak resident memory, the growth an image from the half to the
whole, and the size of the run-length codes an image. The peer is keeping every mask as pixels.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
from pathlib import Path
from typing import Any

OUTPUT = Path("runs/benchmarks")


def evaluate(overrides: list[str], share: float, send: Any) -> None:
    """Evaluate a share of the split and send what it took."""
    import torch

    from seglab.config import compose
    from seglab.data.datamodule import VOCDataModule
    from seglab.models.weights import load_pretrained
    from seglab.process import prepare
    from seglab.schema import TrainConfig
    from seglab.tasks.build import build_task
    from seglab.tasks.instance import InstanceSegmentation

    recipe = ["experiments=mask_rcnn_voc2007", *overrides]
    config = compose("train", TrainConfig, recipe).config
    prepare(config.trainer.threads)
    data = VOCDataModule(config.data, config.seed, instances=True)
    task = build_task(config)
    assert isinstance(task, InstanceSegmentation)
    if config.model.weights is not None:
        load_pretrained(task.net, config.model.net, config.model.weights)
    task.eval()
    batches = list(data.val_dataloader().batch_sampler)  # type: ignore[arg-type]
    batches.sort(key=lambda batch: batch[0])
    dataset, collate = data.val_dataloader().dataset, data.val_dataloader().collate_fn
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    images = 0
    with torch.inference_mode():
        for batch in batches[: max(1, round(share * len(batches)))]:
            task.validation_step(collate([dataset[index] for index in batch]), 0)
            images += len(batch)
    codes = [code for one in task.mask_ap.images for *_, code in [*one.found, *one.true]]
    pixels = sum(
        len([*one.found, *one.true]) * one.size[0] * one.size[1] for one in task.mask_ap.images
    )
    task.compute_scores()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    send.send(
        {
            "images": images,
            "start_mib": start / 1024,
            "peak_mib": peak / 1024,
            "codes_mib": sum(map(len, codes)) / 2**20,
            "as_pixels_mib": pixels / 2**20,
        }
    )


def main(overrides: list[str]) -> None:
    context = multiprocessing.get_context("spawn")  # a process each: a peak never falls
    rows = []
    for share in (0.25, 0.5, 1.0):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=evaluate, args=(overrides, share, send))
        process.start()
        rows.append(receive.recv())
        process.join()
        print("  ".join(f"{name} {value:.1f}" for name, value in rows[-1].items()))
    _, half, whole = rows
    growth = (whole["peak_mib"] - half["peak_mib"]) / (whole["images"] - half["images"])
    print(
        f"growth an image: {1024 * growth:.0f} KiB; run-length codes an image: "
        f"{1024 * whole['codes_mib'] / whole['images']:.1f} KiB; as pixels: "
        f"{1024 * whole['as_pixels_mib'] / whole['images']:.0f} KiB"
    )
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "object_memory.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
