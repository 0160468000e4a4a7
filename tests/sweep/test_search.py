"""search=optuna against a launcher that answers at once: completing, failing, going on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from seglab.config.overrides import parse
from seglab.errors import ConfigError
from seglab.run.status import FAILED, FINISHED, INTERRUPTED
from seglab.sweep.board import Outcome
from seglab.sweep.engine import Sweep
from seglab.sweep.jobs import Job

optuna = pytest.importorskip("optuna")

from seglab.sweep.search import Search, distribution  # noqa: E402 (needs Optuna)

OPTIONS: dict[str, Any] = {
    "direction": "maximize",
    "objective": "val/mIoU",
    "storage": None,
    "seed": 0,
    "n_startup_trials": 10,
}


class Answers:
    """A launcher whose jobs end as ``judge`` says: a value, an error, or None for interrupted."""

    def __init__(self, judge: Callable[[dict[str, str]], Any]) -> None:
        self.judge = judge
        self.seen: list[dict[str, str]] = []

    def __call__(self, sweep: Sweep, jobs: Sequence[Job]) -> list[Outcome]:
        return [self.answer(job) for job in jobs]

    def answer(self, job: Job) -> Outcome:
        values = dict(one.split("=", 1) for one in job.overrides)
        self.seen.append(values)
        said = self.judge(values)
        status = FINISHED if isinstance(said, float) else INTERRUPTED if said is None else FAILED
        metrics = {"val/mIoU": said} if status == FINISHED else {}
        return Outcome(job, status, metrics, 1.0, str(said or ""))


def complete(folder: Path, answers: Answers, n_trials: int, **options: Any) -> Any:
    sweep = Sweep(folder / "study", ["optimizer.lr"], Console(quiet=True), answers, slots=2)
    given = parse(["optimizer.lr=tag(log, interval(1e-4, 1e-1))", "seed=7"], several=True)
    Search(sweep, given, n_trials=n_trials, **{**OPTIONS, **options}).run()
    return optuna.load_study(
        study_name="study", storage=f"sqlite:///{folder / 'study' / 'study.db'}"
    )


def test_a_second_call_completes_the_study(tmp_path: Path) -> None:
    def lr(values: dict[str, str]) -> float:
        return float(values["optimizer.lr"])

    first = Answers(lr)
    complete(tmp_path, first, 3)
    assert len(first.seen) == 3
    assert all(values["seed"] == "7" for values in first.seen)
    second = Answers(lr)
    study = complete(tmp_path, second, 5)
    assert len(second.seen) == 2
    rates = [trial.params["optimizer.lr"] for trial in study.trials]
    assert len(set(rates)) == 5, "the sampler did not begin anew"
    assert study.best_value == max(rates)
    third = Answers(lr)
    complete(tmp_path, third, 5)
    assert third.seen == []


def test_failed_trials_pass_and_interrupted_ones_are_taken_up_with_their_values(
    tmp_path: Path,
) -> None:
    first = Answers(lambda values: None if len(first.seen) == 2 else ValueError("no"))
    study = complete(tmp_path, first, 3)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "RUNNING", "FAIL"]
    second = Answers(lambda values: 0.5)
    study = complete(tmp_path, second, 3)
    assert second.seen == [first.seen[1]], "the same parameters again, and nothing else"
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "FAIL"]
    assert study.best_value == 0.5


def test_trials_on_other_data_are_another_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seglab.sweep.jobs import Identities

    data = {"train": "a" * 64, "val": "b" * 64}
    monkeypatch.setattr(Identities, "of", lambda self, config: dict(data))
    for digest, trials, run in (("a", 2, 2), ("c", 2, 2), ("c", 3, 1), ("a", 2, 0)):
        data["train"] = digest * 64
        answers = Answers(lambda values: 0.5)
        complete(tmp_path, answers, trials)
        assert len(answers.seen) == run
    names = optuna.get_all_study_names(f"sqlite:///{tmp_path / 'study' / 'study.db'}")
    assert len(names) == 2


def test_a_number_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"objective=val/best: not in metrics.json; there is val"):
        complete(tmp_path, Answers(lambda values: 0.5), 1, objective="val/best")
    with pytest.raises(ConfigError, match="direction=up"):
        complete(tmp_path, Answers(lambda values: 0.5), 1, direction="up")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x=choice(a,b)", "CategoricalDistribution(choices=('a', 'b'))"),
        ("x=1,2", "CategoricalDistribution(choices=(1, 2))"),
        ("x=range(1,9,2)", "IntDistribution(high=7, log=False, low=1, step=2)"),
        ("x=range(0.0,1.0,0.25)", "FloatDistribution(high=0.75, log=False, low=0.0, step=0.25)"),
        ("x=interval(1,9)", "FloatDistribution(high=9.0, log=False, low=1.0, step=None)"),
        ("x=int(interval(1,9))", "IntDistribution(high=9, log=False, low=1, step=1)"),
        (
            "x=tag(log, interval(0.1,9))",
            "FloatDistribution(high=9.0, log=True, low=0.1, step=None)",
        ),
    ],
)
def test_hydras_ranges(line: str, expected: str) -> None:
    (override,) = parse([line], several=True)
    assert str(distribution(override)) == expected


@pytest.mark.parametrize("line", ["x=tag(log, interval(0,1))", "x=interval(2,1)", "x=glob(*)"])
def test_ranges_that_optuna_cannot_take(line: str) -> None:
    (override,) = parse([line], several=True)
    with pytest.raises(ConfigError, match=r"^x="):
        distribution(override)
