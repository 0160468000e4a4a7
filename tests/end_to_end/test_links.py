"""Folders of results that came from somebody else: no link inside them leads out of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seglab.errors import RunError
from seglab.runtime.links import refuse_links

FOLDERS = (".hydra", "checkpoints", "predictions", "samples", "samples/worst", "bad_batch", "wandb")
FILES = (
    *("status.json", "metrics.json", "metrics.csv", "evaluation.npz", ".lock", "report.html"),
    *(".hydra/config.yaml", "checkpoints/last.ckpt", "wandb/latest-run", "samples/worst/a.jpg"),
)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a folder of somebody's files, which no command was told of."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("a.jpg", "last.ckpt", "0_image.png", ".status.json.abcdefgh.part", "x"):
        (folder / name).write_text("precious")
    return folder


def untouched(folder: Path) -> bool:
    return len([*folder.iterdir()]) == 5 and {p.read_text() for p in folder.iterdir()} == {
        "precious"
    }


def received(folder: Path, name: str, target: Path, state: str = "interrupted") -> None:
    """Make a run folder with a link in it."""
    folder.mkdir(parents=True)
    if name != "status.json":
        (folder / "status.json").write_text(json.dumps({"status": state}))
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(target)


@pytest.mark.parametrize(
    ("name", "state"),
    [*((name, "interrupted") for name in FOLDERS + FILES), ("metrics.json", "finished")],
)
def test_a_run_is_not_resumed_in_a_folder_with_a_link_inside(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    elsewhere: Path,
    name: str,
    state: str,
) -> None:
    received(tmp_path / "run", name, elsewhere if name in FOLDERS else elsewhere / "x", state)
    answer = seglab_cli("train", *tiny, "resume=true", "hydra.run.dir=run")
    assert answer.code == 1
    assert f"run/{name}: refused: a symbolic link" in answer.last_line
    assert untouched(elsewhere)


@pytest.mark.parametrize("command", ["evaluate", "score", "train"])
def test_no_command_writes_into_a_folder_with_a_link_inside(
    seglab_cli: Callable[..., Any], tmp_path: Path, elsewhere: Path, command: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "samples").symlink_to(elsewhere)
    needs = {"evaluate": ["checkpoint=none.ckpt"], "score": ["predictions=elsewhere"], "train": []}
    answer = seglab_cli(command, *needs[command], "hydra.run.dir=run")
    assert answer.code == 1
    assert "run/samples: refused: a symbolic link" in answer.last_line
    assert untouched(elsewhere)


@pytest.mark.parametrize("name", ["seed_0-0123abcd", "sweep.csv", "study.db", ".lock"])
def test_a_sweep_is_not_continued_in_a_folder_with_a_link_inside(
    seglab_cli: Callable[..., Any], tmp_path: Path, elsewhere: Path, name: str
) -> None:
    (tmp_path / "sweeps/s").mkdir(parents=True)
    target = elsewhere if name.startswith("seed") else elsewhere / "x"
    (tmp_path / "sweeps/s" / name).symlink_to(target)
    answer = seglab_cli("train", "-m", "sweep.name=s", "seed=0,1")
    assert answer.code == 1
    assert f"sweeps/s/{name}: refused: a symbolic link" in answer.last_line
    assert untouched(elsewhere)


def test_a_folder_that_the_command_line_names_may_be_a_link(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    (tmp_path / "scratch/runs").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "scratch/runs")
    (tmp_path / "scratch/one").mkdir()
    (tmp_path / "one").symlink_to(tmp_path / "scratch/one")
    for name in ("runs/a", "one"):
        run = [*tiny, "trainer.max_epochs=1", f"hydra.run.dir={name}"]
        assert seglab_cli("train", *run).code == 0
        assert seglab_cli("train", *run, "resume=true").code == 0
    assert (tmp_path / "scratch/runs/a/metrics.json").is_file()
    photo = next((tmp_path / "scratch/one").rglob("*.jpg"))
    maps = ["checkpoint=one/checkpoints/last.ckpt", f"input={photo}"]
    (tmp_path / "maps").mkdir()
    for part in ("overlays", "instances"):
        (tmp_path / "maps" / part).symlink_to(tmp_path / "scratch")
        answer = seglab_cli("predict", *maps, "output=maps")
        assert answer.code == 1
        assert f"maps/{part}: refused: a symbolic link" in answer.last_line
        (tmp_path / "maps" / part).unlink()
    (tmp_path / "real_maps").mkdir()
    (tmp_path / "linked_maps").symlink_to(tmp_path / "real_maps")
    assert seglab_cli("predict", *maps, "output=linked_maps").code == 0
    assert len(list((tmp_path / "real_maps").glob("*.png"))) == 1


@pytest.fixture
def predictions(seglab_cli: Callable[..., Any], tmp_path: Path) -> Path:
    """Return a folder of perfect predictions for the data set in ``made``."""
    answer = seglab_cli("data", "synth", "data.root=made", "data.synth.train=2", "data.synth.val=3")
    assert answer.code == 0
    (tmp_path / "maps").mkdir()
    for path in (tmp_path / "made/VOC2007/SegmentationClass").iterdir():
        with Image.open(path) as mask:
            labels = np.array(mask)
        Image.fromarray(np.where(labels == 255, 0, labels)).save(tmp_path / "maps" / path.name)
    return tmp_path / "maps"


SCORE = ["score", "predictions=maps", "data=voc2007", "data.root=made", "hydra.run.dir=run"]


@pytest.mark.parametrize("kind", ["file", "nothing", "chain"])
def test_score_reads_no_prediction_through_a_link_that_leads_out(
    seglab_cli: Callable[..., Any], tmp_path: Path, predictions: Path, kind: str
) -> None:
    path = predictions / "000004.png"
    secret = tmp_path / "secret.png"
    path.rename(secret)
    if kind == "nothing":
        secret.unlink()
    if kind == "chain":
        (predictions / "middle.png").symlink_to(secret)
        secret = predictions / "middle.png"
    path.symlink_to(secret)
    answer = seglab_cli(*SCORE)
    assert answer.code == 1
    assert "maps/000004.png: refused: a link that leads out of maps" in answer.last_line
    assert not (tmp_path / "run").exists()


def test_score_takes_links_within_its_predictions_and_a_link_to_them(
    seglab_cli: Callable[..., Any], tmp_path: Path, predictions: Path
) -> None:
    (predictions / "kept").mkdir()
    (predictions / "000004.png").rename(predictions / "kept/x.png")
    (predictions / "000004.png").symlink_to("kept/x.png")
    predictions.rename(tmp_path / "scratch")
    predictions.symlink_to(tmp_path / "scratch")
    assert seglab_cli(*SCORE).code == 0
    assert json.loads((tmp_path / "run/metrics.json").read_text())["val/mIoU"] == 1


def test_the_links_that_wandb_and_submitit_make_are_let_be(tmp_path: Path) -> None:
    logs = tmp_path / "run/wandb/offline-run-1/logs"
    logs.mkdir(parents=True)
    (logs / "debug-core.log").symlink_to("/home/somebody/.cache/wandb/logs/core-debug.log")
    (tmp_path / "run/wandb/latest-run").symlink_to("offline-run-1")
    (tmp_path / "run/slurm").mkdir()
    (tmp_path / "run/slurm/.submission_file_0a.sh").symlink_to("/elsewhere/1_submission.sh")
    refuse_links(tmp_path / "run")
    (logs / "out").symlink_to(tmp_path)
    with pytest.raises(RunError, match=f"^{logs / 'out'}: refused"):
        refuse_links(tmp_path / "run")
    refuse_links(tmp_path / "none")


def test_a_look_for_links_costs_no_tenth_of_a_second(two_hundred_runs: Path) -> None:
    begin = time.perf_counter()
    refuse_links(two_hundred_runs)
    assert time.perf_counter() - begin < 0.1 * 5  # all two hundred; on a busy machine


def test_only_files_that_the_run_wrote_are_deleted(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    theirs = [
        *("notes.txt", ".notes.part", "samples/.a.abcdefgh.part", "notes/.a.abcdefgh.part"),
        *("samples/worst/mine.jpg", "samples/worst/mine.truth.png", "checkpoints/mine.ckpt"),
        *("predictions/mine.png", ".hydra/mine.yaml", "checkpoints/.mine.part"),
    ]
    ours = ["samples/worst/.a.jpg.abcdefgh.part", "checkpoints/.previous.ckpt.00000012.part"]
    for name in theirs + ours:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("precious")
    assert seglab_cli("train", *tiny, "hydra.run.dir=run").code == 0
    assert all((run / name).read_text() == "precious" for name in theirs)
    assert not any((run / name).exists() for name in ours)


def test_an_earlier_bad_batch_goes_and_other_pictures_beside_it_stay(tmp_path: Path) -> None:
    import torch

    from seglab.data.batches import Batch
    from seglab.run.bad_batch import save_batch

    image, class_map = torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4)
    batch = Batch(image.byte(), class_map.byte(), torch.arange(2), ["a", "b"])
    (tmp_path / "5_image.png").write_text("of an earlier one")
    (tmp_path / "holiday.png").write_text("precious")
    save_batch(batch, {}, tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == {
        *(f"{number}_{kind}.png" for number in range(2) for kind in ("image", "class_map")),
        "holiday.png",
    }
