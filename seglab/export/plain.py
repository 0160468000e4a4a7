"""What is exported: plain RGB in, a class map and what it was made of out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seglab.models.exported import OBJECTS, SEMANTIC
from seglab.tasks.base import Task, main_output
from seglab.tasks.instance import MASK_THRESHOLD, InstanceSegmentation


class PlainNet(nn.Module):
    """A task's net and its normalisation, without flip, scales and tiles."""

    outputs: tuple[str, ...] = SEMANTIC

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.net = task.net
        self.register_buffer("mean", task.mean)
        self.register_buffer("std", task.std)

    def normalise(self, image: Tensor) -> Tensor:
        """Map ``(1, C, H, W)`` uint8 to the net's floats."""
        assert isinstance(self.mean, Tensor)
        assert isinstance(self.std, Tensor)
        return (image.to(self.mean.dtype) - self.mean) / self.std

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map ``(1, C, H, W)`` uint8 to the class map and the logits."""
        logits = main_output(self.net(self.normalise(image)))
        return logits.argmax(1).to(torch.uint8), logits


class PlainObjects(PlainNet):
    """A Mask R-CNN, traced: torchvision returns the objects by descending score."""

    outputs = OBJECTS

    def __init__(self, task: InstanceSegmentation) -> None:
        super().__init__(task)
        self.threshold = task.score_threshold

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map ``(1, C, H, W)`` uint8 to the class map, boxes, labels, scores and masks."""
        (found,) = self.net([self.normalise(image)[0]])
        labels, scores = found["labels"], found["scores"]
        masks = (found["masks"][:, 0] >= MASK_THRESHOLD).to(torch.uint8)
        # The first object of a pixel is that of the highest rank; the background has rank 0.
        rank = torch.arange(scores.shape[0], 0, -1) * (scores >= self.threshold)
        background = torch.zeros_like(image[0, :1], dtype=torch.int64)
        ranks = torch.cat([background, masks * rank[:, None, None]])
        values = torch.cat([torch.zeros(1, dtype=torch.int64), labels])
        class_map = values[ranks.argmax(0)][None].to(torch.uint8)
        return class_map, found["boxes"], labels, scores, masks


def plain_net(task: Task) -> PlainNet:
    """Return what is exported of a task."""
    if isinstance(task, InstanceSegmentation):
        return PlainObjects(task).eval()
    return PlainNet(task).eval()
