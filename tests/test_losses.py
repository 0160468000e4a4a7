"""Losses against torch's own; void has no say, in the loss or in its gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from seglab.losses import SegmentationLoss, cross_entropy

quick = settings(max_examples=30, deadline=None)


def batch(
    seed: int, num_classes: int = 5, void: float = 0.3, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Logits (2, K, 6, 7), and a class map of which about a share ``void`` is void."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, num_classes, 6, 7, generator=random, dtype=torch.float64) * 3
    target = torch.randint(num_classes, (2, 6, 7), generator=random)
    target[torch.rand(2, 6, 7, generator=random) < void] = 255
    return logits.to(dtype), target.to(torch.uint8)


def loss_and_gradient(
    logits: Tensor, target: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    loss = cross_entropy(logits, target, weights)
    loss.backward()
    return loss.detach(), logits.grad


@quick
@given(st.integers(0, 2**32), st.sampled_from([2, 5, 21, 255]), st.booleans())
def test_equals_torchs(seed: int, num_classes: int, weighted: bool) -> None:
    logits, target = batch(seed, num_classes)
    weights = torch.linspace(0.1, 2, num_classes, dtype=torch.float64) if weighted else None
    reference = nn.CrossEntropyLoss(weights, ignore_index=255)
    torch.testing.assert_close(
        cross_entropy(logits, target, weights),
        reference(logits, target.long()),
        rtol=1e-12,
        atol=0,
    )


def test_by_hand() -> None:
    logits = (
        torch.tensor([0.25, 0.75], dtype=torch.float64).log().view(1, 2, 1, 1).expand(1, 2, 1, 3)
    )
    target = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
    mean = -(torch.tensor(0.25).double().log() + torch.tensor(0.75).double().log()) / 2
    torch.testing.assert_close(cross_entropy(logits, target), mean)


def test_with_255_classes_254_is_a_class() -> None:
    logits = torch.zeros(1, 255, 1, 2)
    logits[:, 254] = 9.0
    right = torch.tensor([[[254, 255]]], dtype=torch.uint8)
    assert cross_entropy(logits, right) < 0.1
    assert cross_entropy(logits, right - torch.tensor([[[1, 0]]], dtype=torch.uint8)) > 9


@quick
@given(st.integers(0, 2**32), st.booleans())
def test_logits_under_void_change_nothing(seed: int, weighted: bool) -> None:
    logits, target = batch(seed)
    weights = torch.linspace(0.1, 2, 5, dtype=torch.float64) if weighted else None
    loss, gradient = loss_and_gradient(logits, target, weights)
    void = (target == 255)[:, None].expand_as(logits)
    other_loss, other = loss_and_gradient(logits.where(~void, 100 - logits), target, weights)
    assert torch.equal(loss, other_loss)
    assert torch.equal(gradient, other)
    assert not gradient[void].any()


@quick
@given(st.integers(0, 2**32))
def test_void_pixels_are_as_if_they_were_not_there(seed: int) -> None:
    logits, target = batch(seed, void=0.5)
    loss, gradient = loss_and_gradient(logits, target)
    valid = target != 255
    kept = logits.movedim(1, -1)[valid].T[None, :, None]  # (1, K, 1, N): valid pixels only
    kept_loss, kept_gradient = loss_and_gradient(kept, target[valid][None, None])
    torch.testing.assert_close(loss, kept_loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient.movedim(1, -1)[valid].T, kept_gradient[0, :, 0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("weighted", [False, True])
def test_all_void_is_zero_with_zero_gradient(dtype: torch.dtype, weighted: bool) -> None:
    logits, target = batch(0, void=2.0, dtype=dtype)
    assert target.eq(255).all()
    loss, gradient = loss_and_gradient(
        logits, target, torch.ones(5).to(dtype) if weighted else None
    )
    assert loss == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_classes_without_weight_alone_are_zero_too() -> None:
    logits, target = batch(0)
    loss, gradient = loss_and_gradient(logits, target, torch.zeros(5).double())
    assert loss == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_terms_are_summed_by_their_weights() -> None:
    logits, target = batch(1, dtype=torch.float32)
    one = SegmentationLoss([("cross_entropy", 1.0)])(logits, target)
    sum_of_two = SegmentationLoss([("cross_entropy", 0.5), ("cross_entropy", 2.0)])(logits, target)
    torch.testing.assert_close(sum_of_two, 2.5 * one)


def test_class_weights_move_with_the_module_but_not_into_checkpoints() -> None:
    loss = SegmentationLoss([("cross_entropy", 1.0)], [1.0, 2.0, 0.0, 1.0, 1.0])
    assert loss.state_dict() == {}
    assert loss.to(torch.float64).class_weights.dtype == torch.float64
    logits, target = batch(2, dtype=torch.float32)
    loss = loss.float()
    reference = nn.CrossEntropyLoss(loss.class_weights, ignore_index=255)
    torch.testing.assert_close(loss(logits, target), reference(logits, target.long()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_summed_in_single(dtype: torch.dtype) -> None:
    # 300 x 300 pixels at about 12 each sum to 1e6: beyond float16, and coarse in bfloat16.
    logits = torch.zeros(1, 3, 300, 300, dtype=dtype)
    logits[:, 0] = 12.0
    target = torch.ones(1, 300, 300, dtype=torch.uint8)
    loss = SegmentationLoss([("cross_entropy", 1.0)])(logits, target)
    assert loss.dtype == torch.float32
    reference = nn.functional.cross_entropy(logits.double(), target.long())
    torch.testing.assert_close(loss.double(), reference, rtol=1e-5, atol=0)
