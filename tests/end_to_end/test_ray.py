"""A sweep through Ray, started on this machine."""

from __future__ import annotations

import csv
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.processes import processes_of, start


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: seglab[ray]")
def test_a_sweep_through_ray_survives_a_killed_job(tmp_path: Path, tiny: list[str]) -> None:
    (tmp_path / "1").write_text("SIGKILL")
    arguments = [*tiny, "sweep.name=study", "seed=0,1", "hydra/launcher=ray", "trainer.threads=1"]
    arguments += [f"+callbacks.trouble={{_target_:helpers.trouble.Trouble,folder:{tmp_path}}}"]
    seglab = [sys.executable, "-m", "seglab.cli", "train", "-m"]  # Ray warns

    def sweep(*more: str) -> subprocess.CompletedProcess[str]:
        process = start(tmp_path, *arguments, *more, program=seglab)
        try:
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    done = sweep()
    assert done.returncode == 1, done.stdout + done.stderr
    with (tmp_path / "sweeps/study/sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["finished", "failed"], done.stdout
    assert rows[1]["error"] == "killed, or crashed: its process is gone"
    assert processes_of(tmp_path) == []
    plans = [line.split()[1] for line in sweep("--dry-run").stdout.splitlines()]
    assert plans == ["skip", "retry"]
