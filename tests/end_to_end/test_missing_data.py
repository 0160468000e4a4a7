"""A root, folder or list that is not there is named at once, before torch is imported."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.processes import WITHOUT_TORCH

from seglab.data.synthetic import SyntheticSpec, write_tree


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    write_tree(tmp_path / "data", SyntheticSpec(train=2, val=2, width=32, height=32))
    (tmp_path / "predictions").mkdir()
    return tmp_path / "data" / "VOC2007"


def without_torch(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WITHOUT_TORCH, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


COMMANDS = {
    "train": ["train"],
    "dry run": ["train", "--dry-run"],
    "score": ["score", "predictions=predictions"],
    "data check": ["data", "check"],
    "data show": ["data", "show", "split=val"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_data_is_found_before_torch_is_imported(
    voc: Path, tmp_path: Path, command: str
) -> None:
    arguments = [*COMMANDS[command], "data=voc2007"]
    answer = without_torch(tmp_path, [*arguments, "data.root=nowhere"])
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr == "seglab: error: data.root=nowhere: no such folder\n"

    answer = without_torch(
        tmp_path, [*arguments, "data.root=data", "data.val_split=no", "data.train_split=no"]
    )
    assert answer.returncode == 1, answer.stderr
    assert "no.txt: no such list; available: train, trainval, val" in answer.stdout + answer.stderr

    shutil.rmtree(voc / "JPEGImages")
    answer = without_torch(tmp_path, [*arguments, "data.root=data"])
    assert answer.returncode == 1, answer.stderr
    assert "data/VOC2007/JPEGImages: no such folder" in answer.stdout + answer.stderr


def test_evaluate_finds_a_wrong_root_before_it_reads_the_checkpoint(tmp_path: Path) -> None:
    answer = without_torch(tmp_path, ["evaluate", "checkpoint=no.ckpt", "data.root=nowhere"])
    assert answer.returncode == 2
    assert answer.stderr == "seglab: error: data.root=nowhere: no such folder\n"
