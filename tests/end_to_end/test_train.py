"""seglab train, as a user calls it: what a run leaves, and that it can be repeated and resumed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

CLASSES = ["background", "circle", "square", "triangle", "ring", "star", "cross"]


def weights(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "checkpoints" / name, weights_only=True)
    state: dict[str, torch.Tensor] = checkpoint["state_dict"]
    return state


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_what_the_contract_lists(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    answer = seglab_cli("train", *tiny, "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    run = tmp_path / "run"

    config = yaml.safe_load((run / ".hydra" / "config.yaml").read_text())
    assert config["data"]["classes"] == CLASSES
    assert config["trainer"]["threads"] >= 1, "the number of threads must be recorded"
    assert json.loads((run / "status.json").read_text())["status"] == "finished"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}

    metrics = json.loads((run / "metrics.json").read_text())
    names = {"mIoU", "loss", "pixel_accuracy", "mean_accuracy", "fw_IoU"}
    names |= {f"IoU/{name}" for name in CLASSES}
    assert metrics.keys() == {
        *(f"val/{name}" for name in names), "train/loss", "best/val/mIoU", "best/epoch"
    }  # fmt: skip
    assert 0 <= metrics["val/mIoU"] <= metrics["best/val/mIoU"] <= 1

    rows = history(run)
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 3]
    assert all(row["train/loss"] for row in rows)
    assert [bool(row["val/mIoU"]) for row in rows] == [False, True, False, True]
    assert float(rows[-1]["val/mIoU"]) == metrics["val/mIoU"], "in all its digits"

    pictures = sorted((run / "predictions").glob("*.png"))
    assert len(pictures) == 2
    for picture in pictures:
        Image.open(picture).verify()
        assert str(picture.relative_to(tmp_path)) in answer.out
    for name in CLASSES:
        assert name in answer.out
    assert f"{metrics['val/mIoU']:.4f}" in answer.out


def test_the_same_config_gives_the_same_weights_whatever_loads_the_data(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    for name, extra in (
        ("one", []),
        ("again", []),
        ("workers", ["data.num_workers=2"]),
        ("no_store", ["data.store.enabled=false"]),
        ("other_seed", ["seed=1"]),
    ):
        arguments = [*tiny, "data.photometric=0.5", *extra, f"hydra.run.dir={name}"]
        assert seglab_cli("train", *arguments).code == 0
    assert same_weights(tmp_path / "one", tmp_path / "again")
    assert same_weights(tmp_path / "one", tmp_path / "workers")
    assert same_weights(tmp_path / "one", tmp_path / "no_store")
    assert not same_weights(tmp_path / "one", tmp_path / "other_seed")


def test_an_interrupted_run_resumes_to_the_same_weights(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [*tiny, "trainer.max_epochs=3", "data.photometric=0.5"]
    assert seglab_cli("train", *arguments, "hydra.run.dir=whole").code == 0

    interrupt(2)
    answer = seglab_cli("train", *arguments, "hydra.run.dir=cut", "resume=true")
    assert answer.code == 130
    assert json.loads((tmp_path / "cut/status.json").read_text())["status"] == "interrupted"
    assert not (tmp_path / "cut/metrics.json").exists(), "an interrupted run has no final metrics"

    refused = seglab_cli("train", *arguments, "hydra.run.dir=cut")
    assert refused.code == 2
    assert "interrupted" in refused.last_line
    assert "resume=true" in refused.last_line

    interrupt(-1)
    assert seglab_cli("train", *arguments, "hydra.run.dir=cut", "resume=true").code == 0
    assert same_weights(tmp_path / "whole", tmp_path / "cut")
    assert history(tmp_path / "whole") == history(tmp_path / "cut")
    assert (tmp_path / "whole/metrics.json").read_text() == (
        tmp_path / "cut/metrics.json"
    ).read_text()


def test_a_finished_run_is_left_alone(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    assert seglab_cli("train", *tiny, "hydra.run.dir=run").code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    answer = seglab_cli("train", *tiny, "hydra.run.dir=run", "resume=true")
    assert answer.code == 0
    assert "finished" in answer.out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    refused = seglab_cli("train", *tiny, "hydra.run.dir=run")
    assert refused.code == 2
    assert "hydra.run.dir=run" in refused.last_line


def test_the_last_epoch_is_measured_even_if_it_is_not_validated(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    often = [*tiny, "trainer.max_epochs=3", "hydra.run.dir=often"]
    rarely = [*tiny, "trainer.max_epochs=3", "hydra.run.dir=rarely"]
    assert seglab_cli("train", *often).code == 0
    assert seglab_cli("train", *rarely, "trainer.check_val_every_n_epoch=2").code == 0
    one, other = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("often", "rarely")
    )
    assert one["val/mIoU"] == other["val/mIoU"]
    assert one["val/loss"] == other["val/loss"]
    assert len(list((tmp_path / "rarely/predictions").glob("*.png"))) == 2


def test_a_run_killed_after_its_last_epoch_is_completed(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert seglab_cli("train", *tiny, "hydra.run.dir=run").code == 0
    metrics, rows = (run / "metrics.json").read_text(), history(run)
    (run / "metrics.json").unlink()
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "status": "started"}))
    assert seglab_cli("train", *tiny, "hydra.run.dir=run", "resume=true").code == 0
    assert (run / "metrics.json").read_text() == metrics
    assert history(run) == rows


def test_a_run_that_fails_says_so_and_exits_with_1(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from seglab.tasks.semantic import SemanticSegmentation

    def broken(*arguments: Any) -> None:
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr(SemanticSegmentation, "training_step", broken)
    answer = seglab_cli("train", *tiny, "hydra.run.dir=run")
    assert answer.code == 1
    assert answer.last_line == "seglab: error: RuntimeError: out of luck"
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert (status["status"], status["error"]) == ("failed", "out of luck")


def test_training_learns(seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path) -> None:
    arguments = [
        "optimizer=adamw",
        "optimizer.lr=1e-2",
        "schedule.warmup_steps=0",
        "trainer.max_epochs=15",
    ]
    assert seglab_cli("train", *tiny, *arguments, "hydra.run.dir=run").code == 0
    losses = [float(row["train/loss"]) for row in history(tmp_path / "run")]
    assert sum(losses[-4:]) < 0.75 * sum(losses[:4])


def test_the_python_api_does_the_same(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import seglab

    monkeypatch.chdir(tmp_path)
    result = seglab.fit(*tiny, "hydra.run.dir=run")
    assert result.folder == Path("run")
    assert (
        result.metrics["val/mIoU"] == json.loads(Path("run/metrics.json").read_text())["val/mIoU"]
    )
    predictor = seglab.load(result.folder / "checkpoints" / "last.ckpt")
    for size in ((3, 48, 64), (3, 37, 41), (3, 1, 1)):
        class_map = predictor.predict(torch.randint(0, 256, size, dtype=torch.uint8))
        assert class_map.shape == size[1:]
        assert class_map.dtype == torch.uint8
    picture = Image.new("RGB", (20, 10), (200, 30, 30))
    picture.save("photo.png")
    assert torch.equal(predictor.predict(picture), predictor.predict("photo.png"))
    with pytest.raises(ValueError, match="must be"):
        predictor.predict(torch.zeros(1, 4, 4, dtype=torch.uint8))
