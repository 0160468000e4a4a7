"""``seglab score``: the metrics of class maps on disk; no model needed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from seglab.config.compose import compose
from seglab.errors import ConfigError, DataError
from seglab.run.folder import Run
from seglab.run.status import check_folder
from seglab.runtime.import_torch import import_torch
from seglab.runtime.links import refuse_outside
from seglab.schema import ScoreConfig

SHOWN = 6
"""How many fixed samples the page of a score shows, as many as conf/train.yaml has."""

if TYPE_CHECKING:
    from torch import Tensor

    from seglab.data.dataset import Sample


def main(overrides: list[str]) -> dict[str, float]:
    """Score ``predictions=DIR`` against a split and write ``metrics.json`` into a run folder.

    The definition is that of ``VOCevalseg.m`` in the VOC development kit: one confusion matrix
    over all pixels of the split whose truth is not void. ``predictions`` is not trusted: no link
    that leads out of it is followed.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
    """
    composed = compose("score", ScoreConfig, overrides)
    config = composed.config
    check_folder(composed.folder, resume=False)
    predictions = Path(config.predictions)
    if not predictions.is_dir():
        raise ConfigError(f"predictions={predictions}: no such folder")
    from seglab.data.layouts.opening import check_lists  # numpy: not needed for a wrong key

    split = config.data.split_name(config.split)
    check_lists(config.data, split)
    # Not before: it takes seconds, and a wrong key should fail at once.
    import_torch()
    import torch

    from seglab.commands.tables import show_metrics, show_paths
    from seglab.data.dataset import open_dataset
    from seglab.data.identity import data_identity
    from seglab.data.sampling import spread
    from seglab.metrics.boundary import BoundaryIoU
    from seglab.metrics.confusion import SegmentationMetrics
    from seglab.metrics.counts import miou, unreliable
    from seglab.report import reported
    from seglab.run.samples import (
        NUMBER_OF_WORST,
        SampleCollector,
        SampleWriter,
        Validated,
        worst_of,
    )
    from seglab.runtime.progress_bar import CheckProgress

    console = Console()
    dataset = open_dataset(config.data, split)
    for name in dataset.ids:
        refuse_outside(predictions / f"{name}.png", predictions)
    missing = [name for name in dataset.ids if not (predictions / f"{name}.png").is_file()]
    if missing:
        more = f" ({len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise DataError(
            f"{predictions / missing[0]}.png: no such file, but {dataset.list_file} lists it{more}"
        )
    metrics = SegmentationMetrics(dataset.classes, per_image=True)
    boundary = BoundaryIoU(dataset.classes)
    facts = {"data": {"val": data_identity(config.data, split, instances=False)}}
    run = Run(composed.folder, asdict(config), overrides, resume=False, facts=facts)
    shown = spread(len(dataset), SHOWN)
    collected = SampleCollector(shown, NUMBER_OF_WORST)
    keep = SampleWriter(run.folder, dataset.ids, dataset.classes, shown)
    with reported(run, console):
        for index, sample in enumerate(
            CheckProgress(console)(dataset, len(dataset), f"scoring {split}")
        ):
            prediction = _read_prediction(predictions / f"{sample.id}.png", sample, dataset.classes)
            metrics.update(prediction[None], sample.class_map[None], index=torch.tensor([index]))
            if config.boundary:
                boundary.update(prediction[None], sample.class_map[None])
            miou_of_image = float(miou(metrics.latest.numpy())[0])
            pixels = sample.image, sample.class_map, prediction
            collected.offer(index, sample.id, miou_of_image, pixels)
        scores = {**metrics.compute(), **(boundary.compute() if config.boundary else {})}
        evaluation = metrics.evaluation
        assert evaluation is not None, "the metrics were computed"
        samples = [collected.samples[index] for index in sorted(collected.samples)]
        keep.show(Validated(samples, worst_of(evaluation, NUMBER_OF_WORST), evaluation, scores))
        doubtful = unreliable(evaluation.counts.numpy())
        run.write_metrics(scores)
    show_metrics(scores, console, doubtful)
    show_paths(composed.folder, [], console)
    return scores


def _read_prediction(path: Path, sample: Sample, classes: tuple[str, ...]) -> Tensor:
    """Read a predicted class map ``(H, W)`` uint8; void is refused, as in the development kit."""
    import torch

    from seglab.data.masks import read_mask

    pixels = torch.from_numpy(read_mask(path))
    if pixels.shape != sample.class_map.shape:
        (rows, columns), (height, width) = pixels.shape, sample.size
        raise DataError(f"{path}: {columns}x{rows} pixels, but the image has {width}x{height}")
    largest = int(pixels.max())
    if largest >= len(classes):
        row, column = (pixels == largest).nonzero()[0].tolist()
        raise DataError(
            f"{path}: label {largest} at row {row}, column {column}; with {len(classes)} classes "
            f"a predicted label is 0..{len(classes) - 1}"
        )
    return pixels
