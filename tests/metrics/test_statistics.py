"""Corrected p-values, shares of variance and Student's quantiles, each against its definition."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seglab.metrics.counts import jackknife_interval, miou, paired_test
from seglab.metrics.statistics import (
    Student,
    holm,
    mean_interval,
    over_seeds_and_images,
    variance_shares,
)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_steps_down_as_its_definition_does(p_values: list[float]) -> None:
    for level in (0.01, 0.05, 0.3):
        left = sorted(range(len(p_values)), key=lambda index: p_values[index])
        rejected = set()
        while left and p_values[left[0]] * len(left) <= level:
            rejected.add(left.pop(0))
        found = {index for index, p_value in enumerate(holm(p_values)) if p_value <= level}
        assert found == rejected


def test_the_shares_of_a_balanced_grid_are_its_classic_sums_of_squares() -> None:
    rng = np.random.default_rng(0)
    grid = list(itertools.product(range(3), range(3), range(3)))  # two settings and a seed
    values = np.array([a**2 - b / 2 + a * b / 9 + rng.normal(0, 0.2) for a, b, _ in grid])
    cells = values.reshape(3, 3, 3)
    total = ((cells - cells.mean()) ** 2).sum()
    first = 9 * ((cells.mean((1, 2)) - cells.mean()) ** 2).sum()
    second = 9 * ((cells.mean((0, 2)) - cells.mean()) ** 2).sum()
    within = ((cells - cells.mean(2, keepdims=True)) ** 2).sum()
    factors = [[a for a, _, _ in grid], [b for _, b, _ in grid]]
    shares, seed = variance_shares(values.tolist(), factors, [cell[:2] for cell in grid])
    assert shares == pytest.approx([first / total, second / total])
    assert seed == pytest.approx(within / total)
    assert sum(shares) + seed < 1, "the rest is their interaction"


def test_settings_that_vary_together_are_not_counted_twice() -> None:
    values = [0.1, 0.1, 0.4, 0.4]
    same = ["a", "a", "b", "b"]
    assert variance_shares(values, [same], same)[0] == pytest.approx([1])
    assert variance_shares(values, [same, same], same)[0] == pytest.approx([0, 0])
    assert all(map(math.isnan, variance_shares([0.5] * 4, [same], same)[0]))


@pytest.mark.parametrize(
    ("degrees", "probability", "expected"),
    # Tables of Student's distribution, such as NIST's e-Handbook, section 1.3.6.7.2.
    [(1, 0.975, 12.706), (2, 0.975, 4.303), (5, 0.95, 2.015), (30, 0.995, 2.750)],
)
def test_students_quantiles(degrees: int, probability: float, expected: float) -> None:
    assert Student(degrees).quantile(probability) == pytest.approx(expected, abs=6e-4)


def test_students_quantile_is_normal_for_many_degrees() -> None:
    assert Student(100_000).quantile(0.975) == pytest.approx(NormalDist().inv_cdf(0.975), abs=1e-3)


def test_the_interval_of_a_mean_contains_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(600):
        _, low, high = mean_interval(rng.normal(0.3, 0.1, 3).tolist())
        inside += low <= 0.3 <= high
    assert 0.92 < inside / 600 < 0.975
    assert math.isnan(mean_interval([0.5])[1])


@given(st.integers(0, 2**32 - 1))
def test_a_p_value_is_the_level_at_which_the_interval_touches_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(50, 200, (40, 3))
    both = [(truth * rng.uniform(0.4, 0.9 + shift, truth.shape)).astype(int) for shift in (0, 0.05)]
    one, other = (np.stack([truth, truth, hits], 1) for hits in both)
    difference, _, _, p_value = paired_test(one, other)
    assert 0 <= p_value <= 1
    if 1e-9 < p_value < 1:
        _, low, high, _ = paired_test(one, other, confidence=1 - p_value)
        assert min(abs(low), abs(high)) < 1e-6
        assert math.copysign(1, difference) == math.copysign(1, low + high)


def test_equal_runs_are_rarely_told_apart_although_the_best_is_chosen_from_them() -> None:
    """Of 10 equal runs, corrected for all 45 pairs; for the 9 with the best alone it is 14 %."""
    rng = np.random.default_rng(0)
    wrong = {45: 0, 9: 0}
    for _ in range(2000):
        scores = np.sort(rng.normal(size=10))
        z_values = (scores[-1] - scores[:-1]) / math.sqrt(2)
        p_values = [2 * (1 - NormalDist().cdf(z)) for z in z_values]
        for count in wrong:
            wrong[count] += min(holm(p_values, count)) <= 0.05
    assert wrong[45] / 2000 <= 0.05 < 0.1 < wrong[9] / 2000


def seeds(
    rng: np.random.Generator, number: int, images: int, seed: float, skill: float = 0.0
) -> list[np.ndarray]:
    """Return counts of two classes in images, for seeds that are better or worse as a whole.

    Images have their own difficulty, which the seeds share, and each seed its own luck in each.
    """
    truth = np.stack([np.full(images, 600), np.full(images, 400)], 1)
    hard = rng.normal(0, 0.5, (images, 1))
    runs = []
    for _ in range(number):
        logit = 1.5 + skill + seed * rng.normal() + hard + rng.normal(0, 0.3, (images, 2))
        hits = rng.binomial(truth, 1 / (1 + np.exp(-logit)))
        missed = truth - hits
        runs.append(np.stack([truth, hits + missed[:, ::-1], hits], 1))
    return runs


def test_the_interval_over_seeds_and_images_contains_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for seed in (0.0, 0.05, 0.2):
        many = np.concatenate(seeds(rng, 1, 200_000, 0.0))
        truth = np.mean([mean_over(rng, seed) for _ in range(400)]) if seed else miou(many.sum(0))
        inside = images_alone = 0
        for _ in range(300):
            runs = seeds(rng, 3, 100, seed)
            _, low, high, _ = over_seeds_and_images(runs)
            inside += low <= truth <= high
            low, high = jackknife_interval(runs[0])
            images_alone += low <= truth <= high
        assert inside / 300 >= 0.92, seed
        assert seed < 0.2 or images_alone / 300 < 0.7, "one run does not know the seed's variance"


def mean_over(rng: np.random.Generator, seed: float) -> float:
    """Return the mIoU of one seed over very many images."""
    return float(miou(seeds(rng, 1, 5000, seed)[0].sum(0)))


def test_equal_recipes_are_rarely_told_apart_and_a_better_one_is() -> None:
    rng = np.random.default_rng(1)
    wrong = right = 0
    for _ in range(300):
        runs = seeds(rng, 6, 100, 0.1)
        wrong += over_seeds_and_images(runs[:3], runs[3:])[3] < 0.05
    for _ in range(30):
        better, plain = seeds(rng, 3, 100, 0.05, 0.6), seeds(rng, 3, 100, 0.05)
        _, low, high, p_value = over_seeds_and_images(better, plain)
        right += p_value < 0.05
        assert (p_value < 0.05) == (low > 0 or high < 0)
    assert wrong / 300 <= 0.07
    assert right > 20


def test_a_mean_over_equal_seeds_has_the_interval_of_its_images() -> None:
    (run,) = seeds(np.random.default_rng(2), 1, 400, 0.0)
    _, low, high, _ = over_seeds_and_images([run, run, run])
    assert (low, high) == pytest.approx(jackknife_interval(run), abs=2e-4)
    assert math.isnan(over_seeds_and_images([run])[1]), "one seed tells nothing of seeds"
