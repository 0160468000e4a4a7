"""transforms=…: one's own augmentation trains, is resumed, and is never built for a prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.warm import command

from tests.conftest import Answer

Cli = Callable[..., Answer]
OWN = "transforms._target_=helpers.transforms.Jitter"


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(
        run / "checkpoints" / "last.ckpt", weights_only=True
    )["state_dict"]
    return state


def equal(one: Path, two: Path) -> bool:
    first, second = weights(one), weights(two)
    return first.keys() == second.keys() and all(first[key].equal(second[key]) for key in first)


@pytest.mark.parametrize("transforms", ["transforms=torchvision", OWN])
def test_interrupted_and_resumed_gives_the_same_weights(
    transforms: str,
    seglab_cli: Cli,
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
) -> None:
    arguments = [*tiny, transforms]
    assert seglab_cli("train", *arguments, "hydra.run.dir=whole").code == 0
    interrupt(1)
    assert seglab_cli("train", *arguments, "hydra.run.dir=run").code == 130
    interrupt(-1)
    resumed = seglab_cli(
        "train", *arguments, "data.num_workers=2", "resume=true", "hydra.run.dir=run"
    )
    assert resumed.code == 0, resumed.err
    assert equal(tmp_path / "run", tmp_path / "whole")
    assert seglab_cli("train", *tiny, "hydra.run.dir=ours").code == 0
    assert not equal(tmp_path / "ours", tmp_path / "whole")
    changed = seglab_cli("train", *tiny, "resume=true", "hydra.run.dir=run")
    assert changed.code == 2
    assert "transforms._target_=" in changed.last_line


def test_a_foreign_target_in_a_checkpoint_needs_trust_and_is_never_built(
    seglab_cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seglab_cli("train", *tiny, OWN, "hydra.run.dir=run").code == 0
    checkpoint = "checkpoint=run/checkpoints/last.ckpt"
    refused = seglab_cli("evaluate", checkpoint, "hydra.run.dir=ev")
    assert refused.code == 2
    assert f"{OWN}: not one of the targets that seglab ships" in refused.last_line
    from helpers import transforms

    monkeypatch.delattr(transforms, "Jitter")
    trusted = seglab_cli("evaluate", checkpoint, "trust=true", "hydra.run.dir=ev")
    assert trusted.code == 0, trusted.err


def test_an_error_of_a_loading_process_is_one_line(
    seglab_cli: Cli, tiny: list[str], tmp_path: Path
) -> None:
    late = "transforms._target_=helpers.transforms.WrongInAWorker"
    answer = command(tmp_path, "train", *tiny, late, "data.num_workers=1", "hydra.run.dir=run")
    assert answer.returncode == 2, answer.stderr
    last = answer.stderr.strip().splitlines()[-1]
    assert last.startswith("seglab: error: transforms: sample 0")
    assert "an image of 3x3 pixels and maps of" in last
    assert "Traceback" not in last


def test_a_wrong_transform_is_found_before_the_run_folder_is_made(
    seglab_cli: Cli, tiny: list[str], tmp_path: Path
) -> None:
    for override in (
        "transforms._target_=helpers.transforms.Wrong",
        "transforms._target_=helpers.transforms.Missing",
    ):
        answer = seglab_cli("train", *tiny, override, "hydra.run.dir=run")
        assert answer.code == 2, answer.err
        assert "transforms" in answer.last_line
        assert not (tmp_path / "run").exists()
    assert seglab_cli("train", *tiny, override, "hydra.run.dir=run", "--dry-run").code == 2
