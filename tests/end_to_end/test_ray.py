"""A sweep through Ray, started on this machine."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from processes import processes_of

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: seglab[ray]")
def test_a_sweep_through_ray_survives_a_killed_job(tmp_path: Path, tiny: list[str]) -> None:
    (tmp_path / "1").write_text("SIGKILL")
    command = [sys.executable, "-m", "seglab.cli", "train", "-m", *tiny, "sweep.name=study"]
    command += ["seed=0,1", "hydra/launcher=ray", "trainer.threads=1"]
    command += [f"+callbacks.trouble={{_target_:trouble.Trouble,folder:{tmp_path}}}"]
    path = os.pathsep.join([str(HERE), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}

    def sweep(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    done = sweep()
    assert done.returncode == 1, done.stdout + done.stderr
    with (tmp_path / "sweeps/study/sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["finished", "failed"], done.stdout
    assert rows[1]["error"] == "killed, or crashed: its process is gone"
    assert processes_of(tmp_path) == []
    plans = [line.split()[1] for line in sweep("--dry-run").stdout.splitlines()]
    assert plans == ["skip", "retry"]
