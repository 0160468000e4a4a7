"""Instances: tight boxes, one class each, and the same after every joint transform."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seglab.data.files import Box
from seglab.data.instances import Detections, find_instances
from seglab.data.transforms import flip, pad, scale_and_crop


def maps(seed: int, height: int, width: int, count: int) -> Tensor:
    """Class and instance map of ``count`` overlapping rectangles with void around, (2, H, W)."""
    rng = np.random.default_rng(seed)
    class_map, instance_map = np.zeros((2, height, width), np.uint8)
    for index in range(1, count + 1):
        y, x = rng.integers(height), rng.integers(width)
        h, w = rng.integers(1, 1 + height), rng.integers(1, 1 + width)
        outer, inner = np.s_[y : y + h, x : x + w], np.s_[y + 1 : y + h - 1, x + 1 : x + w - 1]
        for one, value in ((class_map, rng.integers(1, 21)), (instance_map, index)):
            one[outer] = 255
            one[inner] = value
    return torch.from_numpy(np.stack([class_map, instance_map]))


def plain_instances(both: Tensor) -> dict[int, tuple[int, tuple[int, int, int, int], int]]:
    """Pixel by pixel: id -> class, box, number of pixels."""
    class_map, instance_map = both.tolist()
    pixels: dict[int, list[tuple[int, int, int]]] = {}
    for y, row in enumerate(instance_map):
        for x, one in enumerate(row):
            if one not in (0, 255) and class_map[y][x] != 255:
                pixels.setdefault(one, []).append((x, y, class_map[y][x]))
    found = {}
    for one, members in sorted(pixels.items()):
        values = [value for _, _, value in members]
        label = max(sorted(set(values)), key=values.count)
        if label:
            xs, ys = [x for x, _, _ in members], [y for _, y, _ in members]
            found[one] = label, (min(xs), min(ys), max(xs) + 1, max(ys) + 1), len(members)
    return found


def read(both: Tensor) -> dict[int, tuple[int, tuple[int, ...], int]]:
    found = find_instances(*both)
    assert found.masks.shape == (len(found), *both.shape[1:])
    return {
        one: (label, tuple(int(edge) for edge in box), int(mask.sum()))
        for one, label, box, mask in zip(
            found.ids.tolist(), found.labels.tolist(), found.boxes, found.masks, strict=True
        )
    }


sizes = st.integers(3, 40)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), sizes, sizes, st.integers(0, 12), st.booleans())
def test_equals_a_plain_loop(seed: int, height: int, width: int, count: int, noisy: bool) -> None:
    both = maps(seed, height, width, count)
    if noisy:  # an id over several classes, and over background
        random = torch.Generator().manual_seed(seed)
        both[0] = both[0].where(
            torch.rand(height, width, generator=random) < 0.5,
            torch.randint(0, 4, (height, width), generator=random).to(torch.uint8),
        )
    assert read(both) == plain_instances(both)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32), sizes, sizes, st.integers(0, 12), st.integers(1, 50),
    st.floats(0.3, 3.0),
)  # fmt: skip
def test_boxes_are_tight_after_every_transform(
    seed: int, height: int, width: int, count: int, crop: int, scale: float
) -> None:
    both, rng = maps(seed, height, width, count), np.random.default_rng(seed)
    image = torch.zeros(height, width, 3, dtype=torch.uint8).permute(2, 0, 1)
    image, moved = scale_and_crop(image, both, crop, (scale, scale), rng)
    image, moved = flip(image, moved, 0.5, rng)
    image, moved = pad(image, moved, crop, rng)
    assert moved.shape == (2, crop, crop)
    found = read(moved)
    assert found == plain_instances(moved)
    assert found.keys() <= set(both[1].unique().tolist()), "what was cut away is gone"
    for _, (x0, y0, x1, y1), _ in found.values():
        assert 0 <= x0 < x1 <= crop
        assert 0 <= y0 < y1 <= crop


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), sizes, sizes, st.integers(1, 50), st.floats(0.3, 3.0))
def test_several_maps_move_as_each_alone(
    seed: int, height: int, width: int, crop: int, scale: float
) -> None:
    both = maps(seed, height, width, 5)
    image = torch.zeros(height, width, 3, dtype=torch.uint8).permute(2, 0, 1)
    together = scale_and_crop(image, both, crop, (scale, scale), np.random.default_rng(1))[1]
    for one, alone in zip(both, together, strict=True):
        rng = np.random.default_rng(1)
        assert torch.equal(scale_and_crop(image, one, crop, (scale, scale), rng)[1], alone)


def test_no_instances_and_as_many_as_there_are_ids() -> None:
    empty = find_instances(*torch.zeros(2, 5, 7, dtype=torch.uint8))
    assert len(empty) == 0
    assert empty.masks.shape == (0, 5, 7)
    assert empty.boxes.shape == (0, 4)
    ids = torch.arange(256, dtype=torch.uint8).view(16, 16)
    many = find_instances(torch.ones(16, 16, dtype=torch.uint8), ids)
    assert many.ids.tolist() == list(range(1, 255))
    assert many.masks.sum((1, 2)).eq(1).all()
    assert (many.boxes[:, 2:] - many.boxes[:, :2]).eq(1).all()


def test_an_id_over_several_classes_is_of_the_one_with_most_pixels() -> None:
    instance_map = torch.tensor([[1, 1, 1, 2, 2, 3]], dtype=torch.uint8)
    class_map = torch.tensor([[7, 5, 7, 0, 255, 255]], dtype=torch.uint8)
    found = find_instances(class_map, instance_map)
    assert found.ids.tolist() == [1], "2 is mostly background, 3 is nothing but void"
    assert found.labels.tolist() == [7]
    assert found.masks.tolist() == [[[True, True, True, False, False, False]]]


def test_an_annotation_lends_its_flags_and_nothing_else() -> None:
    both = torch.zeros(2, 20, 30, dtype=torch.uint8)
    both[0, 2:10, 2:12], both[1, 2:10, 2:12] = 3, 1
    both[0, 2:10, 14:24], both[1, 2:10, 14:24] = 3, 2
    classes = ["background", "a", "b", "c"]
    annotated = [
        Box("c", 13, 2, 24, 10, difficult=True),  # a column beside the mask: the mask wins
        Box("c", 12, 2, 23, 10, truncated=True),  # fits the same object less well
        Box("a", 2, 2, 12, 10, difficult=True, truncated=True),  # of another class
        Box("unheard", 2, 2, 12, 10, difficult=True),
    ]
    found = find_instances(*both, annotated, classes)
    assert found.boxes.tolist() == [[2, 2, 12, 10], [14, 2, 24, 10]]
    assert found.labels.tolist() == [3, 3]
    assert found.difficult.tolist() == [False, True]
    assert found.truncated.tolist() == [False, False]
    assert not find_instances(*both).difficult.any()


def test_the_surest_object_lies_on_top() -> None:
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 1:4] = masks[1, :, 3:5] = masks[2] = True
    found = Detections(
        masks, torch.tensor([5, 2, 9]), torch.tensor([0.9, 0.6, 0.2]), torch.zeros(3, 4)
    )
    assert found.paint(found.labels).tolist() == [
        [9, 9, 9, 2, 2, 9],
        [9, 5, 5, 5, 2, 9],
        [9, 5, 5, 5, 2, 9],
        [9, 9, 9, 2, 2, 9],
    ]
    assert len(found.above(0.6)) == 2
    assert found.above(0.61).paint([7]).unique().tolist() == [0, 7]
    assert not found.above(0.95).paint([]).any()
