"""What evaluation costs beyond the forward passes, and the metric against torchmetrics' own.

    python -m benchmarks.metric [data.root=DIR] [rounds=5] [images=60]

Part one: `SegmentationMetrics.update` from logits 8 x 21 x 480 x 480 against torchmetrics'
`MulticlassJaccardIndex` given the same logits, whose confusion matrices must be equal. Part two: a
validation pass of FCN-8s on MobileNetV2 over photographs of their own size, as `seglab train` makes
it (Lightning's loop, loss, metrics), against the bare forward passes on the same batches.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torchmetrics.classification import MulticlassJaccardIndex

from benchmarks.measure import data_overrides, in_turn, prepare, show
from seglab.config.compose import compose
from seglab.data.datamodule import VOCDataModule
from seglab.data.weights import balance
from seglab.metrics.confusion import SegmentationMetrics, class_map
from seglab.schema import TrainConfig
from seglab.session.trainer import build_trainer
from seglab.tasks.factories import build_task


def metric(rounds: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(8, 21, 480, 480)
    truth = torch.randint(0, 21, (8, 480, 480), dtype=torch.uint8)
    truth[:, :40] = 255
    ours = SegmentationMetrics([str(k) for k in range(21)])
    theirs = MulticlassJaccardIndex(21, ignore_index=255, validate_args=False, average="none")
    wide = truth.long()
    seconds = in_turn(
        {
            "SegmentationMetrics": lambda: ours.update(class_map(logits), truth),
            "torchmetrics' MulticlassJaccardIndex": lambda: theirs.update(logits, wide),
        },
        rounds,
    )
    if not torch.equal(ours.confusion, theirs.confmat.long()):
        raise SystemExit("the confusion matrices differ")
    show("metric/update", seconds, "SegmentationMetrics", unit="update of 8 images")


@torch.inference_mode()
def validation(rounds: int, images: int, overrides: list[str]) -> None:
    recipe = ["experiments=fcn8s_voc2007", "model.weights=null", "evaluation.flip=false"]
    config = compose("train", TrainConfig, [*recipe, *overrides]).config
    data = VOCDataModule(config.data, limit=images // config.data.eval_batch_size)
    task = build_task(balance(config, data.record("train"))).eval()
    batches = list(data.val_dataloader())
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(config.trainer, Path(folder))

        def ours() -> None:
            trainer.validate(task, data, verbose=False)

        def bare() -> None:
            task.eval()
            for batch in batches:
                task(batch.image)

        seconds = in_turn({"forward passes": bare, "a validation pass": ours}, rounds)
    show(
        "metric/validation",
        seconds,
        "forward passes",
        units=sum(len(batch.ids) for batch in batches),
        unit="image",
    )


def main(arguments: list[str]) -> None:
    given: dict[str, Any] = {"rounds": 5, "images": 60}
    given |= dict(one.split("=", 1) for one in arguments if one.split("=")[0] in given)
    overrides = data_overrides([one for one in arguments if one.split("=")[0] not in given])
    print(f"{prepare(None)} threads")
    metric(int(given["rounds"]))
    validation(int(given["rounds"]), int(given["images"]), overrides)


if __name__ == "__main__":
    main(sys.argv[1:])
