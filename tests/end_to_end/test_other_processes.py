"""resume=true on another number of processes: no sample is skipped or repeated, no rate is kept."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from helpers.warm import command


def train(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command(folder, "train", *arguments, "resume=true")


def job(tiny: list[str], folder: Path, steps: int, *arguments: str) -> list[str]:
    stop = f"+callbacks.stop={{_target_:helpers.trouble.StopAfter,steps:{steps},folder:{folder}}}"
    own = ["data.synth.train=16", "data.batch_size=2", "schedule=constant", "hydra.run.dir=run"]
    return [*tiny, *own, stop, *arguments]


def state(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("before", [1, 2])
def test_a_run_interrupted_within_an_epoch_is_resumed_on_as_many_processes_only(
    tmp_path: Path, tiny: list[str], before: int
) -> None:
    run = job(tiny, tmp_path, 3)
    first = train(tmp_path, *run, f"trainer.devices={before}")
    assert first.returncode == 130, first.stderr
    kept = state(tmp_path / "run")
    after = 3 - before
    for more in ([], ["--dry-run"]):
        other = train(tmp_path, *run, f"trainer.devices={after}", *more)
        assert other.returncode == 2, other.stdout + other.stderr
        line = other.stderr.strip().splitlines()[-1]
        count = {1: "1 process", 2: "2 processes"}[before]
        assert f"trainer.devices={after}: this run was interrupted within an epoch on" in line
        assert f"within an epoch on {count}, not {after}" in line
        assert f"give trainer.devices={before} to resume it" in line
        assert "Traceback" not in other.stderr
        assert state(tmp_path / "run") == kept

    again = train(tmp_path, *run, f"trainer.devices={before}")
    assert again.returncode == 0, again.stderr
    seen = Counter(
        (epoch, one)
        for epoch, *ids in map(str.split, (tmp_path / "seen.txt").read_text().splitlines())
        for one in ids
    )
    assert len(seen) == 2 * 16
    assert {*seen.values()} == {1}, "each sample once in each epoch"


@pytest.mark.slow
def test_a_run_between_epochs_may_be_resumed_on_more_processes_unless_rates_are_scaled(
    tmp_path: Path, tiny: list[str]
) -> None:
    for rule in ("none", "linear"):
        folder = tmp_path / rule
        folder.mkdir()
        trouble = f"+callbacks.trouble={{_target_:helpers.trouble.Trouble,folder:{folder}}}"
        run = [*job(tiny, folder, -1), trouble, f"optimizer.lr_rule={rule}"]
        (folder / "0").write_text("SIGINT")
        first = train(folder, *run)
        assert first.returncode == 130, first.stderr
        (folder / "0").unlink()
        other = train(folder, *run, "trainer.devices=2")
        if rule == "none":
            assert other.returncode == 0, other.stderr
            history = json.loads((folder / "run/status.json").read_text())["history"]
            assert [start["trainer.devices"] for start in history] == [1, 2]
        else:
            assert other.returncode == 2, other.stdout + other.stderr
            line = other.stderr.strip().splitlines()[-1]
            assert "optimizer.lr_rule=linear has set the learning rates of this run for 1" in line
            assert "give trainer.devices=1 to resume it" in line
