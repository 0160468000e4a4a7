"""Pictures, tables and charts as W&B shows them, from arrays and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seglab.data.classes import VOID
from seglab.metrics.confusion import Evaluation
from seglab.run.samples import Sample

if TYPE_CHECKING:
    import wandb


def masked_image(sample: Sample, classes: Sequence[str]) -> wandb.Image:
    """Return an image with its class maps as masks that can be toggled in W&B."""
    import wandb

    labels = {**dict(enumerate(classes)), VOID: "void"}
    maps = {"truth": sample.truth, "prediction": sample.prediction}
    return wandb.Image(
        sample.image,
        caption=sample.id,
        masks={
            name: {"mask_data": class_map, "class_labels": labels}
            for name, class_map in maps.items()
            if class_map is not None
        },
        file_type="jpg",
    )


def results_table(
    samples: Sequence[Sample], classes: Sequence[str], evaluation: Evaluation | None
) -> wandb.Table:
    """Return a table of samples with id, image with masks and mIoU of the image, worst first."""
    import wandb

    if evaluation is None:
        rows = [[sample.id, masked_image(sample, classes)] for sample in samples]
        return wandb.Table(columns=["id", "image"], data=rows)
    worst = sorted(samples, key=lambda sample: np.nan_to_num(sample.miou, nan=2.0))
    rows = [[one.id, masked_image(one, classes), one.miou] for one in worst]
    return wandb.Table(columns=["id", "image", "mIoU"], data=rows)


def iou_chart(scores: Mapping[str, float], classes: Sequence[str]) -> Any:
    """Return a bar chart of the IoU per class, with its table."""
    import wandb

    rows = [[name, scores[f"val/IoU/{name}"]] for name in classes]
    table = wandb.Table(columns=["class", "IoU"], data=rows)
    return wandb.plot.bar(table, "class", "IoU", title="IoU of each class")


def confusion_chart(evaluation: Evaluation, classes: Sequence[str]) -> Any:
    """Return the ``K x K`` confusion matrix, each row normalised by the class's true pixels.

    A class that does not occur in the truth has a row of zeros.
    """
    import wandb

    counts = evaluation.confusion.numpy().astype(np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    rows = [
        [truth, predicted, float(shares[i, j])]
        for i, truth in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]
    columns: list[str | int] = [
        "Actual",
        "Predicted",
        "nPredictions",
    ]  # the names that W&B's own chart has
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        wandb.Table(columns=columns, data=rows),
        {str(name): str(name) for name in columns},
        {"title": "Share of each true class's pixels"},
    )
