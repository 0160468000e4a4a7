"""Numbers gone wrong, memory run out, a loading process killed: one clear line, nothing lost."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.processes import fresh, processes_of
from helpers.warm import command
from PIL import Image


def poison(what: str, step: int, rank: int = 0) -> str:
    return (
        f"+callbacks.poison={{_target_:helpers.poison.Poison,what:{what},step:{step},rank:{rank}}}"
    )


def state(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "status.json").read_text())
    return found


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run / "checkpoints/last.ckpt", weights_only=True)[
        "state_dict"
    ]
    return found


def test_a_loss_that_is_not_finite_stops_the_run_at_its_step(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    answer = seglab_cli("train", *tiny, poison("loss", 3), "hydra.run.dir=run")
    assert answer.code == 1
    run = tmp_path / "run"
    assert "Traceback" not in answer.err
    for said in ("train/loss is nan at step 3 (epoch 2, batch 0000", "optimizer.lr", "bad_batch"):
        assert said in answer.last_line
    assert state(run)["status"] == "failed"
    assert "model.weights=run/checkpoints/last.ckpt" in answer.last_line
    assert "resume=true repeats" in answer.last_line
    assert "train/loss is nan at step 3" in state(run)["error"]

    facts = json.loads((run / "bad_batch/facts.json").read_text())
    assert (facts["step"], facts["epoch"], len(facts["ids"])) == (3, 1, 4)
    assert [one["step"] for one in facts["last_finite"]] == [0, 1, 2]
    assert all(one["train/loss"] > 0 for one in facts["last_finite"])
    assert len(list((run / "bad_batch").glob("*_image.png"))) == 4
    image = np.array(Image.open(run / "bad_batch/0_image.png"))
    truth = np.array(Image.open(run / "bad_batch/0_class_map.png"))
    assert (image.shape, truth.shape) == ((32, 32, 3), (32, 32))
    assert set(np.unique(truth)) <= {*range(7), 255}

    assert all(value.isfinite().all() for value in weights(run).values())
    (tmp_path / "antidote").touch()
    again = seglab_cli("train", *tiny, poison("loss", 3), "resume=true", "hydra.run.dir=run")
    assert again.code == 0, again.err
    whole = seglab_cli("train", *tiny, "hydra.run.dir=whole")
    assert whole.code == 0, whole.err
    kept, undisturbed = weights(run), weights(tmp_path / "whole")
    assert all(torch.equal(kept[name], undisturbed[name]) for name in undisturbed)


def test_resuming_is_not_offered_where_there_is_no_checkpoint(
    seglab_cli: Callable[..., Any], tiny: list[str]
) -> None:
    answer = seglab_cli("train", *tiny, poison("loss", 1), "hydra.run.dir=run")
    assert answer.code == 1
    assert "train/loss is nan at step 1" in answer.last_line
    assert "optimizer.lr" in answer.last_line
    assert "resume" not in answer.last_line
    assert "model.weights" not in answer.last_line


def test_broken_weights_are_not_saved(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    answer = seglab_cli("train", *tiny, poison("weight", 4), "hydra.run.dir=run")
    assert answer.code == 1
    assert "holds NaN or infinity after the step, and is not saved" in answer.last_line
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2, "that of the epoch before"
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    assert (tmp_path / "run/bad_batch/facts.json").is_file()


@pytest.mark.slow
def test_a_loss_gone_wrong_on_one_process_ends_all(tmp_path: Path, tiny: list[str]) -> None:
    two = ["trainer.devices=2", "data.batch_size=2", poison("loss", 2, rank=1)]
    done = command(tmp_path, "train", *tiny, *two, "hydra.run.dir=run")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "train/loss is nan at step 2 (epoch 2, batch 0000" in done.stderr.splitlines()[-1]
    facts = json.loads((tmp_path / "run/bad_batch/facts.json").read_text())
    assert len(facts["ids"]) == 2
    assert all(name in done.stderr.splitlines()[-1] for name in facts["ids"])
    assert state(tmp_path / "run")["status"] == "failed"
    assert processes_of(tmp_path) == []


def test_memory_that_runs_out_in_training_names_the_sizes(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    answer = seglab_cli("train", *tiny, poison("memory", 1), "hydra.run.dir=run")
    assert answer.code == 1
    assert "Traceback" not in answer.err
    for said in (
        "out of memory during training, with ",
        "Tried to allocate 2.00 GiB",
        "data.batch_size=4 data.crop_size=32 trainer.precision=32-true: lower data.batch_size",
        "trainer.accumulate_grad_batches=2",
    ):
        assert said in answer.last_line
    assert state(tmp_path / "run")["status"] == "failed"


def test_the_memory_of_the_machine_runs_out(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    answer = seglab_cli("train", *tiny, "data.crop_size=2000000", "hydra.run.dir=run")
    assert answer.code == 1
    assert answer.last_line.startswith("seglab: error: out of memory during training")
    assert "data.crop_size=2000000" in answer.last_line
    assert "Traceback" not in answer.err


def test_memory_that_runs_out_in_evaluation_and_prediction(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from seglab.tasks.semantic import SemanticSegmentation

    assert seglab_cli("train", *tiny, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")

    def full(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 512.00 MiB.")

    monkeypatch.setattr(SemanticSegmentation, "infer", full)
    checkpoint = "checkpoint=run/checkpoints/last.ckpt"
    for doing, answer in (
        ("evaluation", seglab_cli("evaluate", checkpoint, "hydra.run.dir=evaluated")),
        ("prediction", seglab_cli("predict", checkpoint, "input=photo.png", "output=out")),
        ("validation", seglab_cli("train", *tiny, "hydra.run.dir=validated")),
    ):
        assert answer.code == 1, doing
        assert f"out of memory during {doing}, with " in answer.last_line
        assert "Tried to allocate 512.00 MiB" in answer.last_line
        assert "data.eval_batch_size=2 on whole images" in answer.last_line
        assert "Traceback" not in answer.err
    for folder in ("evaluated", "validated"):
        assert state(tmp_path / folder)["status"] == "failed"


@pytest.mark.slow
def test_a_loading_process_that_is_killed_ends_the_run(tmp_path: Path, tiny: list[str]) -> None:
    long = ["data.num_workers=2", "trainer.max_epochs=5", poison("worker", 3)]
    start = time.monotonic()
    done = fresh(tmp_path, "train", *tiny, *long, "hydra.run.dir=run")
    assert time.monotonic() - start < 90
    assert done.returncode == 1, done.stdout + done.stderr
    # The last line but for one that torch prints from the destructor of an iterator that it was
    # still building: "'_MultiProcessingDataLoaderIter' object has no attribute …".
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("seglab: error")]
    # A step or two go on from batches that were loaded before.
    assert re.match("seglab: error: a loading process died during (training|validation): ", said)
    assert "killed by signal" in said or "exited unexpectedly" in said  # as torch sees it
    assert "data.num_workers=2" in said
    assert state(tmp_path / "run")["status"] == "failed"
    assert processes_of(tmp_path) == []
    (tmp_path / "antidote").touch()
    again = command(tmp_path, "train", *tiny, *long, "resume=true", "hydra.run.dir=run")
    assert again.returncode == 0, again.stdout + again.stderr
