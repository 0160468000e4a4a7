"""seglab train resume=true: what a run records is what it was trained with."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

CLASSES = "[background,circle,square,triangle,ring,star,cross]"


def stored(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    return found


def status(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "status.json").read_text())
    return found


def test_a_start_checks_its_folder_once_and_a_resume_opens_its_checkpoint_once(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    loaded: list[Any] = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: loaded.append(a) or load(*a, **k))
    arguments = [*tiny, "hydra.run.dir=run", "resume=true"]
    interrupt(1)
    with audited("os.scandir", "run") as listed:
        assert seglab_cli("train", *arguments).code == 130
    interrupt(-1)
    assert len(listed) == 2, "the check of the start, and the report at the end"
    with (
        audited("os.scandir", "run") as listed,
        audited("open", "run/.hydra/config.yaml") as settings,
        audited("open", "run/checkpoints/last.ckpt") as opened,
    ):
        assert seglab_cli("train", *arguments).code == 0
    assert len(listed) == 2
    assert len(settings) == 2
    assert len(opened) == len(loaded) == 1
    assert status(run)["status"] == "finished"


@contextmanager
def audited(event: str, path: str) -> Iterator[list[str]]:
    """Collect what Python reports of a path: opened for reading, or listed."""
    events: list[str] = []
    on = True

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if on and name == event and str(arguments[0]).endswith(path):
            events.append(name)

    sys.addaudithook(hook)  # it cannot be removed
    try:
        yield events
    finally:
        on = False


def test_another_learning_rate_is_refused_and_the_settings_stay_those_of_the_training(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
) -> None:
    run = tmp_path / "run"
    arguments = [*tiny, "optimizer.lr=2e-3", "hydra.run.dir=run"]
    interrupt(1)
    assert seglab_cli("train", *arguments).code == 130
    interrupt(-1)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    changed = [*tiny, "optimizer.lr=0.7", "resume=true", "hydra.run.dir=run"]
    answer = seglab_cli("train", *changed)
    assert answer.code == 2
    assert "optimizer.lr=0.002, not 0.7" in answer.last_line
    assert "model.weights=run/checkpoints/last.ckpt" in answer.last_line
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert stored(run)["optimizer"]["lr"] == 2e-3

    assert seglab_cli("train", *arguments, "resume=true", "data.num_workers=1").code == 0
    assert stored(run)["optimizer"]["lr"] == 2e-3
    assert stored(run)["data"]["num_workers"] == 1
    assert seglab_cli("train", *changed).code == 2, "a finished run is not the answer either"

    new = [*tiny, "optimizer.lr=0.01", "model.weights=run/checkpoints/last.ckpt"]
    assert seglab_cli("train", *new, "hydra.run.dir=new").code == 0


def test_every_start_is_recorded_with_its_step_and_what_it_was_computed_on(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
) -> None:
    arguments = [*tiny, "hydra.run.dir=run"]
    interrupt(1)
    assert seglab_cli("train", *arguments, "trainer.threads=1").code == 130
    interrupt(-1)
    again = seglab_cli("train", *arguments, "trainer.threads=2", "resume=true")
    assert again.code == 0, again.err
    assert "trainer.threads=2, was 1" in again.out
    history = status(tmp_path / "run")["history"]
    assert [one["step"] for one in history] == [0, 2]
    assert [one["trainer.threads"] for one in history] == [1, 2]
    assert all(one["started"] and one["trainer.accelerator"] == "cpu" for one in history)


def test_no_number_of_threads_means_the_recorded_one(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from seglab.callbacks.finite import FiniteNumbers

    threads = []
    begin = FiniteNumbers.on_train_batch_start

    def noting(self: FiniteNumbers, *arguments: Any) -> None:
        threads.append(torch.get_num_threads())
        begin(self, *arguments)

    monkeypatch.setattr(FiniteNumbers, "on_train_batch_start", noting)
    before = torch.get_num_threads()
    recorded = before + 1
    interrupt(1)
    run = [*tiny, "hydra.run.dir=run"]
    assert seglab_cli("train", *run, f"trainer.threads={recorded}").code == 130
    torch.set_num_threads(before)
    interrupt(-1)
    assert seglab_cli("train", *run, "resume=true").code == 0
    assert {*threads} == {recorded}
    assert stored(tmp_path / "run")["trainer"]["threads"] == recorded
    for number, nothing in enumerate(([], ["trainer.threads=null"], ["trainer=cpu"])):
        torch.set_num_threads(before)
        checkpoint = "checkpoint=run/checkpoints/last.ckpt"
        assert seglab_cli("evaluate", checkpoint, *nothing, f"hydra.run.dir=ev{number}").code == 0
        assert stored(tmp_path / f"ev{number}")["trainer"]["threads"] == recorded
    torch.set_num_threads(before)


def test_a_run_that_left_no_checkpoint_starts_with_any_settings(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
) -> None:
    interrupt(0)
    assert seglab_cli("train", *tiny, "hydra.run.dir=run").code == 130
    interrupt(-1)
    other = [*tiny, "optimizer.lr=0.01", "resume=true", "hydra.run.dir=run"]
    answer = seglab_cli("train", *other)
    assert answer.code == 0, answer.err
    assert stored(tmp_path / "run")["optimizer"]["lr"] == 0.01
    assert [one["step"] for one in status(tmp_path / "run")["history"]] == [0, 0]


@pytest.fixture
def two_roots(tmp_path: Path) -> tuple[Path, Path]:
    """Return two data sets of equal ids, images and sizes; their masks differ in one pixel."""
    from seglab.data.synthetic import SyntheticSpec, write_tree

    roots = (tmp_path / "A", tmp_path / "B")
    for root in roots:
        write_tree(root, SyntheticSpec(train=8, val=5, width=64, height=48))
    path = roots[1] / "VOC2007/SegmentationClass/000001.png"
    with Image.open(path) as mask:
        pixel = mask.getpixel((0, 0))
        mask.putpixel((0, 0), 1 if pixel != 1 else 0)
        mask.save(path)
    return roots


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_a_run_is_not_resumed_on_other_data(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
    two_roots: tuple[Path, Path],
    state: str,
) -> None:
    run = [*tiny, "data=voc2007", "hydra.run.dir=run"]
    run = [one for one in run if "synth" not in one] + [f"data.classes={CLASSES}"]
    interrupt(1 if state == "interrupted" else -1)
    code = seglab_cli("train", *run, "data.root=A").code
    assert code == (130 if state == "interrupted" else 0)
    interrupt(-1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    answer = seglab_cli("train", *run, "data.root=B", "resume=true")
    assert answer.code == 2
    assert "hydra.run.dir=run: this run is of other data" in answer.last_line
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}

    shutil.copytree(tmp_path / "A", tmp_path / "moved")
    answer = seglab_cli("train", *run, "data.root=moved", "resume=true")
    assert answer.code == 0, answer.err
    assert ("nothing to do" in answer.out) == (state == "finished")


def test_a_run_an_evaluation_and_a_score_record_the_data(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    assert seglab_cli("train", *tiny, "data.root=data", "hydra.run.dir=run").code == 0
    data = status(tmp_path / "run")["data"]
    assert {*data} == {"train", "val"}
    assert all(len(digest) == 64 for digest in data.values())
    for split in ("val", "train"):
        checkpoint = "checkpoint=run/checkpoints/last.ckpt"
        ran = seglab_cli("evaluate", checkpoint, f"split={split}", f"hydra.run.dir={split}")
        assert ran.code == 0, ran.err
        found = status(tmp_path / split)
        assert found["data"] == {"val": data[split]}
        assert found["checkpoint"] == {"name": "last.ckpt", "step": 4, "data": data}
    (tmp_path / "maps").mkdir()
    for path in (tmp_path / "data/VOC2007/JPEGImages").iterdir():
        with Image.open(path) as image:
            Image.new("L", image.size).save(tmp_path / "maps" / f"{path.stem}.png")
    own = [one for one in tiny if one.startswith("data.synth")] + ["data.root=data"]
    assert seglab_cli("score", "predictions=maps", *own, "hydra.run.dir=score").code == 0
    assert status(tmp_path / "score")["data"] == {"val": data["val"]}
