"""A global batch on 1, 2 and 4 processes: the same samples, augmented alike; equal losses."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from helpers.warm import command

Steps = dict[str, set[tuple[str, ...]]]


def job(tiny: list[str], processes: int, *arguments: str) -> list[str]:
    shape = [f"trainer.devices={processes}", f"data.batch_size={8 // processes}"]
    own = ["data.synth.train=19", "model.net.norm=group", "trainer.threads=1"]
    own += ["loss=cross_entropy_dice", "loss.class_weights=[0.5,1,2,1,3,1,1]"]
    own += ["+callbacks.seen={_target_:helpers.trouble.Seen}"]
    return ["train", *tiny, *own, *shape, *arguments]


def steps(run: Path) -> Steps:
    """Return what each step saw, on all processes: ids, and digests of pixels and class maps."""
    found: Steps = defaultdict(set)
    for path in run.glob("seen*.txt"):
        for line in path.read_text().splitlines():
            step, *sample = line.split()
            assert tuple(sample) not in found[step], "seen twice"
            found[step].add(tuple(sample))
    return found


def losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.slow
def test_a_global_batch_is_the_same_on_one_two_and_four_processes(
    tmp_path: Path, tiny: list[str]
) -> None:
    for count in (1, 2, 4):
        done = command(tmp_path, *job(tiny, count, f"hydra.run.dir={count}"))
        assert done.returncode == 0, done.stderr
    alone, *others = (tmp_path / name for name in "124")
    assert [len(seen) for seen in steps(alone).values()] == [8] * 4, "two steps in two epochs"
    for other in others:
        assert steps(other) == steps(alone)
        assert losses(other) == pytest.approx(losses(alone), abs=1e-5)
        states = [torch.load(run / "checkpoints/last.ckpt")["state_dict"] for run in (alone, other)]
        for name, value in states[0].items():
            torch.testing.assert_close(states[1][name], value, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 4)])
def test_a_run_interrupted_within_an_epoch_is_resumed_on_another_number_of_processes(
    tmp_path: Path, tiny: list[str], before: int, after: int
) -> None:
    whole = command(tmp_path, *job(tiny, 1, "hydra.run.dir=whole"))
    assert whole.returncode == 0, whole.stderr
    stop = f"+callbacks.stop={{_target_:helpers.trouble.StopAfter,steps:3,folder:{tmp_path}}}"
    first = command(tmp_path, *job(tiny, before, stop, "hydra.run.dir=parts"))
    assert first.returncode == 130, first.stderr

    resume = [stop, "hydra.run.dir=parts", "resume=true"]
    wrong = command(tmp_path, *job(tiny, after, *resume, f"data.batch_size={8 // before}"))
    assert wrong.returncode == 2, wrong.stdout + wrong.stderr
    advice = f"give trainer.devices={before} to resume it, or data.batch_size={8 // after} for as"
    assert advice in wrong.stderr.splitlines()[-1]

    again = command(tmp_path, *job(tiny, after, *resume))
    assert again.returncode == 0, again.stderr
    noted = f"resumed on {after} processes (previously {before}); data.batch_size={8 // after}, "
    assert noted in again.stdout
    parts = tmp_path / "parts"
    assert steps(parts) == steps(tmp_path / "whole")
    assert losses(parts) == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)
    history = json.loads((parts / "status.json").read_text())["history"]
    shape = [(start["processes"], start["data.batch_size"]) for start in history]
    assert shape == [(before, 8 // before), (after, 8 // after)]
