"""What ``make same`` takes for a difference."""

import math
from pathlib import Path

import pytest
import torch

from benchmarks import same


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    folders = tmp_path / "base", tmp_path / "head"
    for folder in folders:
        (folder / "checkpoints").mkdir(parents=True)
        weights = {"net.weight": torch.tensor([0.0, math.nan]), "net.steps": torch.tensor(3)}
        torch.save({"state_dict": weights}, folder / "checkpoints" / "last.ckpt")
        (folder / "metrics.csv").write_text("step,train/loss\n0,1.5\n")
        (folder / "metrics.json").write_text('{"val/mIoU": 0.5}\n')
    return folders


def test_equal_runs_do_not_differ(runs: tuple[Path, Path]) -> None:
    assert not [*same.differences(*runs)]


@pytest.mark.parametrize("value", [[-0.0, math.nan], [0.0, 1.0], [0.0, math.nan, 0.0]])
def test_a_bit_of_a_weight_is_a_difference(runs: tuple[Path, Path], value: list[float]) -> None:
    weights = {"net.weight": torch.tensor(value), "net.steps": torch.tensor(3)}
    torch.save({"state_dict": weights}, runs[1] / "checkpoints" / "last.ckpt")
    assert [*same.differences(*runs)] == ["./last.ckpt: 1 of 2 tensors, first net.weight"]


@pytest.mark.parametrize("table", ["metrics.csv", "metrics.json"])
def test_a_byte_of_a_table_is_a_difference(runs: tuple[Path, Path], table: str) -> None:
    (runs[1] / table).write_text((runs[1] / table).read_text() + "\n")
    assert [*same.differences(*runs)] == [f"./{table}"]


def test_a_missing_run_is_a_difference(runs: tuple[Path, Path]) -> None:
    (runs[1] / "checkpoints" / "last.ckpt").unlink()
    assert [*same.differences(*runs)] == ["1 and 0 checkpoints"]
