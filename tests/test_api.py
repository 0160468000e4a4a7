"""The Python API, and that it leaves the process of its caller alone."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import seglab


def process_state() -> dict[str, Any]:
    """Return what of this process a library has no business to change."""
    loggers = [logging.root, *(logging.getLogger(name) for name in logging.root.manager.loggerDict)]
    return {
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "filled": torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        "default dtype": torch.get_default_dtype(),
        "generator": torch.get_rng_state().tolist(),
        "levels": {one.name: one.level for one in loggers},
        "handlers": {number: signal.getsignal(number) for number in (2, 10, 12, 15)},
        "folder": Path.cwd(),
    }


def changed(before: dict[str, Any]) -> list[str]:
    after = process_state()
    known = before["levels"]  # others have been imported since
    after["levels"] = {name: level for name, level in after["levels"].items() if name in known}
    return [name for name, value in before.items() if after[name] != value]


def test_the_public_names_are_what_dir_lists() -> None:
    assert dir(seglab) == ["Predictor", "Sample", "VOCSegmentation", "fit", "load"]
    code = "import seglab; print(dir(seglab)); [getattr(seglab, name) for name in dir(seglab)]; "
    code += "assert dir(seglab) == sorted(seglab.__all__)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_fit_and_load_leave_the_process_as_it_was(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seglab.fit(*tiny, "trainer.max_epochs=1", "hydra.run.dir=first", quiet=True)
    before = process_state()
    result = seglab.fit(
        *tiny, "trainer.threads=3", "trainer.deterministic=true", "trainer.max_epochs=1",
        "hydra.run.dir=run", quiet=True,
    )  # fmt: skip
    assert changed(before) == []
    monkeypatch.setattr(L, "Trainer", None)  # loading builds none
    model = seglab.load(result.folder / "checkpoints/last.ckpt")
    model.predict(torch.zeros(3, 20, 30, dtype=torch.uint8))
    assert changed(before) == []


def test_fit_shows_progress_and_metrics_unless_it_is_quiet(
    tmp_path: Path, tiny: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [*tiny, "trainer.max_epochs=1"]
    seglab.fit(*arguments, f"hydra.run.dir={tmp_path / 'quiet'}", quiet=True)
    assert capfd.readouterr().out == ""
    seglab.fit(*arguments, f"hydra.run.dir={tmp_path / 'loud'}")
    out = capfd.readouterr().out
    assert "epoch 1/1" in out
    assert "val/mIoU" in out


def test_a_finished_run_is_given_back_as_it_is(tmp_path: Path, tiny: list[str]) -> None:
    arguments = [*tiny, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'run'}", "resume=true"]
    first = seglab.fit(*arguments, quiet=True)
    again = seglab.fit(*arguments, quiet=True)
    assert again.skipped
    # As text, because NaN is not equal to itself.
    given, before = ({k: str(float(v)) for k, v in r.metrics.items()} for r in (again, first))
    assert given == before
