"""Peak memory of evaluating Mask R-CNN against the number of images, and what the AP keeps of each.

    python -m benchmarks.object_memory [data.root=DIR] [model.weights=FILE …]

Evaluates the validation split of `mask_rcnn_voc2007` once, twice and four times over, in a process
each, and prints the peak resident memory after the last image and after the AP, the growth an image
from once to four times, and the bytes that the AP keeps of an image. The same images each time,
because one crowded photograph costs more than all that is kept. The peers are keeping every mask
as a run-length code, as COCO's tools do, and as pixels.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
from typing import Any


def evaluate(overrides: list[str], rounds: int, send: Any) -> None:
    """Evaluate the split so many times over and send what it took."""
    import torch

    from benchmarks.measure import data_overrides, prepare
    from seglab.config.compose import compose
    from seglab.data.datamodule import VOCDataModule
    from seglab.metrics.mask_ap import encode
    from seglab.models.weights import load_pretrained
    from seglab.schema import TrainConfig
    from seglab.tasks.factories import build_task
    from seglab.tasks.instance import InstanceSegmentation

    recipe = ["experiments=mask_rcnn_voc2007", "model.weights=null", *data_overrides(overrides)]
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
    size = sum(map(len, batches))
    start = peak()
    images = codes = pixels = 0
    with torch.inference_mode():
        for number in range(rounds):
            for indices in batches:
                batch = collate([dataset[index] for index in indices])
                batch = batch._replace(position=batch.position + number * size)
                for found in task.validation_step(batch, 0).objects or ():
                    codes += sum(map(len, encode(found.masks)))
                    pixels += found.masks.numel()
                images += len(indices)
    evaluated, kept = peak(), len(task.mask_ap.rows) + 8 * len(task.mask_ap.images)
    task.compute_scores()
    send.send(
        {
            "images": images,
            "start_mib": start,
            "evaluated_mib": evaluated,
            "peak_mib": peak(),
            "kept_mib": kept / 2**20,
            "as_codes_mib": codes / 2**20,
            "as_pixels_mib": pixels / 2**20,
        }
    )


def peak() -> float:
    """Return the most resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(overrides: list[str]) -> None:
    from benchmarks.measure import keep

    context = multiprocessing.get_context("spawn")  # a process each: a peak never falls
    rows = []
    for rounds in (1, 2, 4):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=evaluate, args=(overrides, rounds, send))
        process.start()
        send.close()  # or a dead process would be waited for
        rows.append(receive.recv())
        process.join()
        print("  ".join(f"{name} {value:.1f}" for name, value in rows[-1].items()))
    once, _, whole = rows
    growth = (whole["peak_mib"] - once["peak_mib"]) / (whole["images"] - once["images"])
    print(
        f"growth an image: {1024 * growth:.0f} KiB; kept of an image: "
        f"{1024 * whole['kept_mib'] / whole['images']:.2f} KiB; as run-length codes: "
        f"{1024 * whole['as_codes_mib'] / whole['images']:.1f} KiB; as pixels: "
        f"{1024 * whole['as_pixels_mib'] / whole['images']:.0f} KiB"
    )
    keep("object_memory", {"rounds": rows})


if __name__ == "__main__":
    main(sys.argv[1:])
