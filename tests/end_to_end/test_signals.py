"""SIGINT and SIGTERM, as a shell or a scheduler sends them to the command."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import fresh, processes_of, start

SLEEPER = "+callbacks.sleeper={_target_:helpers.trouble.Sleeper}"


def end(process: subprocess.Popen[str], *numbers: int) -> tuple[str, float]:
    """Send signals, half a second apart; return what was said on stderr, and the seconds."""
    began = time.monotonic()
    try:
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.5)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return err, time.monotonic() - began


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if reached():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise TimeoutError


@pytest.mark.slow
def test_a_second_signal_ends_at_once(tmp_path: Path, tiny: list[str]) -> None:
    process = start(
        tmp_path, "train", *tiny, "trainer.max_epochs=1000", SLEEPER, "hydra.run.dir=run"
    )
    wait_for((tmp_path / "run/asleep").is_file, process)  # for a minute, in one step
    err, seconds = end(process, signal.SIGTERM, signal.SIGTERM)
    assert process.returncode == 143, err
    assert seconds < 10
    assert "SIGTERM: saves and stops; a second signal ends it at once" in err
    assert "Traceback" not in err
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("delay", [0.3, 2.0])
def test_a_signal_while_it_starts_is_one_line(
    tmp_path: Path, tiny: list[str], delay: float
) -> None:
    process = start(tmp_path, "train", *tiny, "hydra.run.dir=run")
    wait_for(lambda: handles_sigterm(process.pid), process)  # Python itself has started
    time.sleep(delay)
    err, _ = end(process, signal.SIGINT)
    assert process.returncode == 130, err
    assert err.strip().splitlines()[-1] == "seglab: interrupted"
    assert "Traceback" not in err


def test_a_signal_while_a_class_is_made_from_text_is_one_line(
    tmp_path: Path, tiny: list[str]
) -> None:
    (tmp_path / "made.py").write_text("exec('raise KeyboardInterrupt')\n")
    made = "+callbacks.made={_target_:made.Callback}"
    answer = fresh(tmp_path, "train", *tiny, made, "hydra.run.dir=run")
    assert answer.returncode == 130
    assert answer.stderr.strip().splitlines()[-1].startswith("seglab: interrupted")


def test_ctrl_c_names_the_folder_and_how_to_resume_it(
    seglab_cli: Callable[..., Any], tiny: list[str], interrupt: Callable[[int], None]
) -> None:
    interrupt(1)
    answer = seglab_cli("train", *tiny, "hydra.run.dir=run")
    assert answer.code == 130
    resumes = "hydra.run.dir=run resume=true, with the same settings, resumes it"
    assert answer.last_line == f"seglab: interrupted; {resumes}"


def handles_sigterm(pid: int) -> bool:
    """Tell whether a process has a handler of its own for SIGTERM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


@pytest.mark.slow
def test_several_processes_save_and_stop_together(tmp_path: Path, tiny: list[str]) -> None:
    many = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=1000"]
    process = start(tmp_path, "train", *tiny, *many, "data.synth.train=32", "hydra.run.dir=run")
    wait_for((tmp_path / "run/checkpoints/last.ckpt").is_file, process)
    err, _ = end(process, signal.SIGTERM)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert err.count("SIGTERM") == 1
    resumes = "hydra.run.dir=run resume=true, with the same settings, resumes it"
    assert err.strip().splitlines()[-1] == f"seglab: interrupted; {resumes}"
    run = tmp_path / "run"
    assert json.loads((run / "status.json").read_text())["status"] == "interrupted"
    assert (run / "report.html").is_file()
    steps = [int(line.split(",")[0]) for line in (run / "metrics.csv").read_text().split()[1:]]
    assert steps == list(range(len(steps)))
    assert processes_of(tmp_path) == []
