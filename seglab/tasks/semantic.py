"""Semantic segmentation: every pixel gets a class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seglab.data.batches import Batch
from seglab.data.classes import VOID
from seglab.errors import ConfigError, one_line
from seglab.inference.tiles import tiled_logits
from seglab.inference.views import mean_logits
from seglab.losses import Loss, SegmentationLoss, image_fractions
from seglab.metrics.confusion import SegmentationMetrics, class_map
from seglab.runtime.reduction import ALONE, process_group
from seglab.tasks.base import Output, Task, main_output, singles


class SemanticSegmentation(Task):
    """Pixel-wise classification by a net that maps images to logits ``(B, K, H, W)``.

    Args:
        net: the net.
        classes: the names of the K classes, in the order of their values.
        loss: maps float32 logits ``(B, K, H, W)`` and a class map ``(B, H, W)`` int64, void 255, to
            a scalar; its parameters, if it has any, are not trained. None: that of
            :meth:`configure_losses`.
        aux_weight: factor of the loss of an auxiliary head, where the net has one.
        soft: whether predictions include probabilities.
        others: as :class:`seglab.tasks.base.Task` takes them.
    """

    def __init__(
        self,
        net: nn.Module,
        classes: Sequence[str],
        *,
        loss: Loss | None = None,
        aux_weight: float = 0.5,
        soft: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(net, classes, **others)
        self.aux_weight, self.soft = aux_weight, soft
        self.loss = self.configure_losses() if loss is None else loss
        self.ranks = ALONE
        terms = len(self.loss.terms) if isinstance(self.loss, SegmentationLoss) else 1
        self.metrics = SegmentationMetrics(self.classes, self.metrics.per_image, terms)

    def configure_losses(self) -> Loss:
        """Return the default loss: the mean cross entropy."""
        return SegmentationLoss()

    def compute_loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of logits ``(B, K, H, W)`` against a class map ``(B, H, W)`` uint8.

        In training on several processes its mean over them is that of all their pixels; that of a
        loss other than :class:`seglab.losses.SegmentationLoss` is the mean of their losses.
        """
        if isinstance(self.loss, SegmentationLoss):
            value: Tensor = self.loss(_wide(logits), truth.long(), self.ranks)
            return value
        return self.loss(_wide(logits), truth.long())

    def setup(self, stage: str) -> None:
        """Compute training losses over all processes."""
        super().setup(stage)
        if stage == "fit":
            self.ranks = process_group()

    def check_output(self) -> None:
        """Try the loss too, on a small blank image that is half void.

        Raises:
            ConfigError: the output does not fit the image or the classes, or the loss fails.
        """
        super().check_output()
        truth = torch.zeros(1, 8, 8, dtype=torch.uint8)
        truth[:, :4] = VOID
        try:
            loss = self.compute_loss(torch.zeros(1, len(self.classes), 8, 8), truth)
        except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
            raise ConfigError(
                f"loss: fails on logits (B, {len(self.classes)}, H, W) and a class map (B, H, W) "
                f"whose void pixels are {VOID}: {one_line(error)}"
            ) from None
        if not isinstance(loss, Tensor) or loss.shape != ():
            value = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ConfigError(f"loss: gives {value} for a batch; must be a tensor of one number")

    def infer(self, image: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` uint8 to logits ``(B, K, H, W)``, the mean of the views evaluated.

        With tiles the image is one of them.
        """
        return mean_logits(image, lambda view: main_output(self(view)), self.scales, self.flip)

    def strips(self, image: Tensor) -> Iterator[Iterable[Tensor]]:
        """Yield for each image of ``(B, C, H, W)`` uint8 its logits, in strips from top to bottom.

        An image that is not tiled is one strip. On a CPU every image has a forward pass of its own,
        which is as fast as a batch: the kernels for another batch size differ in the last bits of
        their results, such as those of a 1x1 convolution on a 1x1 map with two threads. So no
        number depends on the batch size. On another device a batch is one forward pass, and its
        last bits may depend on the batch size.

        Yields:
            ``(1, K, h, W)``, whose heights sum to H.
        """
        if self.tiling is not None:
            for single in singles(image):
                yield tiled_logits(single, self.tiling, self.infer)
        elif image.device.type == "cpu":
            for single in singles(image):
                yield [self.infer(single)]
        else:
            for logits in singles(self.infer(image)):
                yield [logits]

    def predict(self, image: Tensor) -> Output:
        """Map ``(B, C, H, W)`` uint8 to the classes of the largest logits."""
        maps, soft = [], []
        for strips in self.strips(image):
            answers = [
                (class_map(one), _wide(one)[0].softmax(0).half() if self.soft else None)
                for one in strips
            ]
            maps.append(torch.cat([labels for labels, _ in answers], 1))
            soft.append([each for _, each in answers if each is not None])
        probabilities = [torch.cat(parts, 1) for parts in soft] if self.soft else None
        return Output(torch.cat(maps), probabilities=probabilities)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of one batch, an auxiliary head's included."""
        output = self(batch.image)
        loss = self.compute_loss(main_output(output), batch.class_map)
        if isinstance(output, Mapping) and "aux" in output:
            loss = loss + self.aux_weight * self.compute_loss(output["aux"], batch.class_map)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.ids), sync_dist=True)
        self.log_exact(self.learning_rates())
        return loss

    # Lightning hands to callbacks whatever this returns.
    def validation_step(self, batch: Batch, batch_index: int) -> Output:  # type: ignore[override]
        """Add a batch to the metrics and return the output."""
        if not batch.ids:  # a process without an image
            return Output(batch.class_map)
        maps, losses = [], []
        for strips, truth in zip(self.strips(batch.image), batch.class_map, strict=True):
            top, fractions = 0, []
            for logits in strips:
                maps.append(class_map(logits))
                rows = truth[None, top : top + logits.shape[2]]
                fractions.append(image_fractions(self.loss, _wide(logits), rows.long()))
                top += len(rows[0])
            losses.append(torch.stack(fractions).sum(0))
        prediction = torch.cat([each.flatten() for each in maps]).view(batch.class_map.shape)
        self.update_metrics(prediction, batch, torch.stack(losses))
        return Output(prediction, self.metrics.latest)


def _wide(logits: Tensor) -> Tensor:
    """Return float32 or float64 logits: in half precision a sum over pixels overflows."""
    return logits if logits.dtype == torch.float64 else logits.float()
