"""Checkpoints: whole or not at all, no code in them, and nobody else's weights."""

import math
import os
import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seglab.callbacks.checkpoints import BestAndLast
from seglab.config.compose import compose
from seglab.errors import RunError
from seglab.run.checkpoints import (
    KEY,
    AtomicCheckpointIO,
    load_weights,
    read_checkpoint,
    stored_config,
)
from seglab.schema import TrainConfig

PLAIN = {"lr": 0.1, "names": ["a", None], "deep": {"on": True}}


def content(value: float = 1.0) -> dict[str, Any]:
    return {KEY: {"config": PLAIN}, "state_dict": {"w": torch.full((3,), value)}, "global_step": 7}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(content(), path)
    read = read_checkpoint(path)
    assert stored_config(read) == PLAIN
    assert read["global_step"] == 7
    assert torch.equal(read["state_dict"]["w"], torch.ones(3))
    assert names(path.parent) == ["last.ckpt"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_saving_that_fails_midway_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(content(1.0), path)

    def half(checkpoint: Any, file: Any) -> None:
        file.write(b"PK half a checkpoint")
        file.flush()
        assert len(names(tmp_path)) == 2
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(type(error)):
        AtomicCheckpointIO().save_checkpoint(content(2.0), path)
    assert names(tmp_path) == ["last.ckpt"]
    assert torch.equal(read_checkpoint(path)["state_dict"]["w"], torch.ones(3))


def test_a_checkpoint_that_was_read_is_handed_out_without_a_file_and_without_a_copy_left(
    tmp_path: Path,
) -> None:
    path, read = tmp_path / "last.ckpt", content()
    files = AtomicCheckpointIO({path: read})
    assert files.load_checkpoint(path)["global_step"] == 7
    assert read == {}, "the caller's reference would keep the weights in memory"
    with pytest.raises(FileNotFoundError):
        files.load_checkpoint(path)


# Files that are refused.


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "no.ckpt", tmp_path):
        with pytest.raises(RunError, match=f"checkpoint={path}: no such file"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    "raw", [b"", b"hello\n", b'{"a": 1}', b"\x89PNG\r\n\x1a\n" + bytes(50), b"PK\3\4" + bytes(99)]
)
def test_a_file_that_is_no_checkpoint(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(raw)
    with pytest.raises(RunError, match=f"checkpoint={path}: .*not a checkpoint"):
        read_checkpoint(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    path = folder / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint(content(), path)
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "truncate"):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1), "length")]
        harmless = False
    else:
        raw[data.draw(st.integers(0, len(raw) - 1), "at")] = data.draw(st.integers(0, 255), "byte")
        harmless = True
    path.write_bytes(raw)
    refusal = None
    try:
        read_checkpoint(path)
    except RunError as error:
        refusal = str(error)
    if refusal is None:
        assert harmless
    else:
        assert refusal.startswith(f"checkpoint={path}: ")
        assert "\n" not in refusal


class Payload:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_does_not_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "it-ran"
    path = tmp_path / "evil.ckpt"
    evil = {**content(), "payload": Payload(f"touch {mark}")}
    torch.save(evil, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(RunError, match=f"checkpoint={path}: refused: .* plain data"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(evil))
    with pytest.raises(RunError, match=f"checkpoint={path}"):
        read_checkpoint(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())  # so that the payload is known to be live
    assert mark.exists()


@pytest.mark.parametrize("other", [{"w": torch.ones(2)}, [1, 2], torch.ones(2)])
def test_somebody_elses_checkpoint(tmp_path: Path, other: Any) -> None:
    path = tmp_path / "a.pth"
    torch.save(other, path)
    with pytest.raises(RunError, match="not a seglab checkpoint: it holds no configuration"):
        read_checkpoint(path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    """Their class maps are all background, whose score looks like that of a poor model."""
    broken = content()
    broken["state_dict"]["w"][1] = value
    torch.save(broken, tmp_path / "a.ckpt")
    with pytest.raises(RunError, match="w contains NaN or infinity"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_a_compressed_checkpoint_is_refused(tmp_path: Path) -> None:
    """A few kilobytes of it unpack to gigabytes."""
    torch.save(content(), tmp_path / "a.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "a.ckpt") as plain,
        zipfile.ZipFile(tmp_path / "b.ckpt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in plain.namelist():
            packed.writestr(part, plain.read(part))
    with pytest.raises(RunError, match="it is compressed, as torch writes none"):
        read_checkpoint(tmp_path / "b.ckpt")


# Weights.


def test_weights_are_loaded() -> None:
    task, other = nn.Linear(2, 3), nn.Linear(2, 3)
    load_weights(task, {"state_dict": other.state_dict()}, Path("a.ckpt"))
    assert torch.equal(task.weight, other.weight)
    assert torch.equal(task.bias, other.bias)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (nn.Linear(2, 4), r"bias is \(4,\) there and \(3,\) in the configured model"),
        (nn.Linear(5, 3), r"weight is \(3, 5\) there and \(3, 2\) in the configured model"),
        (nn.Linear(2, 3, bias=False), r"bias is nothing there and \(3,\) in the configured"),
        (nn.Bilinear(2, 1, 3), r"weight is \(3, 2, 1\) there and \(3, 2\) in the configured"),
        (nn.Sequential(nn.Linear(2, 3)), r"0.bias is \(3,\) there and nothing in the configured"),
    ],
)
def test_another_models_weights_name_the_first_difference(theirs: nn.Module, said: str) -> None:
    task = nn.Linear(2, 3)
    before = task.weight.clone()
    with pytest.raises(RunError, match=r"checkpoint=a.ckpt: of another model: " + said):
        load_weights(task, {"state_dict": theirs.state_dict()}, Path("a.ckpt"))
    assert torch.equal(task.weight, before)


# The best and the last.


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return compose("train", TrainConfig, []).config


class FakeTrainer:
    """Saves the number of the epoch, as Lightning's Trainer would save the weights."""

    world_size = 3

    is_global_zero = True

    def __init__(self) -> None:
        self.state = SimpleNamespace(fn="fit")
        self.current_epoch = 0

    def save_checkpoint(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(self.current_epoch))


def follow(saving: BestAndLast, trainer: FakeTrainer, scores: list[float | None]) -> None:
    """Run an epoch for each score; None is an epoch without validation."""
    for score in scores:
        module = SimpleNamespace(scores={"val/mIoU": score})
        if score is not None:
            saving.on_validation_end(trainer, module)
        saving.on_train_epoch_end(trainer, module)
        trainer.current_epoch += 1


@pytest.mark.parametrize(
    ("scores", "best", "epoch"),
    [
        ([0.1, 0.3, 0.2], 0.3, 1),
        ([0.1, 0.1], 0.1, 0),  # not better: the first stays
        ([math.nan, 0.0, math.nan], 0.0, 1),
        ([None, 0.2, None, 0.1], 0.2, 1),
    ],
)
def test_the_best_epoch_is_kept(
    tmp_path: Path, config: TrainConfig, scores: list[float | None], best: float, epoch: int
) -> None:
    saving = BestAndLast(tmp_path / "checkpoints", config, {})
    follow(saving, FakeTrainer(), scores)
    assert saving.state_dict() == {"best": best, "best_epoch": epoch}
    assert names(tmp_path / "checkpoints") == ["best.ckpt", "last.ckpt"]
    assert (tmp_path / "checkpoints/best.ckpt").read_text() == str(epoch)
    assert (tmp_path / "checkpoints/last.ckpt").read_text() == str(len(scores) - 1)


def test_without_a_score_there_is_no_best(tmp_path: Path, config: TrainConfig) -> None:
    saving = BestAndLast(tmp_path, config, {})
    follow(saving, FakeTrainer(), [None, math.nan])
    assert names(tmp_path) == ["last.ckpt"]
    assert saving.state_dict() == {"best": -math.inf, "best_epoch": -1}


def test_a_validation_apart_from_training_is_no_epoch(tmp_path: Path, config: TrainConfig) -> None:
    saving, trainer = BestAndLast(tmp_path, config, {}), FakeTrainer()
    trainer.state.fn = "validate"
    saving.on_validation_end(trainer, SimpleNamespace(scores={"val/mIoU": 0.9}))
    assert saving.best == -math.inf


def test_a_resumed_run_must_beat_the_best_so_far(tmp_path: Path, config: TrainConfig) -> None:
    saving, trainer = BestAndLast(tmp_path, config, {}), FakeTrainer()
    follow(saving, trainer, [0.1, 0.5])
    resumed = BestAndLast(tmp_path, config, {})
    resumed.load_state_dict(saving.state_dict())
    follow(resumed, trainer, [0.4])
    assert (tmp_path / "best.ckpt").read_text() == "1"
    follow(resumed, trainer, [0.6])
    assert resumed.state_dict() == {"best": 0.6, "best_epoch": 3}
    assert (tmp_path / "best.ckpt").read_text() == "3"


def test_the_configuration_is_plain_data_in_the_checkpoint(
    tmp_path: Path, config: TrainConfig
) -> None:
    saving = BestAndLast(tmp_path, config, {})
    checkpoint = content()
    saving.on_save_checkpoint(FakeTrainer(), nn.Identity(), checkpoint)
    checkpoint["callbacks"] = {"BestAndLast": saving.state_dict()}
    AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "a.ckpt")
    stored = stored_config(read_checkpoint(tmp_path / "a.ckpt"))
    assert stored["data"]["store"]["enabled"] is True
    assert stored["model"]["net"]["num_classes"] == 7


@pytest.mark.parametrize(
    ("kept", "names"),
    [
        ("both", {"best.ckpt", "last.ckpt"}),
        ("last", {"last.ckpt"}),
        ("best", {"best.ckpt"}),
        ("none", set()),
    ],
)
def test_a_finished_run_keeps_what_it_was_told_to(
    seglab_cli: Any, tiny: list[str], tmp_path: Path, kept: str, names: set[str]
) -> None:
    arguments = [*tiny, "trainer.max_epochs=1", f"checkpoints={kept}", "hydra.run.dir=run"]
    assert seglab_cli("train", *arguments).code == 0
    assert {path.name for path in (tmp_path / "run/checkpoints").iterdir()} == names
