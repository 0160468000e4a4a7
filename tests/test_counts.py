"""Intervals against plain loops over the same draws; what pairing is for."""

import math

import numpy as np
import pytest

from seglab.counts import bootstrap_interval, iou, miou, paired_difference


def some_counts(images: int, num_classes: int = 4, seed: int = 0) -> np.ndarray:
    """Count images that differ in size and in how well they are predicted."""
    rng = np.random.default_rng(seed)
    confusions = rng.integers(0, 200, (images, num_classes, num_classes))
    confusions += np.eye(num_classes, dtype=np.int64) * rng.integers(0, 900, (images, 1, 1))
    both = confusions.diagonal(axis1=1, axis2=2)
    return np.stack([confusions.sum(2), confusions.sum(1), both], axis=1)


def plain_miou(counts: np.ndarray) -> float:
    values = []
    for t, p, b in counts.T.tolist():
        if t + p > 0:
            values.append(b / (t + p - b))
    return sum(values) / len(values) if values else math.nan


@pytest.mark.parametrize(("images", "samples"), [(1, 5), (23, 300), (60_000, 100)])
def test_interval_agrees_with_a_plain_loop_of_the_same_draws(images, samples):
    """The last case draws in two portions."""
    counts = some_counts(images)
    counts[0] = 0  # an image that is all void
    generator = np.random.default_rng(5)
    values = []
    for _ in range(samples):
        picks = generator.integers(images, size=images)
        values.append(plain_miou(counts[picks].sum(0)))
    expected = np.nanquantile(values, [0.05, 0.95]) if images > 1 else (math.nan, math.nan)
    result = bootstrap_interval(counts, samples=samples, confidence=0.9, seed=5)
    assert result == pytest.approx(tuple(expected), rel=1e-12, nan_ok=True)


def test_interval_holds_the_estimate_and_narrows_with_more_images():
    widths = []
    for images in (20, 200, 2000):
        counts = some_counts(images)
        low, high = bootstrap_interval(counts)
        assert low < plain_miou(counts.sum(0)) < high
        assert (low, high) == bootstrap_interval(counts)
        assert (low, high) != bootstrap_interval(counts, seed=1)
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_interval_covers_about_as_often_as_it_says():
    """Of 95 % intervals of 100 samples from a large population about 95 hold its mIoU."""
    population = some_counts(20_000, seed=1)
    truth = plain_miou(population.sum(0))
    held = 0
    for part in np.split(population, 100):
        low, high = bootstrap_interval(part, samples=400)
        held += low < truth < high
    assert 88 <= held <= 99


def test_no_image_has_no_interval():
    assert all(math.isnan(end) for end in bootstrap_interval(some_counts(0)))
    assert all(math.isnan(end) for end in bootstrap_interval(np.zeros((3, 3, 4), np.int64)))


def test_iou_and_miou_of_counts_by_hand():
    counts = np.array([[4, 2, 0], [2, 4, 0], [1, 2, 0]])  # truth, prediction, both of three classes
    assert iou(counts)[:2].tolist() == [1 / 5, 2 / 4]
    assert math.isnan(iou(counts)[2])
    assert float(miou(counts)) == (1 / 5 + 2 / 4) / 2


@pytest.mark.parametrize("images", [37, 50_000])
def test_the_paired_difference_takes_the_same_images_of_both(images):
    """The second case is too large for its draws to be remembered."""
    one, other = some_counts(images), some_counts(images, seed=9)
    other[:, 0] = one[:, 0]
    generator = np.random.default_rng(0)
    values = []
    for _ in range(100):
        picks = generator.integers(images, size=images)
        values.append(plain_miou(one[picks].sum(0)) - plain_miou(other[picks].sum(0)))
    expected = (
        plain_miou(one.sum(0)) - plain_miou(other.sum(0)),
        *np.quantile(values, [0.025, 0.975]),
    )
    assert paired_difference(one, other, samples=100) == pytest.approx(expected, rel=1e-9)


def test_pairing_sees_a_small_difference_that_separate_intervals_hide():
    one = some_counts(150)
    other = one.copy()
    other[:, 2] -= other[:, 2] // 50  # two in a hundred right pixels of every image are lost
    other_low, other_high = bootstrap_interval(other)
    low, high = bootstrap_interval(one)
    assert max(low, other_low) < min(high, other_high)
    difference, low, high = paired_difference(one, other)
    assert 0 < low < difference < high
    assert paired_difference(one, one) == (0, 0, 0)
    assert paired_difference(other, one) == (-difference, -high, -low)


def test_counts_of_other_images_are_not_paired():
    with pytest.raises(ValueError, match="not of the same images"):
        paired_difference(some_counts(3), some_counts(4))
