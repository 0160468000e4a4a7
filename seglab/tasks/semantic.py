"""Semantic segmentation: every pixel gets a class."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seglab.data.datamodule import Batch
from seglab.errors import ConfigError
from seglab.losses import SegmentationLoss
from seglab.metrics.confusion import SegmentationMetrics, class_map
from seglab.schema import TrainConfig
from seglab.tasks.base import Output, Task, main_output


class SemanticSegmentation(Task):
    """Pixel-wise classification by a net that maps images to logits ``(B, K, H, W)``."""

    def __init__(self, net: nn.Module, config: TrainConfig, per_image: bool = False) -> None:
        super().__init__(net, config, per_image)
        weights = config.loss.class_weights
        if weights is not None and len(weights) != len(self.classes):
            raise ConfigError(
                f"loss.class_weights: {len(weights)} numbers for {len(self.classes)} classes"
            )
        self.loss = SegmentationLoss(
            [(term.loss, term.weight) for term in config.loss.terms],
            weights,
            config.loss.label_smoothing,
        )
        self.metrics = SegmentationMetrics(self.classes, per_image, len(config.loss.terms))

    def infer(self, image: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` uint8 to logits ``(B, K, H, W)``, mirrored too if so configured."""
        logits: Tensor = main_output(self(image))
        if self.config.evaluation.flip:
            logits = (logits + main_output(self(image.flip(-1))).flip(-1)) / 2
        return logits

    def class_map(self, output: Tensor) -> Tensor:
        """Return the class of the largest logit: ``(B, K, H, W)`` to ``(B, H, W)`` uint8."""
        return class_map(output)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of one batch, an auxiliary head's included."""
        output = self(batch.image)
        loss: Tensor = self.loss(main_output(output), batch.class_map)
        if isinstance(output, Mapping) and "aux" in output:
            weight = self.config.model.aux_weight
            loss = loss + weight * self.loss(output["aux"], batch.class_map)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.ids), sync_dist=True)
        self.log_exact(self.learning_rates())
        return loss

    # Lightning hands to callbacks whatever this returns.
    def validation_step(self, batch: Batch, batch_index: int) -> Output:  # type: ignore[override]
        """Add a batch to the metrics and return what was found in it."""
        if not batch.ids:  # a process without an image
            return Output(batch.class_map)
        maps, losses = [], []
        for logits, truth in zip(self.infer_each(batch.image), batch.class_map, strict=True):
            maps.append(self.class_map(logits))
            losses.append(self.loss.fractions(logits, truth[None]))
        prediction = torch.cat(maps)
        self.metrics.update(prediction, batch.class_map, torch.stack(losses), batch.position)
        return Output(prediction, self.metrics.latest)
