"""Compares a file with the task that it was written from."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.errors import RunError, one_line
from seglab.models.exported import ExportedNet
from seglab.tasks.base import Task, main_output
from seglab.tasks.instance import MASK_THRESHOLD, InstanceSegmentation

SIZES = ((97, 131), (64, 96), (160, 75))
"""Heights and widths: odd ones, whole cells of most nets, upright. None is the traced one."""

TIE = 1e-4
"""Logits, scores and probabilities nearer than this may change places."""

BOX = 0.05
"""Pixels that an edge of a box may be off."""


def pictures(channels: int) -> Iterator[Tensor]:
    """Yield a picture of blurred colours and noise for each of :data:`SIZES`, and a plain ramp.

    In the ramp a trained net finds nothing; in one grey all proposals of a Mask R-CNN would tie.
    """
    generator = torch.Generator().manual_seed(0)
    for size in SIZES:
        coarse = torch.rand(1, channels, 5, 5, generator=generator)
        smooth = F.interpolate(coarse, size, mode="bicubic") * 255
        noise = torch.randn(smooth.shape, generator=generator) * 12
        yield (smooth + noise).clamp(0, 255).to(torch.uint8)
    ramp = torch.arange(48) + 2 * torch.arange(48)[:, None] + 40
    yield ramp.to(torch.uint8).expand(1, channels, -1, -1)


@torch.inference_mode()
def check_file(net: ExportedNet, task: Task) -> int:
    """Compare a file's outputs with those of its task, on images of several sizes.

    Args:
        net: the file, opened.
        task: in evaluation mode, on the CPU, without flip, scales and tiles.

    Returns:
        The number of compared objects; 0 for a semantic model.

    Raises:
        RunError: they differ by more than ties.
    """
    objects = 0
    for image in pictures(task.mean.numel()):
        size = f"{image.shape[3]}x{image.shape[2]}"
        try:
            own = task(image)
        except (RuntimeError, ValueError) as error:
            raise RunError(
                f"model.net: takes no image of {size}, and export is for any size: "
                f"{one_line(error)}"
            ) from None
        (outputs,) = net.answers(image.float())
        if isinstance(task, InstanceSegmentation):
            problem = _differing_objects(outputs, own[0], task.score_threshold)
            objects += len(own[0]["scores"])
        else:
            problem = _differing_logits(outputs, main_output(own))
        if problem is not None:
            raise RunError(f"the file differs from the checkpoint on an image of {size}: {problem}")
    return objects


def _differing_logits(outputs: list[Tensor], own: Tensor) -> str | None:
    """Return how a file's class map and logits differ from logits ``(1, K, H, W)``."""
    class_map, logits = outputs
    if class_map.shape != own[:, 0].shape or logits.shape != own.shape:
        return f"a class map of {tuple(class_map.shape)}, logits of {tuple(logits.shape)}"
    tolerance = TIE * max(1.0, float(own.abs().max()))
    chosen = own.gather(1, class_map[:, None].long())[:, 0]
    wrong = int((own.max(1).values - chosen > tolerance).sum())
    if wrong:
        return f"{wrong} of {class_map.numel()} pixels have another class"
    off = float((logits - own).abs().max())
    return None if off <= tolerance else f"logits are off by {off:.2g}"


def _differing_objects(
    outputs: list[Tensor], own: dict[str, Tensor], threshold: float
) -> str | None:
    """Return how a file's objects and class map differ from torchvision's result.

    A pixel's class is right if an object of that class may be the first there, with all scores and
    probabilities off by a tie at most; background, if there may be none.
    """
    class_map, boxes, labels, scores, _ = outputs
    if len(scores) != len(own["scores"]):
        return f"{len(scores)} objects instead of {len(own['scores'])}"
    same = labels[:, None] == own["labels"]
    same &= (scores[:, None] - own["scores"]).abs() <= TIE
    same &= ((boxes[:, None] - own["boxes"]).abs() <= BOX).all(2)
    if not (same.any(0).all() and same.any(1).all()):
        return "it finds other objects"
    surely = _best(own, MASK_THRESHOLD + TIE, threshold + TIE).max(0).values
    possible = _best(own, MASK_THRESHOLD - TIE, threshold - TIE)
    of_class = torch.full((256, *class_map.shape[1:]), -torch.inf)
    of_class[0] = threshold  # the background is first where no object is surely
    for place, label in enumerate(own["labels"].tolist()):
        of_class[label] = torch.maximum(of_class[label], possible[place + 1])
    chosen = of_class.gather(0, class_map.long())[0]
    wrong = int((chosen < surely - TIE).sum())
    return f"{wrong} of {class_map.numel()} pixels have another class" if wrong else None


def _best(own: dict[str, Tensor], probability: float, score: float) -> Tensor:
    """Return the scores of the objects in each pixel, ``(1 + N, H, W)``; -inf where they are not.

    The first row, which has none, stands for no object.
    """
    masks, scores = own["masks"][:, 0], own["scores"][:, None, None]
    best = scores.where((masks >= probability) & (scores >= score), -torch.inf)
    return torch.cat([torch.full((1, *masks.shape[1:]), -torch.inf), best])
