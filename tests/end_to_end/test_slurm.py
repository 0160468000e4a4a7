"""A sweep on a real SLURM cluster, of which one job is preempted."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from helpers.processes import start

pytestmark = pytest.mark.slurm


@pytest.fixture(autouse=True)
def _cluster() -> None:
    if shutil.which("srun") is None or shutil.which("sinfo") is None:
        pytest.skip("no SLURM on this machine: srun is not there")
    answer = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, check=False)
    if answer.returncode != 0 or not answer.stdout.strip():
        pytest.skip(f"no SLURM cluster runs: {answer.stderr.strip()}; .ci/slurm starts one")


def preempted(folder: Path, arguments: list[str], timeout: float) -> Path:
    """Preempt the first job of a sweep, wait for all of it, and return that job's folder."""
    sweep = start(folder, "train", "-m", *arguments)
    try:
        number, job = first_saved(folder / "sweeps/study", sweep)
        subprocess.run(["scancel", "--signal=USR2", number], check=True)
        out, err = sweep.communicate(timeout=timeout)
    finally:
        sweep.kill()
    log = (job / "log.txt").read_text()
    assert sweep.returncode == 0, out + err + log
    assert "Caught signal SIGUSR2" in log, "submitit was asked to queue it again"
    return job


@pytest.mark.slow
def test_a_preempted_job_of_a_sweep_is_queued_again_and_goes_on(
    tmp_path: Path, tiny: list[str]
) -> None:
    arguments = ["experiments=smoke", *tiny, "seed=0,1,2,3", "trainer.max_epochs=40"]
    arguments += ["trainer.threads=1", "sweep.name=study", "hydra/launcher=slurm"]
    arguments += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=30"]
    folder = preempted(tmp_path, arguments, timeout=400)
    log = (folder / "log.txt").read_text()
    with (tmp_path / "sweeps/study/sweep.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["finished"] * 4
    for epoch in range(1, 41):
        assert log.count(f"epoch {epoch:>2}/40 ") == 1, "it did not go on where it was"
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_a_detached_sweep_is_left_shown_collected_and_never_submitted_twice(
    tmp_path: Path, tiny: list[str]
) -> None:
    arguments = ["train", "-m", *tiny, "seed=0,1", "trainer.max_epochs=10", "trainer.threads=1"]
    arguments += ["+callbacks.slow={_target_:helpers.trouble.Slow,seconds:0.5}", "logger=csv"]
    arguments += ["sweep.name=study", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1"]

    def call(*more: str) -> tuple[str, list[str]]:
        process = start(tmp_path, *arguments, *more)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
        with (tmp_path / "sweeps/study/sweep.csv").open(newline="") as file:
            return out, [row["status"] for row in csv.DictReader(file)]

    out, statuses = call("hydra.launcher.detach=true")
    assert statuses == ["submitted"] * 2
    assert "2 jobs submitted; rerun the same command" in out
    out, statuses = call("hydra.launcher.detach=true")
    assert statuses == ["submitted"] * 2
    out, statuses = call()
    assert statuses == ["finished"] * 2
    assert len(list((tmp_path / "sweeps/study/slurm").glob("*_submitted.pkl"))) == 2
    out, statuses = call("hydra.launcher.detach=true")
    assert statuses == ["finished"] * 2


@pytest.mark.slow
def test_a_search_of_data_parallel_jobs_is_pruned_and_preempted(
    tmp_path: Path, tiny: list[str]
) -> None:
    arguments = ["experiments=smoke", *tiny, "trainer.max_epochs=30", "data.batch_size=2"]
    arguments += ["trainer.devices=2", "trainer.threads=1", "sweep.name=study", "logger=csv"]
    arguments += ["+callbacks.slow={_target_:helpers.trouble.Slow,seconds:0.2}"]
    arguments += ["search=optuna", "hydra.sweeper.n_trials=5", "hydra.sweeper.sampler=random"]
    arguments += ["hydra.sweeper.pruner=asha", "optimizer.lr=tag(log, interval(1e-5, 1e-1))"]
    arguments += ["hydra/launcher=slurm", "hydra.launcher.n_jobs=1"]
    arguments += ["hydra.launcher.cpus_per_task=2", "hydra.launcher.timeout_min=30"]
    folder = preempted(tmp_path, arguments, timeout=500)
    with (tmp_path / "sweeps/study/sweep.csv").open(newline="") as file:
        statuses = [row["status"] for row in csv.DictReader(file)]
    assert len(statuses) == 5
    assert {*statuses} == {"finished", "pruned"}
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"


def first_saved(sweep: Path, process: subprocess.Popen[str]) -> tuple[str, Path]:
    """Wait for a job's first checkpoint; return SLURM's number of the job, and its folder."""
    for _ in range(2000):
        assert process.poll() is None, process.communicate()
        for saved in sweep.glob("*/checkpoints/last.ckpt"):
            folder = saved.parents[1]
            for submitted in (sweep / "slurm").glob("*_submitted.pkl"):
                if folder.name.encode() in submitted.read_bytes():
                    return submitted.name.split("_")[0], folder
        time.sleep(0.1)
    raise TimeoutError


@pytest.mark.slow
def test_the_tasks_of_a_job_are_queued_again_and_resumed_together(
    tmp_path: Path, tiny: list[str]
) -> None:
    job = [*tiny, "trainer.threads=1", "trainer.max_epochs=30", "data.batch_size=2"]
    job += ["+callbacks.slow={_target_:helpers.trouble.Slow,seconds:0.3}", "logger=csv"]
    job += ["+callbacks.witness={_target_:helpers.witness.Witness}"]
    whole = start(tmp_path, "train", *job, "trainer.devices=2", "hydra.run.dir=whole")
    out, err = whole.communicate(timeout=300)
    assert whole.returncode == 0, out + err
    arguments = ["seed=0,1", "trainer.num_nodes=2", "sweep.name=study", "hydra/launcher=slurm"]
    arguments += ["hydra.launcher.nodes=1", "hydra.launcher.tasks_per_node=2"]
    arguments += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=30"]
    folder = preempted(tmp_path, [*job, *arguments], timeout=500)
    log = (folder / "log.txt").read_text()
    for epoch in range(1, 31):
        assert log.count(f"epoch {epoch:>2}/30 ") == 1, "the first task alone shows progress"
    seen = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert seen[0].pop("pid") != seen[1].pop("pid")
    assert seen[0] == seen[1]
    assert (seen[0]["world_size"], seen[0]["used_threads"]) == (2, [1])
    (same,) = folder.parent.glob("seed_0-*")
    for name in ("metrics.json", "metrics.csv"):
        assert (same / name).read_text() == (tmp_path / "whole" / name).read_text()
