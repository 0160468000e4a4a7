"""The wheel carries conf/ and experiments/: installed elsewhere, it trains."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow  # builds a wheel and an environment
def test_the_wheel_trains_far_from_the_checkout(tmp_path: Path, tiny: list[str]) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    outside = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}
    train = [sys.executable, "-W", "error", "-m", "seglab.cli", "train", "experiments=smoke"]
    done = subprocess.run(
        [*train, *tiny, "hydra.run.dir=run"],
        cwd=tmp_path,
        env=outside,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "metrics.json").is_file()
    assert (tmp_path / "run" / "report.html").is_file(), done.stdout
    init = [sys.executable, "-m", "seglab.cli", "init", "made"]
    subprocess.run(init, cwd=tmp_path, env=outside, check=True, timeout=300)
    for starter in (REPOSITORY / "seglab/starter").rglob("*"):
        path = tmp_path / "made" / starter.relative_to(REPOSITORY / "seglab/starter")
        assert path.exists() or "__pycache__" in path.parts, path
    where = "import seglab; import seglab.config.overrides as o; print(o.__file__, o.home())"
    said = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=outside, capture_output=True, text=True
    )
    assert said.stdout.count(str(tmp_path / "site")) == 2, said.stdout + said.stderr
