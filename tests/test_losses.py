"""Losses against torch's own; void has no say, in the loss or in its gradient."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from seglab.losses import REGION_LOSSES, SegmentationLoss, cross_entropy, dice, lovasz_softmax
from seglab.metrics.confusion import split_loss

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
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.testing.assert_close(
            cross_entropy(logits.contiguous(memory_format=memory_format), target, weights),
            reference(logits, target.long()),
            rtol=1e-12,
            atol=0,
        )


@quick
@given(
    st.integers(0, 2**32),
    st.sampled_from([2, 21, 255]),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([1.0, 30.0, 1e4]),
    st.sampled_from([0.0, -60.0, 60.0, 1e3, -1e3]),
    st.booleans(),
)
def test_without_gradients_it_is_the_same_loss(
    seed: int, num_classes: int, weighted: bool, dtype: torch.dtype, spread: float, shift: float,
    cropped: bool,
) -> None:  # fmt: skip
    """Which is another way of computing it, and left for torch's where floats would overflow."""
    logits, target = batch(seed, num_classes, dtype=dtype)
    logits = (logits * spread + shift).contiguous(memory_format=torch.channels_last)
    weights = torch.linspace(0.1, 2, num_classes, dtype=dtype) if weighted else None
    if cropped:  # as a net does that pads
        logits, target = logits[..., :5, :6], target[:, :5, :6]
    wide = None if weights is None else weights.double()
    reference = nn.CrossEntropyLoss(wide, ignore_index=255)(logits.double(), target.long())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy(logits, target, weights)
    assert loss.dtype == dtype
    digits = 1e-12 if dtype == torch.float64 else 1e-5
    assert loss.item() == pytest.approx(reference.item(), rel=digits, abs=digits)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, -1e30])
@pytest.mark.parametrize("truth", [0, 255])
def test_without_gradients_odd_logits_are_torchs(value: float, truth: int) -> None:
    logits = torch.zeros(1, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    logits[0, 0, 0, 0] = value
    target = torch.tensor([[[truth, 1], [2, 0]]], dtype=torch.uint8)
    with torch.inference_mode():
        loss = cross_entropy(logits, target)
    wanted = nn.CrossEntropyLoss(ignore_index=255)(logits, target.long())
    torch.testing.assert_close(loss, wanted, equal_nan=True)


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


@quick
@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from([0.0, 1e-3, 0.5, 40.0]), min_size=5, max_size=5),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sets(st.integers(0, 4), min_size=1),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_no_weights_make_a_loss_or_a_gradient_that_is_not_finite(
    seed: int, weights: list[float], smoothing: float, present: set[int], dtype: torch.dtype
) -> None:
    """Nor one where the pixels weigh nothing, over which label smoothing spreads other weights."""
    logits, target = batch(seed, dtype=dtype)
    target[~torch.isin(target, torch.tensor([*present, 255], dtype=torch.uint8))] = min(present)
    logits.requires_grad_()
    loss = cross_entropy(logits, target, torch.tensor(weights, dtype=dtype), smoothing)
    loss.backward()
    assert 0 <= loss < 1e6
    assert logits.grad.isfinite().all()
    if not any(weights[index] for index in present):
        assert loss == 0
        assert not logits.grad.any()


def test_terms_are_summed_by_their_weights() -> None:
    logits, target = batch(1, dtype=torch.float32)
    one = SegmentationLoss([("cross_entropy", 1.0)])(logits, target)
    sum_of_two = SegmentationLoss([("cross_entropy", 0.5), ("cross_entropy", 2.0)])(logits, target)
    torch.testing.assert_close(sum_of_two, 2.5 * one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_class_weights_are_exact_in_every_precision_and_in_no_checkpoint(
    dtype: torch.dtype,
) -> None:
    weights = [1.0, 2.0, 0.0, 1.001, 0.3]  # bfloat16 would make 1.001 one
    loss = SegmentationLoss([("cross_entropy", 1.0)], weights).to(dtype)
    assert loss.state_dict() == {}
    logits, target = batch(2, dtype=dtype)
    exact = torch.promote_types(dtype, torch.float32)
    reference = nn.CrossEntropyLoss(torch.tensor(weights, dtype=exact), ignore_index=255)
    expected = reference(logits.to(exact), target.long())
    assert loss(logits, target).dtype == exact
    torch.testing.assert_close(loss(logits, target), expected)
    rows = torch.cat([loss.fractions(logits[i : i + 1], target[i : i + 1]) for i in (0, 1)])
    numerators, denominators = rows.sum(0)
    torch.testing.assert_close(numerators / denominators, expected.double(), rtol=1e-5, atol=0)


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


# Region losses.


@quick
@given(st.integers(0, 2**32), st.sampled_from([2, 5, 21]), st.sampled_from([0.0, 0.1, 0.5]))
def test_label_smoothing_is_torchs(seed: int, num_classes: int, smoothing: float) -> None:
    logits, target = batch(seed, num_classes)
    reference = nn.CrossEntropyLoss(ignore_index=255, label_smoothing=smoothing)
    found = cross_entropy(logits, target, label_smoothing=smoothing)
    torch.testing.assert_close(found, reference(logits, target.long()), rtol=1e-12, atol=0)


def plain_dice(logits: Tensor, target: Tensor) -> float:
    """Pixel by pixel, class by class."""
    probabilities = logits.softmax(1).movedim(1, -1).reshape(-1, logits.shape[1]).tolist()
    truth = target.flatten().tolist()
    valid = [(p, t) for p, t in zip(probabilities, truth, strict=True) if t != 255]
    terms = []
    for index in sorted({t for _, t in valid}):
        overlap = sum(p[index] for p, t in valid if t == index)
        size = sum(p[index] for p, _ in valid) + sum(t == index for _, t in valid)
        terms.append(1 - 2 * overlap / size)
    return sum(terms) / len(terms) if terms else 0.0


def plain_lovasz(logits: Tensor, target: Tensor) -> float:
    """The extension by its definition: errors times the growth of the Jaccard loss."""
    probabilities = logits.softmax(1).movedim(1, -1).reshape(-1, logits.shape[1]).tolist()
    truth = target.flatten().tolist()
    valid = [(p, t) for p, t in zip(probabilities, truth, strict=True) if t != 255]
    terms = []
    for index in sorted({t for _, t in valid}):
        errors = [(abs((t == index) - p[index]), t == index) for p, t in valid]
        errors.sort(key=lambda pair: -pair[0])
        total = sum(hit for _, hit in errors)
        loss = before = 0.0
        hits = misses = 0
        for error, hit in errors:
            hits, misses = hits + hit, misses + (not hit)
            jaccard = 1 - (total - hits) / (total + misses)
            loss += error * (jaccard - before)
            before = jaccard
        terms.append(loss)
    return sum(terms) / len(terms) if terms else 0.0


@quick
@given(st.integers(0, 2**32), st.sampled_from([2, 5, 21]), st.sampled_from([0.0, 0.3, 2.0]))
def test_region_losses_equal_plain_loops(seed: int, num_classes: int, void: float) -> None:
    logits, target = batch(seed, num_classes, void)
    assert dice(logits, target).item() == pytest.approx(plain_dice(logits, target), abs=1e-12)
    found = lovasz_softmax(logits, target).item()
    assert found == pytest.approx(plain_lovasz(logits, target), abs=1e-12)


@quick
@given(st.integers(0, 2**32), st.sampled_from([*REGION_LOSSES, "cross_entropy"]))
def test_no_loss_sees_what_lies_under_void(seed: int, name: str) -> None:
    logits, target = batch(seed, void=0.5)
    void = (target == 255)[:, None].expand_as(logits)
    loss = SegmentationLoss([(name, 1.0)], label_smoothing=0.1)
    results = []
    for values in (logits, logits.where(~void, 100 - logits)):
        values = values.clone().requires_grad_()
        value = loss(values, target)
        value.backward()
        assert not values.grad[void].any()
        results.append((value.detach(), values.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("name", REGION_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_region_losses_of_nothing_but_void_are_zero(name: str, dtype: torch.dtype) -> None:
    logits, target = batch(0, void=2.0, dtype=dtype)
    logits.requires_grad_()
    loss = REGION_LOSSES[name](logits, target)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", REGION_LOSSES)
def test_region_losses_of_a_perfect_answer_are_zero_and_of_the_worst_one(name: str) -> None:
    target = torch.tensor([[[0, 0, 1], [1, 1, 255]]], dtype=torch.uint8)  # class 2 is absent
    right = torch.full((1, 3, 2, 3), -200.0, dtype=torch.float64)
    right.scatter_(1, target.long().where(target != 255, 0)[:, None], 200.0)
    assert REGION_LOSSES[name](right, target).item() == pytest.approx(0, abs=1e-100)
    assert REGION_LOSSES[name](-right, target).item() == pytest.approx(1, abs=0.3)
    wrong = right.roll(1, 1)
    assert REGION_LOSSES[name](wrong, target) == 1


@pytest.mark.parametrize("name", REGION_LOSSES)
def test_the_gradient_of_a_region_loss_is_that_of_its_values(name: str) -> None:
    logits, target = batch(4)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(REGION_LOSSES[name], (logits, target), eps=1e-7)


# The loss of a split.


def plain_split_loss(
    images: list[tuple[Tensor, Tensor]], weights: Tensor, smoothing: float, terms: dict[str, float]
) -> float:
    """The training loss over all valid pixels of all images, in float64 and plain numpy."""
    result = 0.0
    if "cross_entropy" in terms:
        rows, truth = [], []
        for logits, target in images:
            valid = target != 255
            rows.append(logits.double().movedim(1, -1)[valid].numpy())
            truth.append(target[valid].long().numpy())
        flat, true, w = np.concatenate(rows), np.concatenate(truth), weights.double().numpy()
        largest = flat.max(1, keepdims=True)
        log = flat - largest - np.log(np.exp(flat - largest).sum(1, keepdims=True))
        own = -w[true] * log[np.arange(len(true)), true]
        spread = -(w * log).mean(1)
        weight = w[true].sum()
        total = ((1 - smoothing) * own + smoothing * spread).sum()
        result += terms["cross_entropy"] * (total / weight if weight else math.nan)
    for name, plain in (("dice", plain_dice), ("lovasz_softmax", plain_lovasz)):
        if name in terms:
            values = [plain(*one) for one in images if (one[1] != 255).any()]
            result += terms[name] * (sum(values) / len(values) if values else math.nan)
    return result


@quick
@given(
    st.lists(st.tuples(st.integers(0, 2**32), st.sampled_from([0.0, 0.3, 0.9, 2.0])), min_size=1,
             max_size=5),
    st.lists(st.sampled_from([0.0, 0.1, 1.0, 7.0]), min_size=5, max_size=5),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([
        {"cross_entropy": 1.0},
        {"cross_entropy": 0.5, "dice": 2.0},
        {"cross_entropy": 1.0, "lovasz_softmax": 0.3},
        {"dice": 1.0},
    ]),
    st.booleans(),
)  # fmt: skip
def test_the_loss_of_a_split_is_the_training_loss_over_its_valid_pixels(
    spec: list[tuple[int, float]], weights: list[float], smoothing: float,
    terms: dict[str, float], channels_last: bool,
) -> None:  # fmt: skip
    images = []
    for seed, void in spec:
        logits, target = batch(seed, void=void, dtype=torch.float32)
        images += [(logits[:1], target[:1])]
    loss = SegmentationLoss(list(terms.items()), weights, smoothing)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    with torch.inference_mode():
        fractions = [
            loss.fractions(logits.contiguous(memory_format=memory_format), target)
            for logits, target in images
        ]
    assert {one.dtype for one in fractions} == {torch.float64}
    expected = plain_split_loss(images, torch.tensor(weights), smoothing, terms)
    assert split_loss(torch.stack(fractions)) == pytest.approx(expected, rel=1e-5, nan_ok=True)


@quick
@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([0.0, 0.1]))
def test_the_cross_entropy_of_a_split_is_that_of_a_batch_of_all_its_images(
    seed: int, weighted: bool, smoothing: float
) -> None:
    logits, target = batch(seed, dtype=torch.float32)
    weights = [0.1, 1.0, 2.0, 0.5, 3.0] if weighted else None
    loss = SegmentationLoss([("cross_entropy", 1.0)], weights, smoothing)
    fractions = torch.stack([loss.fractions(logits[k : k + 1], target[k : k + 1]) for k in (0, 1)])
    assert split_loss(fractions) == pytest.approx(float(loss(logits, target)), rel=1e-6)
