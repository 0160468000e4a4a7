"""Intervals against a plain jackknife and against how often they contain the truth; pairing."""

import math
import statistics

import numpy as np
import pytest

from benchmarks.coverage import coverage, percentile_interval
from seglab.metrics.counts import iou, jackknife_interval, miou, paired_difference, unreliable


def some_counts(images: int, num_classes: int = 4, seed: int = 0) -> np.ndarray:
    """Count images that differ in size and in how well they are predicted."""
    rng = np.random.default_rng(seed)
    confusions = rng.integers(0, 200, (images, num_classes, num_classes))
    confusions += np.eye(num_classes, dtype=np.int64) * rng.integers(0, 900, (images, 1, 1))
    return counted(confusions)


def sparse_counts(images: int, num_classes: int = 21, seed: int = 0) -> np.ndarray:
    """Count images as VOC's: background and 1 to 3 of 20 classes, the small ones mistaken."""
    rng = np.random.default_rng(seed)
    confusions = np.zeros((images, num_classes, num_classes), np.int64)
    for matrix in confusions:
        matrix[0, 0] = rng.integers(50_000, 150_000)
        for k in rng.choice(np.arange(1, num_classes), rng.integers(1, 4), replace=False):
            pixels = int(rng.lognormal(9, 1))
            right = rng.random() < pixels / (pixels + 8000)
            matrix[k, k if right else rng.integers(num_classes)] += 9 * pixels // 10
            matrix[k, 0] += pixels // 10
    return counted(confusions)


def counted(confusions: np.ndarray) -> np.ndarray:
    both = confusions.diagonal(axis1=1, axis2=2)
    return np.stack([confusions.sum(2), confusions.sum(1), both], axis=1)


def plain_miou(counts: np.ndarray) -> float:
    values = []
    for t, p, b in counts.T.tolist():
        if t + p > 0:
            values.append(b / (t + p - b))
    return sum(values) / len(values) if values else math.nan


def plain_interval(value: float, leave_one_out: list[float]) -> tuple[float, float]:
    """Return the jackknife's interval by Efron and Tibshirani's formulas, chapter 11."""
    n, middle = len(leave_one_out), statistics.fmean(leave_one_out)
    error = math.sqrt((n - 1) / n * sum((one - middle) ** 2 for one in leave_one_out))
    ends = []
    for centre in (value, value - (n - 1) * (middle - value)):
        ends += [centre - 1.959964 * error, centre + 1.959964 * error]
    return min(ends), max(ends)


@pytest.mark.parametrize("images", [2, 23, 4200])
def test_the_interval_agrees_with_a_plain_jackknife(images):
    """The first image is all void; the last case is worked out in portions."""
    counts = some_counts(images)
    counts[0] = 0
    if images == 2:
        assert all(map(math.isnan, jackknife_interval(counts))), "nothing is left without one"
        counts = some_counts(images)
    total = counts.sum(0)
    expected = plain_interval(plain_miou(total), [plain_miou(total - one) for one in counts])
    assert jackknife_interval(counts) == pytest.approx(expected, rel=1e-6)


def test_a_class_of_one_image_is_left_out_of_the_mean_without_it():
    counts = sparse_counts(20)
    assert ((counts[:, :2] > 0).any(1).sum(0) == 1).any(), "a class that only one image has"
    total = counts.sum(0)
    expected = plain_interval(plain_miou(total), [plain_miou(total - one) for one in counts])
    assert jackknife_interval(counts) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("size", "least"), [(213, 0.93), (100, 0.92)])
def test_an_interval_contains_the_truth_as_often_as_it_promises(size, least):
    population = sparse_counts(213, seed=1)
    truth = plain_miou(population.sum(0))
    shares = coverage(truth, 213, size, 1000, lambda picks: jackknife_interval(population[picks]))
    assert least <= shares["coverage"] <= 0.98


def test_the_percentile_bootstrap_does_not_cover_as_often():
    """So the simulation can tell: this is the interval that was shipped before."""
    population = sparse_counts(213, seed=1)
    truth = plain_miou(population.sum(0))
    rng = np.random.default_rng(1)
    shares = coverage(
        truth, 213, 100, 250, lambda picks: percentile_interval(population[picks], rng, 300)
    )
    assert shares["coverage"] < 0.85


@pytest.mark.parametrize("size", [213, 100])
def test_a_paired_difference_contains_the_truth_as_often_as_it_promises(size):
    one, other = sparse_counts(213, seed=1), sparse_counts(213, seed=1)
    rng = np.random.default_rng(5)
    other[:, 2] -= (other[:, 2] * rng.uniform(0, 0.2, (213, 21))).astype(int)
    truth = plain_miou(one.sum(0)) - plain_miou(other.sum(0))
    shares = coverage(
        truth, 213, size, 700, lambda picks: paired_difference(one[picks], other[picks])[1:]
    )
    assert 0.92 <= shares["coverage"] <= 0.98


def test_the_interval_narrows_with_more_images():
    widths = []
    for images in (20, 200, 2000):
        counts = some_counts(images)
        low, high = jackknife_interval(counts)
        assert low < plain_miou(counts.sum(0)) < high
        inner = jackknife_interval(counts, confidence=0.5)
        assert low < inner[0] < inner[1] < high
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_intervals_stay_within_what_a_score_can_be():
    right = np.array(
        [[[9, 1], [9, 1], [9, 1]], [[5, 5], [5, 5], [5, 5]], [[9, 1], [10, 0], [9, 0]]]
    )
    wrong = right.copy()
    wrong[:2, 2] = 0
    assert jackknife_interval(right)[1] == 1
    assert jackknife_interval(wrong)[0] == 0
    difference, low, high = paired_difference(right, wrong)
    assert -1 <= low < difference <= high == 1
    assert paired_difference(wrong, right) == (-difference, -high, -low)


@pytest.mark.parametrize("counts", [some_counts(0), some_counts(1), np.zeros((3, 3, 4), np.int64)])
def test_fewer_than_two_images_have_no_interval(counts):
    assert all(map(math.isnan, jackknife_interval(counts)))
    assert all(map(math.isnan, paired_difference(counts, counts)[1:]))


def test_an_interval_of_few_images_or_of_a_class_in_few_is_unreliable():
    counts = some_counts(100)
    assert not unreliable(counts)
    assert unreliable(counts[:99])
    counts[:96, 0, 2] = 0
    assert unreliable(counts), "the class 2 is in four images"
    counts[95, 0, 2] = 1
    assert not unreliable(counts)
    counts[:, :, 3] = 0
    assert not unreliable(counts), "the class 3 is nowhere, and in no mean"
    counts[0, 1, 3] = 1
    assert unreliable(counts), "the class 3 is predicted, and in no image"


def test_iou_and_miou_of_counts_by_hand():
    counts = np.array([[4, 2, 0], [2, 4, 0], [1, 2, 0]])  # truth, prediction, both of three classes
    assert iou(counts)[:2].tolist() == [1 / 5, 2 / 4]
    assert math.isnan(iou(counts)[2])
    assert float(miou(counts)) == (1 / 5 + 2 / 4) / 2


def test_the_paired_difference_leaves_the_same_image_out_of_both():
    one, other = some_counts(37), some_counts(37, seed=9)
    other[:, 0] = one[:, 0]
    totals = one.sum(0), other.sum(0)
    difference = plain_miou(totals[0]) - plain_miou(totals[1])
    leave_one_out = [
        plain_miou(totals[0] - a) - plain_miou(totals[1] - b)
        for a, b in zip(one, other, strict=True)
    ]
    expected = (difference, *plain_interval(difference, leave_one_out))
    assert paired_difference(one, other) == pytest.approx(expected, rel=1e-6)


def test_pairing_sees_a_small_difference_that_separate_intervals_hide():
    one = some_counts(150)
    other = one.copy()
    other[:, 2] -= other[:, 2] // 50  # two in a hundred right pixels of every image are lost
    other_low, other_high = jackknife_interval(other)
    low, high = jackknife_interval(one)
    assert max(low, other_low) < min(high, other_high)
    difference, low, high = paired_difference(one, other)
    assert 0 < low < difference < high
    assert paired_difference(one, one) == (0, 0, 0)
    assert paired_difference(other, one) == (-difference, -high, -low)


def test_counts_of_other_images_are_not_paired():
    with pytest.raises(ValueError, match="not of the same images"):
        paired_difference(some_counts(3), some_counts(4))
