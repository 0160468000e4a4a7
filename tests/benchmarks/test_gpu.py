"""``make bench-gpu`` without a GPU: its lines with tiny sizes, and what a failure costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import lines
from benchmarks.gpu.table import HEAD, table

ROOT = Path(__file__).parents[2]


def bench_gpu(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """Return what the command keeps: the JSON and the Markdown."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "device=cpu", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    kept = folder / "runs" / "benchmarks"
    return json.loads((kept / "gpu.json").read_text()), (kept / "gpu.md").read_text()


@pytest.mark.slow
def test_every_line_runs_on_a_cpu(tmp_path: Path) -> None:
    kept, page = bench_gpu(tmp_path)
    assert list(kept) == list(lines.LINES)
    assert {name: one for name, one in kept.items() if "failed" in one or "skipped" in one} == {}
    assert "seglab: error: out of memory during training" in page
    ways = kept["precision"]["ways"]
    assert {name: len(notes) for name, notes in ways.items()} == {"32-true": 1, "bf16-mixed": 1}
    assert all(note["rate"] > 0 for notes in ways.values() for note in notes)
    assert "the numbers mean nothing" in page
    assert "| precision | bf16-mixed | " in page


def test_a_line_that_fails_or_takes_too_long_costs_its_own_row() -> None:
    failed = command.attempt([sys.executable, "-c", "print(1); raise ValueError('broken')"], 60)
    assert failed == {"failed": "ValueError: broken"}
    start = time.monotonic()
    late = command.attempt([sys.executable, "-c", "import time; time.sleep(60)"], 0.5)
    assert late["failed"].startswith("over its ")
    assert time.monotonic() - start < 30
    fine = command.attempt(
        [sys.executable, "-c", "print('noise'); print('{\"outcome\": \"x\"}')"], 60
    )
    assert fine == {"outcome": "x"}


def test_the_table_has_medians_spreads_and_reasons() -> None:
    notes = {
        "slow": [{"rate": rate, "peak_gib": 2.0} for rate in (10.0, 20.0, 30.0)],
        "fast": [{"rate": rate, "peak_gib": 1.04} for rate in (20.0, 50.0, 30.0)],
    }
    page = table(
        "one machine",
        {
            "first": {"ways": notes, "base": "slow", "outcome": "all well"},
            "second": {"skipped": "one | GPU"},
            "third": {"failed": "a\nline"},
        },
    )
    assert page.splitlines() == [
        "one machine",
        "",
        *HEAD.splitlines(),
        "| first | slow | 20.0 (10.0 to 30.0) |  | 2.0 |",
        "| first | fast | 30.0 (20.0 to 50.0) | 2.00 x slow (1.00 to 2.50) | 1.0 |",
        "| first | all well |  |  |  |",
        "| second | **skipped**: one \\| GPU |  |  |  |",
        "| third | **failed**: a line |  |  |  |",
    ]


def test_a_broken_promise_about_memory_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "Traceback …\ntorch.OutOfMemoryError: full")

    monkeypatch.setattr(lines, "seglab_train", train)
    with pytest.raises(RuntimeError, match="not as promised: no traceback, status failed, seglab"):
        lines.memory(lines.Plan([], steps=1, skip=0, rounds=1, tiny=True))
