"""Each fast kernel equals the plain formula that it names."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from seglab import ops


@settings(max_examples=200, deadline=None)
@given(*[st.integers(1, 700)] * 4)
def test_maps_are_resized_as_torch_does(rows: int, columns: int, height: int, width: int) -> None:
    maps = torch.arange(2 * rows * columns).remainder(251).to(torch.uint8).view(2, rows, columns)
    expected = F.interpolate(maps[None], (height, width), mode="nearest-exact")[0]
    assert torch.equal(ops.resize_nearest(maps, (height, width)), expected)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 255), st.integers(1, 9), st.integers(1, 9))
def test_the_largest_plane_is_that_of_argmax(seed: int, k: int, height: int, width: int) -> None:
    # Few values, so that many are equal; and what a diverged net gives.
    values = torch.tensor([-math.inf, -1.0, -0.0, 0.0, 2.0, math.inf, math.nan])
    random = torch.Generator().manual_seed(seed)
    logits = values[torch.randint(len(values), (k, height, width), generator=random)]
    assert torch.equal(ops.argmax_planes(logits).long(), logits.argmax(0))
    finite = logits.nan_to_num(0.5)
    assert torch.equal(ops.argmax_planes(finite).long(), finite.argmax(0))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**16))
def test_images_are_normalised_bit_by_bit(b: int, height: int, width: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (b, 3, height, width), dtype=torch.uint8, generator=random)
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
    normal = ops.normalise_channels_last(image.to(memory_format=torch.channels_last), mean, std)
    assert torch.equal(normal, (image.float() - mean) / std)
    assert normal.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.parametrize("k", [2, 21, 255])
def test_cross_entropy_is_that_of_torch(k: int) -> None:
    random = torch.Generator().manual_seed(k)
    logits = 10 * torch.randn(126, k, generator=random)
    target = torch.randint(k, (126,), generator=random)
    target[torch.rand(126, generator=random) < 0.2] = 255
    sums = ops.cross_entropy_by_class(logits, target)
    assert sums is not None
    for index in range(k):
        losses = F.cross_entropy(logits, target, reduction="none", ignore_index=255)
        expected = losses.double()[target == index].sum()
        torch.testing.assert_close(sums[index], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [-90.0, 90.0, math.inf, math.nan])
def test_cross_entropy_that_needs_a_shift_is_left_to_torch(value: float) -> None:
    logits = torch.full((4, 3), value)
    assert ops.cross_entropy_by_class(logits, torch.zeros(4, dtype=torch.int64)) is None
