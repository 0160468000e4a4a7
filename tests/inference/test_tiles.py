"""Tiles cover every pixel, their weights sum to one, and they change nothing of a pointwise net."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from seglab.inference.tiles import Tiling, tiled_logits

TILINGS = st.builds(Tiling, st.integers(1, 40), st.floats(0, 0.95))
LENGTHS = st.integers(1, 150)


@settings(deadline=None)
@given(TILINGS, LENGTHS)
def test_every_pixel_is_covered_and_neighbours_overlap_as_much_as_asked(
    tiling: Tiling, length: int
) -> None:
    starts, size = tiling.starts(length), min(tiling.size, length)
    covered = np.zeros(length, dtype=int)
    for start in starts:
        assert 0 <= start <= length - size
        covered[start : start + size] += 1
    assert covered.min() >= 1
    gaps = np.diff(starts)
    assert (gaps > 0).all()
    if len(gaps):  # a step is rounded to whole pixels, and never to none
        assert gaps.max() <= max(1, np.floor(tiling.size * (1 - tiling.overlap))) + 1


@settings(deadline=None)
@given(TILINGS, LENGTHS)
def test_the_weights_of_a_pixel_sum_to_one(tiling: Tiling, length: int) -> None:
    total = torch.zeros(length, dtype=torch.float64)
    for start, weight in zip(tiling.starts(length), tiling.weights(length), strict=True):
        assert (weight > 0).all()
        total[start : start + len(weight)] += weight
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6, rtol=0)


def plain_blend(image: Tensor, tiling: Tiling, net: nn.Module) -> Tensor:
    """The definition: weighted sum of the logits over sum of the weights, of two whole planes."""
    height, width = image.shape[-2:]
    h, w = min(tiling.size, height), min(tiling.size, width)

    def bell(length: int) -> Tensor:
        center = (length - 1) / 2
        return torch.tensor([np.exp(-((i - center) ** 2) / (2 * (length / 8) ** 2))
                             for i in range(length)])  # fmt: skip

    weight = bell(h)[:, None] * bell(w)
    total, weights = 0, torch.zeros(height, width, dtype=torch.float64)
    for top in tiling.starts(height):
        for left in tiling.starts(width):
            logits = net(image[..., top : top + h, left : left + w]).double()
            plane = torch.zeros(1, logits.shape[1], height, width, dtype=torch.float64)
            plane[..., top : top + h, left : left + w] = logits * weight
            total = total + plane
            weights[top : top + h, left : left + w] += weight
    return total / weights


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.floats(0, 0.9), st.integers(1, 33), st.integers(1, 33))
def test_the_strips_are_the_weighted_mean_of_the_tiles(
    size: int, overlap: float, height: int, width: int
) -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, height, width)
    net = nn.Conv2d(3, 5, 3, padding=1)  # sees the borders of tiles
    tiling = Tiling(size, overlap)
    with torch.no_grad():
        strips = list(tiled_logits(image, tiling, net))
        assert all(strip.shape[2] <= size or len(strips) == 1 for strip in strips)
        blended = torch.cat(strips, 2)
        torch.testing.assert_close(
            blended.double(), plain_blend(image, tiling, net), atol=1e-5, rtol=1e-5
        )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.floats(0, 0.9), st.integers(1, 33), st.integers(1, 33))
def test_a_pointwise_net_is_the_same_for_any_tiling(
    size: int, overlap: float, height: int, width: int
) -> None:
    torch.manual_seed(0)
    image, net = torch.rand(1, 3, height, width), nn.Conv2d(3, 5, 1)
    with torch.no_grad():
        blended = torch.cat(list(tiled_logits(image, Tiling(size, overlap), net)), 2)
        assert (blended - net(image)).abs().max() <= 1e-6


def test_one_tile_is_the_net_s_own_output() -> None:
    image, calls = torch.rand(1, 3, 7, 9), []

    def net(tile: Tensor) -> Tensor:
        calls.append(tile)
        return tile * 2

    (strip,) = tiled_logits(image, Tiling(9, 0.5), net)
    assert torch.equal(strip, image * 2)
    assert len(calls) == 1
    assert calls[0] is image


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_logits_are_summed_in_float32_at_least(dtype: torch.dtype) -> None:
    image = torch.rand(1, 2, 9, 9)
    strips = list(tiled_logits(image, Tiling(4, 0.5), lambda tile: tile.to(dtype)))
    assert {strip.dtype for strip in strips} == {torch.promote_types(dtype, torch.float32)}
