"""Objects over scales and mirror images: one for each real one, with the mask of the majority."""

import pytest
import torch
from torch import Tensor

from seglab.data.instances import Detections, tight_boxes
from seglab.inference.votes import voted_objects

BLOCKS = [(4, 10, 2, 20), (12, 30, 25, 40), (20, 38, 3, 17)]
"""Rows and columns of the objects; each is bright in a channel of its own, that of its class."""


def image_of(blocks: list[tuple[int, int, int, int]]) -> Tensor:
    image = torch.zeros(1, 3, 40, 46, dtype=torch.uint8)
    for channel, (top, bottom, left, right) in enumerate(blocks):
        image[:, channel, top:bottom, left:right] = 200
    return image


def bright_objects(view: Tensor) -> Detections:
    """Find the blocks of ``BLOCKS``; the score of class k is 0.3 k."""
    masks = view[0] > 100
    found = [channel for channel in (2, 1, 0) if masks[channel].any()]
    return answer(masks[found], [one + 1 for one in found], [(one + 1) * 0.3 for one in found])


def answer(masks: Tensor, labels: list[int], scores: list[float]) -> Detections:
    boxes = tight_boxes(masks) if len(masks) else torch.zeros(0, 4)
    classes = torch.tensor(labels, dtype=torch.int64)
    return Detections(masks, classes, torch.tensor(scores), boxes)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0, 2.0), (1.5, 0.75)])
def test_each_object_is_found_once_where_it_is(scales: tuple[float, ...], flip: bool) -> None:
    image = image_of(BLOCKS)
    found = voted_objects(image, bright_objects, scales, flip, limit=10)
    assert found.labels.tolist() == [3, 2, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6, 0.3])
    truth = (image[0] > 0)[found.labels - 1]
    common, either = (found.masks & truth).sum((1, 2)), (found.masks | truth).sum((1, 2))
    assert (common / either > (0.999 if scales == (1.0,) else 0.7)).all()
    assert (found.boxes - tight_boxes(truth)).abs().max() <= (0 if scales == (1.0,) else 1.5)


def test_an_image_without_objects_has_none() -> None:
    found = voted_objects(image_of([]), bright_objects, (0.5, 1.0), True, limit=10)
    assert found.masks.shape == (0, 40, 46)
    assert found.boxes.shape == (0, 4)


def test_no_more_than_the_limit_are_kept_and_they_have_the_highest_scores() -> None:
    found = voted_objects(image_of(BLOCKS), bright_objects, (1.0,), True, limit=2)
    assert found.labels.tolist() == [3, 2]


def test_objects_of_two_classes_at_one_place_stay_two() -> None:
    views = iter([([1], [0.9]), ([2], [0.8])])

    def infer(view: Tensor) -> Detections:
        mask = torch.zeros(1, *view.shape[-2:], dtype=torch.bool)
        mask[:, 5:20, 5:41] = True
        return answer(mask, *next(views))

    found = voted_objects(image_of([]), infer, (1.0,), True, limit=10)
    assert found.labels.tolist() == [1, 2]


def test_the_mask_is_that_of_at_least_half_the_scores() -> None:
    rows, scores = iter([(10, 30), (10, 26), (10, 26)]), iter([0.9, 0.5, 0.6])

    def infer(view: Tensor) -> Detections:
        mask = torch.zeros(1, *view.shape[-2:], dtype=torch.bool)
        top, bottom = next(rows)
        mask[:, top:bottom, 5:41] = True
        return answer(mask, [1], [next(scores)])

    # Three views of one size: the second and third, 1.1 of 2.0 together, outvote the first.
    found = voted_objects(image_of([]), infer, (1.0, 1.0, 1.0), False, limit=10)
    assert found.scores.tolist() == pytest.approx([2.0 / 3])
    assert found.masks[0].any(1).nonzero()[:, 0].tolist() == [*range(10, 26)]


def test_an_object_that_one_view_alone_shows_counts_for_one_view() -> None:
    """Otherwise the scores of wrong objects would grow with the number of views."""
    views = iter([([1, 2], [0.6, 0.9]), ([1], [0.8]), ([1], [0.7])])

    def infer(view: Tensor) -> Detections:
        labels, scores = next(views)
        mask = torch.zeros(len(labels), *view.shape[-2:], dtype=torch.bool)
        mask[:, 5:20, 5:41] = True
        return answer(mask, labels, scores)

    found = voted_objects(image_of([]), infer, (1.0, 1.0, 1.0), False, limit=10)
    assert found.labels.tolist() == [1, 2]
    assert found.scores.tolist() == pytest.approx([0.7, 0.3])
