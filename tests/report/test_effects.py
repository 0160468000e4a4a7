"""What mattered, of runs whose effects are known."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from seglab.report import importance
from seglab.report.comparison import compare
from seglab.report.effects import effects
from seglab.report.record import RunRecord
from seglab.report.table import lines


def run(number: int, miou: float, **settings: object) -> RunRecord:
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    return RunRecord(
        Path(f"/runs/{number}"),
        f"run{number}",
        "finished",
        settings=keys,
        overrides=[f"{key}={value}" for key, value in keys.items()],
        metrics={"val/mIoU": miou},
        data={"train": "a", "val": "b"},
    )


def test_a_grid_of_two_settings_and_three_seeds() -> None:
    grid = itertools.product((0.1, 0.01, 0.001), ("a", "b", "c"), range(3))
    runs = [
        run(number, 0.3 + 0.1 * (lr == 0.01) + 0.02 * (net == "b") + 0.001 * seed,
            optimizer__lr=lr, model__name=net, seed=seed)
        for number, (lr, net, seed) in enumerate(grid)
    ]  # fmt: skip
    comparison = compare(runs)
    assert comparison.effects is not None
    first, second = comparison.effects.effects
    assert (first.key, second.key) == ("optimizer.lr", "model.name")
    assert first.share > 0.9 > 0.1 > second.share > comparison.effects.seed > 0
    assert [level.text for level in first.levels] == ["0.001", "0.01", "0.1"]
    assert [level.runs for level in first.levels] == [9, 9, 9]
    assert first.levels[1].mean == pytest.approx(0.4 + 0.02 / 3 + 0.001)
    assert first.levels[1].low < first.levels[1].mean < first.levels[1].high
    text = list(lines(comparison))
    (start,) = [place for place, line in enumerate(text) if line.startswith("what mattered")]
    assert "over 27 runs" in text[start]
    assert "optimizer.lr  (0.001: 0.30" in text[start + 1]
    assert text[start + 3].endswith("within equal settings: the seed")


def test_numbers_of_a_search_are_compared_in_four_ranges() -> None:
    runs = [run(n, 0.01 * n, optimizer__lr=10 ** (-n / 6), seed=0) for n in range(24)]
    found = effects(runs, ["optimizer.lr"])
    assert found is not None
    (effect,) = found.effects
    assert [level.runs for level in effect.levels] == [6] * 4
    assert effect.share > 0.9
    assert math.isnan(found.seed), "no two runs have equal settings"

    twice = [
        run(2 * n + seed, 0.01 * n + 1e-5 * seed, optimizer__lr=10 ** (-n / 6), seed=seed)
        for n in range(24)
        for seed in range(2)
    ]
    found = effects(twice, ["optimizer.lr"])
    assert found is not None
    assert 0 < found.seed < 1e-6, "the seed's share is within equal values, not within a range"


def test_nothing_is_said_of_too_few_runs() -> None:
    assert effects([run(n, 0.1 * n, optimizer__lr=n) for n in range(3)], ["optimizer.lr"]) is None
    many = [run(n, 0.1 * n, a=n % 2, b=n // 2, c=n) for n in range(4)]
    assert effects(many, ["a", "b", "c"]) is None, "as many unknowns as runs"


def test_a_forests_shares_where_scikit_learn_is_installed() -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("optuna")
    runs = [
        run(n, (0.5 if lr < 3e-3 else 0.2) + 0.01 * (net == "b"), optimizer__lr=lr, net=net)
        for n, (lr, net) in enumerate(itertools.product(np.logspace(-4, -1, 20).tolist(), "ab"))
    ]
    found = effects(runs, ["optimizer.lr", "net"])
    assert found is not None
    shares = {effect.key: effect.fanova for effect in found.effects}
    assert shares["optimizer.lr"] > 0.8 > 0.1 > shares["net"] >= 0
    assert any("(fANOVA " in line for line in lines(compare(runs)))


def test_without_scikit_learn_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "find_spec", lambda name: None)
    text = list(lines(compare([run(n, 0.1 * n, optimizer__lr=n % 3) for n in range(6)])))
    assert "  (fANOVA needs optuna and scikit-learn)" in text
