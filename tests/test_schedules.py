"""The learning rate: end points, formulas at chosen steps, and never outside 0..1."""

import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.optim import SGD

from seglab.schedules import accumulation_factor, factor, lr_factor, warmup_decay

NAMES = ("poly", "cosine", "constant")


def make(name: str = "poly", **changes: Any) -> dict[str, Any]:
    values = {"power": 0.9, "min_factor": 0.0, "warmup_steps": 0, "warmup_factor": 0.1}
    return {"name": name, **values, **changes}


@pytest.mark.parametrize("min_factor", [0.0, 0.25])
@pytest.mark.parametrize("name", NAMES)
def test_end_points(name: str, min_factor: float) -> None:
    config = make(name, min_factor=min_factor)
    assert factor(0, 100, **config) == 1
    end = 1 if name == "constant" else min_factor
    assert factor(100, 100, **config) == pytest.approx(end, abs=1e-15)
    assert factor(1000, 100, **config) == factor(100, 100, **config)  # it does not turn around


@pytest.mark.parametrize("step", [1, 25, 50, 99])
def test_formulas(step: int) -> None:
    t = step / 100
    assert factor(step, 100, **make("poly")) == pytest.approx((1 - t) ** 0.9)
    assert factor(step, 100, **make("poly", power=2.0)) == pytest.approx((1 - t) ** 2)
    assert factor(step, 100, **make("cosine")) == pytest.approx(0.5 * (1 + math.cos(math.pi * t)))
    assert factor(step, 100, **make("constant", min_factor=0.5)) == 1
    poly = factor(step, 100, **make("poly", min_factor=0.2))
    assert poly == pytest.approx(0.2 + 0.8 * (1 - t) ** 0.9)
    cosine = factor(step, 100, **make("cosine", min_factor=0.2))
    assert cosine == pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi * t)))


@pytest.mark.parametrize("name", NAMES)
def test_the_warm_up_is_linear_and_the_rest_follows_it(name: str) -> None:
    config = make(name, warmup_steps=10)
    rising = [factor(step, 110, **config) for step in range(11)]
    assert rising == pytest.approx([0.1 + 0.09 * step for step in range(11)])
    plain = make(name)
    for step in (0, 1, 50, 100):
        assert factor(10 + step, 110, **config) == factor(step, 100, **plain)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_shorter_than_its_warm_up_only_rises(name: str) -> None:
    config = make(name, warmup_steps=10, warmup_factor=0.0)
    assert [factor(step, 5, **config) for step in range(5)] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4]
    )
    assert 0 <= factor(10, 10, **config) <= 1
    assert 0 <= factor(11, 5, **config) <= 1


configs = st.builds(
    dict[str, Any],
    name=st.sampled_from(NAMES),
    power=st.floats(0.01, 5),
    min_factor=st.floats(0, 1),
    warmup_steps=st.integers(0, 50),
    warmup_factor=st.floats(0, 1),
)


@settings(max_examples=200, deadline=None)
@given(configs, st.integers(0, 300), st.integers(1, 200))
def test_always_a_share_that_rises_and_then_falls(
    config: dict[str, Any], step: int, total: int
) -> None:
    here, there = factor(step, total, **config), factor(step + 1, total, **config)
    assert 0 <= here <= 1
    if step + 1 <= config["warmup_steps"]:
        assert there >= here
    else:
        assert there <= here
    (rate,) = warmup_decay(SGD([torch.zeros(1)], lr=1.0), total, **config).lr_lambdas
    assert rate(step) == here


@settings(max_examples=50, deadline=None)
@given(configs, st.integers(2, 200))
def test_poly_and_cosine_really_fall(config: dict[str, Any], total: int) -> None:
    assume(config["name"] != "constant" and config["min_factor"] < 0.9)
    total += config["warmup_steps"]
    assert factor(total, total, **config) < factor(config["warmup_steps"], total, **config)


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_the_rate_follows_the_number_of_processes_only_as_chosen(rule: str, factor: float) -> None:
    assert lr_factor(rule, 4) == factor
    assert lr_factor(rule, 1) == 1


@given(st.integers(1, 40), st.integers(1, 9))
def test_batches_of_a_step_count_equally_and_so_do_steps(batches: int, group: int) -> None:
    """Lightning divides each batch's loss by ``group``."""
    shares = [accumulation_factor(batch, batches, group) / group for batch in range(batches)]
    for first in range(0, batches, group):
        step = shares[first : first + group]
        assert step == pytest.approx([1 / len(step)] * len(step), rel=1e-15)
    assert accumulation_factor(batches, math.inf, group) == 1
