"""search=optuna, as a user calls it: pruned, killed, resumed."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import processes_of, start

optuna = pytest.importorskip("optuna")


class Study:
    """One search, called as a command in a folder of its own."""

    def __init__(self, folder: Path, tiny: list[str], *more: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.sweep = folder / "sweeps/study"
        lr = "optimizer.lr=tag(log, interval(1e-5, 1e-1))"
        self.command = ["train", "-m", *tiny, "search=optuna", "sweep.name=study", lr, *more]

    def run(self, *more: str) -> str:
        process = start(self.folder, *self.command, *more)
        out, err = process.communicate(timeout=400)
        assert process.returncode == 0, out + err
        return out

    def run_and_kill(self, trials: int) -> None:
        """Kill the sweep and all of its processes once so many trials have ended."""
        process = start(self.folder, *self.command)
        while self.ended() < trials:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        for _ in range(300):
            if not processes_of(self.folder):
                return
            time.sleep(0.1)
        raise AssertionError("a process outlived its sweep")

    def ended(self) -> int:
        """Count the trials that have ended, without Optuna: it would make the tables too."""
        database = self.sweep / "study.db"
        if not database.is_file():
            return 0
        query = "SELECT COUNT(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED', 'FAIL')"
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as known:
            try:
                return int(known.execute(query).fetchone()[0])
            except sqlite3.OperationalError:  # no such table yet
                return 0

    def trials(self) -> list[Any]:
        storage = f"sqlite:///{self.sweep / 'study.db'}"
        study = optuna.load_study(study_name="study", storage=storage)
        trials: list[Any] = study.trials
        return trials

    def table(self) -> list[dict[str, str]]:
        with (self.sweep / "sweep.csv").open(newline="") as file:
            return list(csv.DictReader(file))


SLOW = "+callbacks.slow={_target_:helpers.trouble.Slow,seconds:0.2}"


def status(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return content


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_bad_trial_is_pruned_with_a_checkpoint_and_resumed_by_hand(
    tmp_path: Path, tiny: list[str], processes: int
) -> None:
    more = ["trainer.max_epochs=12", "hydra.sweeper.n_trials=4", "logger=csv", SLOW]
    more += [f"trainer.devices={processes}", "data.batch_size=2", "trainer.threads=1"]
    study = Study(
        tmp_path, tiny, *more, "hydra.sweeper.pruner=asha", "hydra.sweeper.sampler=random"
    )
    out = study.run()
    rows = study.table()
    states = [trial.state.name for trial in study.trials()]
    assert [row["status"] for row in rows] == [
        {"COMPLETE": "finished", "PRUNED": "pruned"}[state] for state in states
    ]
    number = states.index("PRUNED")
    row, trial = rows[number], study.trials()[number]
    assert row["error"].endswith("epochs: SuccessiveHalvingPruner")
    assert row["error"] == trial.user_attrs["pruned"]
    assert row["folder"].rpartition("/")[2] in out
    folder = tmp_path / row["folder"]
    assert status(folder)["status"] == "pruned"
    assert status(folder)["error"] == row["error"]
    assert not (folder / "metrics.json").exists()
    with (folder / "metrics.csv").open(newline="") as file:
        epochs = [int(line["epoch"]) + 1 for line in csv.DictReader(file) if line["val/mIoU"]]
    assert max(epochs) < 12, "it was stopped"
    assert f"val/mIoU {trial.intermediate_values[max(trial.intermediate_values)]:.4f}" in out

    again = study.run()  # nothing is left to do
    assert "4 of 4 trials done, 0 to resume" in again
    assert [row["status"] for row in study.table()] == [row["status"] for row in rows]

    rate = f"optimizer.lr={trial.params['optimizer.lr']}"
    given = [one for one in study.command[2:] if one.partition("=")[0] not in NOT_A_RUNS]
    by_hand = start(tmp_path, "train", *given, rate, f"hydra.run.dir={folder}", "resume=true")
    out, err = by_hand.communicate(timeout=200)
    assert by_hand.returncode == 0, out + err
    assert f"resuming {folder}" in out
    assert status(folder)["status"] == "finished"
    assert (folder / "metrics.json").is_file()


NOT_A_RUNS = {
    *("search", "sweep.name", "optimizer.lr", "hydra.sweeper.n_trials", "hydra.sweeper.pruner"),
    "hydra.sweeper.sampler",
}


# With one job at a time, which trials are compared follows from the study alone.
PRUNED = ["hydra.launcher.n_jobs=1", "hydra.sweeper.pruner=asha", "trainer.max_epochs=8"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trials", "more", "statuses"),
    [
        (24, ["hydra.launcher.n_jobs=2"], {"finished"}),
        (12, PRUNED, {"finished", "pruned"}),
    ],
)
def test_a_search_that_is_killed_twice_ends_with_the_study_of_an_undisturbed_one(
    tmp_path: Path, tiny: list[str], trials: int, more: list[str], statuses: set[str]
) -> None:
    more = [f"hydra.sweeper.n_trials={trials}", "hydra.sweeper.sampler=random", *more]
    whole = Study(tmp_path / "whole", tiny, *more, "logger=csv")
    whole.run()
    parts = Study(tmp_path / "parts", tiny, *more, "logger=csv")
    parts.run_and_kill(trials // 5)
    parts.run_and_kill(trials // 2)
    parts.run()
    for name in ("state", "params", "value", "intermediate_values"):
        found, expected = (
            [getattr(trial, name) for trial in study.trials()] for study in (parts, whole)
        )
        assert found == expected, name
    assert {row["status"] for row in parts.table()} == statuses
