"""search=optuna against a launcher that answers at once: completing, failing, going on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from seglab.config.overrides import parse
from seglab.errors import ConfigError
from seglab.run.status import FAILED, FINISHED, INTERRUPTED
from seglab.sweep.board import Outcome
from seglab.sweep.engine import Source, Sweep
from seglab.sweep.jobs import Job

optuna = pytest.importorskip("optuna")

from seglab.sweep.search.ranges import distribution  # noqa: E402 (needs Optuna)
from seglab.sweep.search.study import Search  # noqa: E402

OPTIONS: dict[str, Any] = {
    "direction": "maximize",
    "objective": "val/mIoU",
    "storage": None,
    "seed": 0,
    "sampler": "tpe",
    "n_startup_trials": 10,
    "pruner": None,
    "retry": True,
}


class Answers:
    """A launcher whose jobs end as ``judge`` says: a value, an error, or None for interrupted."""

    def __init__(self, judge: Callable[[dict[str, str]], Any]) -> None:
        self.judge = judge
        self.seen: list[dict[str, str]] = []

    def __call__(self, sweep: Sweep, source: Source) -> None:
        """Two jobs at a time, which end in their order."""
        running: list[Job] = []
        while True:
            while len(running) < 2 and (job := source.next()) is not None:
                running.append(job)
            if not running:
                return
            source.end(self.answer(running.pop(0)))

    def answer(self, job: Job) -> Outcome:
        values = dict(one.split("=", 1) for one in job.overrides)
        self.seen.append(values)
        said = self.judge(values)
        status = FINISHED if isinstance(said, float) else INTERRUPTED if said is None else FAILED
        metrics = {"val/mIoU": said} if status == FINISHED else {}
        return Outcome(job, status, metrics, 1.0, str(said or ""))


def complete(
    folder: Path, answers: Answers, n_trials: int, more: Sequence[str] = (), **options: Any
) -> Any:
    console = options.pop("console", Console(quiet=True))
    sweep = Sweep(folder / "study", ["optimizer.lr"], console, answers)
    lr = "optimizer.lr=tag(log, interval(1e-4, 1e-1))"
    given = parse([lr, "seed=7", "trainer.max_epochs=4", *more], several=True)
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


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"more": ["model.net.channels=64"]}, "of model.net.channels=32, and left alone"),
        ({"objective": "val/pixel_accuracy"}, "of hydra.sweeper.objective=['val/mIoU'], and"),
        ({"more": ["data.flip=choice(0.1,0.2)"]}, "of data.flip=0.5, range of data.flip=None, and"),
    ],
)
def test_other_settings_objectives_or_ranges_are_another_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, Any], told: str
) -> None:
    class Metrics(Answers):
        def answer(self, job: Job) -> Outcome:
            both = dict.fromkeys(("val/mIoU", "val/pixel_accuracy"), 0.5)
            return replace(super().answer(job), metrics=both)

    complete(tmp_path, Metrics(lambda values: 0.5), 2)
    again = Metrics(lambda values: 0.5)
    complete(tmp_path, again, 2, ["data.eval_batch_size=2"])
    assert again.seen == [], "without effect on a result"
    other = Metrics(lambda values: 0.5)
    complete(tmp_path, other, 2, console=Console(width=500), **more)
    assert len(other.seen) == 2
    assert f"study study: {told}" in capsys.readouterr().out


def test_another_program_may_make_the_tables_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = optuna.storages._rdb.models.BaseModel.metadata
    create = tables.create_all

    def create_after_another(engine: Any) -> None:
        monkeypatch.setattr(tables, "create_all", create)
        create(engine)
        create(engine, checkfirst=False)

    monkeypatch.setattr(tables, "create_all", create_after_another)
    study = complete(tmp_path, Answers(lambda values: 0.5), 2)
    assert len(study.trials) == 2


def test_failed_trials_pass_and_interrupted_ones_are_taken_up_with_their_values(
    tmp_path: Path,
) -> None:
    first = Answers(lambda values: None if len(first.seen) == 2 else ValueError("no"))
    study = complete(tmp_path, first, 3, retry=False)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "RUNNING", "FAIL"]
    second = Answers(lambda values: 0.5)
    study = complete(tmp_path, second, 3, retry=False)
    assert second.seen == [first.seen[1]], "the same parameters again, and nothing else"
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "FAIL"]
    assert study.best_value == 0.5


def test_failed_trials_are_run_again_until_they_are_accepted(tmp_path: Path) -> None:
    first = Answers(lambda values: ValueError("no"))
    study = complete(tmp_path, first, 2)
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "RUNNING"]
    second = Answers(lambda values: 0.5 if len(second.seen) == 1 else ValueError("no"))
    study = complete(tmp_path, second, 2)
    assert second.seen == first.seen
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "RUNNING"]
    third = Answers(lambda values: 0.5)
    study = complete(tmp_path, third, 2, retry=False)
    assert third.seen == []
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]


@pytest.mark.parametrize("cuts", [(), (1,), pytest.param((2, 5), marks=pytest.mark.slow)])
def test_a_random_trial_is_a_function_of_seed_and_number_whatever_the_interruptions(
    tmp_path: Path, cuts: tuple[int, ...]
) -> None:
    for total in (*cuts, 7):
        answers = Answers(lambda values: float(values["optimizer.lr"]))
        study = complete(tmp_path, answers, total, sampler="random", seed=3)
    expected = []
    for number in range(7):
        seed = int(np.random.SeedSequence((3, number)).generate_state(1)[0])
        other = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        expected.append(other.ask().suggest_float("optimizer.lr", 1e-4, 1e-1, log=True))
    assert [trial.params["optimizer.lr"] for trial in study.trials] == pytest.approx(expected)


def test_two_objectives_have_a_front(tmp_path: Path) -> None:
    class Two(Answers):
        def answer(self, job: Job) -> Outcome:
            rate = float(dict(one.split("=") for one in job.overrides)["optimizer.lr"])
            metrics = {"val/mIoU": rate, "speed/images_per_second": 1 - rate}
            return Outcome(job, FINISHED, metrics, 1.0, "")

    both: dict[str, Any] = {
        "objective": ["val/mIoU", "speed/images_per_second"],
        "direction": ["maximize", "maximize"],
    }
    study = complete(tmp_path, Two(lambda values: 0.0), 4, **both)
    assert len(study.best_trials) == 4, "none is better in both"
    recorded = json.loads((tmp_path / "study/objectives.json").read_text())
    assert recorded == dict.fromkeys(both["objective"], "maximize"), "for seglab compare"
    with pytest.raises(ConfigError, match="pruner=asha: Optuna prunes by one objective only"):
        complete(tmp_path, Two(lambda values: 0.0), 4, **both, pruner="asha")
    with pytest.raises(ConfigError, match="direction: 1 for 2 objectives"):
        complete(tmp_path, Two(lambda values: 0.0), 4, objective=both["objective"])
    with pytest.raises(ConfigError, match="direction: study study has"):
        complete(tmp_path, Answers(lambda values: 0.5), 5)


class Histories(Answers):
    """Jobs whose validations are written before they end: epoch E of rate r scores r * E."""

    epochs = 4

    def answer(self, job: Job) -> Outcome:
        rate = float(dict(one.split("=") for one in job.overrides)["optimizer.lr"])
        job.folder.mkdir(parents=True, exist_ok=True)
        rows = [f"{epoch},{epoch},{rate * (epoch + 1)}" for epoch in range(self.epochs)]
        text = "\n".join(["step,epoch,val/mIoU", *rows])
        (job.folder / "metrics.csv").write_text(f"{text}\n")
        return Outcome(job, FINISHED, {"val/mIoU": rate * self.epochs}, 1.0, "")


def test_what_a_run_has_logged_decides_whether_it_is_pruned_not_when_it_was_seen(
    tmp_path: Path,
) -> None:
    answers = Histories(lambda values: 0.0)
    study = complete(tmp_path, answers, 12, sampler="random", pruner="median")
    # Optuna's median pruner: from the sixth trial on, below the median of the complete ones.
    complete_rates: list[float] = []
    for trial in study.trials:
        rate = trial.params["optimizer.lr"]
        worse = len(complete_rates) >= 5 and rate < np.median(complete_rates)
        assert trial.state.name == ("PRUNED" if worse else "COMPLETE"), trial.number
        complete_rates += [] if worse else [rate]
    (pruned, *_) = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    assert "val/mIoU" in pruned.user_attrs["pruned"]
    assert "after 1 epochs: MedianPruner" in pruned.user_attrs["pruned"]


class Killed(Histories):
    """A search that is killed right after the first decision to prune."""

    def __call__(self, sweep: Sweep, source: Source) -> None:
        while (job := source.next()) is not None:
            outcome = self.answer(job)
            self.reason = source.watch(job)
            if self.reason:
                raise KeyboardInterrupt
            source.end(outcome)


def test_a_decision_to_prune_survives_a_kill(tmp_path: Path) -> None:
    asha = {"_target_": "optuna.pruners.SuccessiveHalvingPruner", "min_resource": 1}
    first = Killed(lambda values: 0.0)
    with pytest.raises(KeyboardInterrupt):
        complete(tmp_path, first, 12, sampler="random", pruner=asha)
    assert "after 1 epochs: SuccessiveHalvingPruner" in first.reason
    study = complete(tmp_path, Histories(lambda values: 0.0), 12, sampler="random", pruner=asha)
    undisturbed = complete(
        tmp_path / "whole", Histories(lambda values: 0.0), 12, sampler="random", pruner=asha
    )
    for name in ("state", "user_attrs", "intermediate_values"):
        found, expected = ([getattr(t, name) for t in s.trials] for s in (study, undisturbed))
        assert found == expected, name


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_a_named_pruner_leaves_the_first_eighth_of_a_run_alone(tmp_path: Path, name: str) -> None:
    answers = Histories(lambda values: 0.0)
    answers.epochs = 16
    more = ["trainer.max_epochs=16"]
    study = complete(tmp_path, answers, 16, more, sampler="random", pruner=name)
    pruned = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    assert min(max(trial.intermediate_values) for trial in pruned) == 2


def test_pruners_need_three_validations_and_a_name_that_exists(tmp_path: Path) -> None:
    answers = Answers(lambda values: 0.5)
    with pytest.raises(ConfigError, match=r"check_val_every_n_epoch=2: a pruner needs 3 valid"):
        complete(tmp_path, answers, 1, pruner="asha", more=["trainer.check_val_every_n_epoch=2"])
    with pytest.raises(ConfigError, match=r"pruner=best: must be one of asha, hyperband, median"):
        complete(tmp_path, answers, 1, pruner="best")
    with pytest.raises(ConfigError, match=r"pruner: .*percentile"):
        complete(tmp_path, answers, 1, pruner={"_target_": "optuna.pruners.PercentilePruner"})
    with pytest.raises(ConfigError, match="not one of Optuna's pruners"):
        complete(tmp_path, answers, 1, pruner={"_target_": "collections.Counter"})
    percentile = {"_target_": "optuna.pruners.PercentilePruner", "percentile": 25.0}
    complete(tmp_path, answers, 1, pruner=percentile)


def test_a_diverged_trial_is_pruned_and_its_reason_kept(tmp_path: Path) -> None:
    class Diverging(Answers):
        def answer(self, job: Job) -> Outcome:
            job.folder.mkdir(parents=True)
            status = {"status": "failed", "diverged": True, "error": "train/loss is nan"}
            (job.folder / "status.json").write_text(json.dumps(status))
            return Outcome(job, FAILED, {}, 1.0, "train/loss is nan")

    study = complete(tmp_path, Diverging(lambda values: None), 1)
    assert study.trials[0].state.name == "PRUNED"
    assert study.trials[0].user_attrs["error"] == "train/loss is nan"


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
    with pytest.raises(ConfigError, match=r"objective=val/best: no run has this metric; nearest"):
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
