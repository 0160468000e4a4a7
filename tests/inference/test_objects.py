"""Objects over tiles: cut ones become whole, different ones stay apart."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seglab.data.instances import Detections, tight_boxes
from seglab.inference.objects import tiled_objects
from seglab.inference.tiles import Tiling


def find_blobs(image: Tensor) -> Detections:
    """A model without errors: every value of the first channel is an object, of class value % 3."""
    plane = image[0, 0]
    values = [int(value) for value in plane.unique() if value]
    masks = torch.stack([plane == v for v in values]) if values else torch.zeros(0, *plane.shape)
    masks = masks.bool()
    scores = torch.tensor([float(mask.sum()) for mask in masks]) / plane.numel()
    order = scores.argsort(descending=True, stable=True)
    labels = torch.tensor([value % 3 for value in values], dtype=torch.int64)
    boxes = tight_boxes(masks) if values else torch.zeros(0, 4)
    return Detections(masks[order], labels[order], scores[order], boxes[order])


@settings(max_examples=50, deadline=None)
@given(
    st.integers(16, 40),
    st.floats(0.5, 0.8),
    st.integers(20, 90),
    st.integers(20, 90),
    st.integers(0, 2**31),
)
def test_objects_no_larger_than_the_overlap_are_those_of_the_whole_image(
    size: int, overlap: float, height: int, width: int, seed: int
) -> None:
    """Every such object is whole in some tile, and its parts in the others lie within it."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    for value in range(1, 9):
        top = int(torch.randint(height - 6, (1,), generator=generator))
        left = int(torch.randint(width - 6, (1,), generator=generator))
        image[:, 0, top : top + 6, left : left + 5] = value
    found = tiled_objects(image, Tiling(size, overlap), find_blobs, limit=100)
    expected = find_blobs(image)

    def described(objects: Detections) -> set[tuple[int, bytes]]:
        return {
            (int(label), mask.numpy().tobytes())
            for label, mask in zip(objects.labels, objects.masks, strict=True)
        }

    assert described(found) == described(expected)
    assert len(found) == len(expected)
    assert (found.scores.diff() <= 0).all()
    if len(found):
        assert torch.equal(tight_boxes(found.masks), found.boxes)


def test_an_object_larger_than_a_tile_is_put_together_where_tiles_overlap_by_half_of_it() -> None:
    image = torch.zeros(1, 3, 20, 60, dtype=torch.uint8)
    image[:, 0, 4:16, 10:50] = 1
    found = tiled_objects(image, Tiling(24, 0.75), find_blobs, limit=100)
    assert len(found) == 1
    assert torch.equal(found.masks[0], image[0, 0] == 1)
    assert found.boxes.tolist() == [[10, 4, 50, 16]]


def test_objects_of_one_tile_are_never_united() -> None:
    masks = torch.ones(2, 8, 8, dtype=torch.bool)

    def twice(tile: Tensor) -> Detections:
        here = masks[:, : tile.shape[2], : tile.shape[3]]
        scores = torch.tensor([0.9, 0.8]) - float(tile.sum()) * 1e-9
        return Detections(here, torch.tensor([1, 1]), scores, torch.zeros(2, 4))

    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    assert len(tiled_objects(image, Tiling(8, 0.5), twice, limit=100)) == 2


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (0, 0), (9, 2)])
def test_no_more_objects_are_kept_than_the_net_keeps(limit: int, expected: int) -> None:
    image = torch.zeros(1, 3, 9, 40, dtype=torch.uint8)
    image[:, 0, 2:5, 2:5], image[:, 0, 2:8, 30:36] = 1, 2
    found = tiled_objects(image, Tiling(16, 0.5), find_blobs, limit)
    assert len(found) == expected
    if limit == 1:
        assert found.labels.tolist() == [2], "that of the higher score"
