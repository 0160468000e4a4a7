"""Settings, checkpoints and outputs that cannot work: one line, before anything is made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import seglab
from seglab.errors import SeglabError
from seglab.run.checkpoints import KEY

TARGETED = ["trainer.max_epochs=1", "hydra.run.dir=run"]


@pytest.fixture
def run(seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path) -> Path:
    """Train for one epoch, with data that no cache shares; return the run."""
    answer = seglab_cli("train", *tiny, *TARGETED)
    assert answer.code == 0, answer.err
    return tmp_path / "run"


def refused(answer: Any, code: int, *parts: str) -> None:
    assert answer.code == code, answer.err
    assert answer.err.count("\n") == 1, answer.err
    for part in parts:
        assert part in answer.last_line


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["trainer.limit_train_batches=0.01"], "trainer.limit_train_batches=0.01: less than one"),
        (["trainer.limit_val_batches=0.3"], "trainer.limit_val_batches=0.3: less than one of 3"),
        (["trainer.precision=transformer-engine"], "trainer.precision=transformer-engine"),
        (["optimizer.lr=1e300"], "optimizer.lr=1e+300"),
        (["optimizer.weight_decay=1e300"], "optimizer.weight_decay=1e+300"),
        (["optimizer.lr=1e38", "optimizer.backbone_lr_factor=100", "model=fcn8s"], "optimizer.lr"),
        (["trainer.threads=1000000"], "trainer.threads=1000000: must be"),
        (["loss.class_weights=[1,1,1,1,1,1,1e-38]"], "loss.class_weights=1e-38: must be 0, or"),
        (["loss.class_weights=[1,1,1,1,1,1,1e30]"], "loss.class_weights=1e+30: must be 0, or"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_anything_is_made(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, overrides: list[str], told: str
) -> None:
    if "model=fcn8s" in overrides:
        tiny = [one for one in tiny if not one.startswith("model.net.")]
        overrides = [*overrides, "model.net.backbone=mobilenet_v2"]
    refused(seglab_cli("train", *tiny, *overrides, *TARGETED), 2, told)
    assert not (tmp_path / "run").exists()


def test_a_norm_of_one_number_is_one_line(seglab_cli: Callable[..., Any], tiny: list[str]) -> None:
    answer = seglab_cli("train", *tiny, "data.batch_size=1", "data.crop_size=1", *TARGETED)
    assert answer.code == 2
    assert "data.batch_size=1 data.crop_size=1: a norm of" in answer.last_line
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_class_weights_are_trained_with_in_every_precision(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, precision: str
) -> None:
    weights = "loss.class_weights=[0,1,1,1,1,1,0.001]"
    answer = seglab_cli("train", *tiny, f"trainer.precision={precision}", weights, *TARGETED)
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "run/metrics.json").read_text())["val/loss"] > 0


def test_missing_weights_are_noticed_before_the_data(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, own_cache: Path
) -> None:
    new = ["data.synth.seed=4711", "model.weights=none.ckpt", *TARGETED]
    before = sorted(own_cache.rglob("*"))
    refused(seglab_cli("train", *tiny, *new), 1, "model.weights=none.ckpt: no such file")
    with pytest.raises(SeglabError, match=r"model.weights=none.ckpt: no such file"):
        seglab.fit(*tiny, *new)
    assert sorted(own_cache.rglob("*")) == before, "no data has been made"


# Checkpoints.


def sparse(content: dict[str, Any]) -> None:
    state = content["state_dict"]
    state["net.classifier.bias"] = state["net.classifier.bias"].to_sparse()


def change(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(content: dict[str, Any]) -> None:
        if value is None:
            del content[key]
        else:
            content[key] = value

    return apply


def every(kind: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], None]:
    def apply(content: dict[str, Any]) -> None:
        content["state_dict"] = {name: kind(one) for name, one in content["state_dict"].items()}

    return apply


MALFORMED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no state": (change("state_dict", None), "no state dict"),
    "empty state": (change("state_dict", {}), "no state dict"),
    "list for state": (change("state_dict", [1]), "no state dict"),
    "numbers for tensors": (every(lambda one: 1), "is of type int, not a tensor"),
    "complex": (every(lambda one: one.to(torch.complex64)), "is complex"),
    "without data": (every(lambda one: one.to("meta")), "is without data"),
    "sparse": (sparse, "net.classifier.bias is sparse"),
    "numbers for names": (change("state_dict", {1: torch.ones(1)}), "has the key 1, which"),
}


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants:UserWarning")  # torch's
@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_state_is_one_line_wherever_it_is_read(
    seglab_cli: Callable[..., Any], tiny: list[str], run: Path, tmp_path: Path, what: str
) -> None:
    spoil, told = MALFORMED[what]
    last = run / "checkpoints/last.ckpt"
    content = torch.load(last, weights_only=True)
    spoil(content)
    torch.save(content, tmp_path / "bad.ckpt")
    photograph(tmp_path / "a.png")
    bad = "checkpoint=bad.ckpt"
    refused(seglab_cli("evaluate", bad, "hydra.run.dir=evaluated"), 1, bad, told)
    refused(seglab_cli("predict", bad, "input=a.png", "output=maps"), 1, bad, told)
    with pytest.raises(SeglabError, match=told):
        seglab.load("bad.ckpt")
    fresh = ["model.weights=bad.ckpt", "hydra.run.dir=fresh"]
    # Some of these files pass for a state dict of their own, and so have other words.
    own = ("no state", "empty state", "list for state", "numbers for names")
    part = "model.weights=bad.ckpt" if what in own else told.removeprefix("net.")
    refused(seglab_cli("train", *tiny, *fresh), 1, "model.weights=bad.ckpt", part)
    shutil.copy(tmp_path / "bad.ckpt", last)
    unfinished(run)
    more = ["trainer.max_epochs=1", "resume=true", "hydra.run.dir=run"]
    refused(seglab_cli("train", *tiny, *more), 1, str(Path("run/checkpoints/last.ckpt")), told)
    assert not any((tmp_path / name).exists() for name in ("evaluated", "maps", "fresh"))


def unfinished(run: Path) -> None:
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    (run / "metrics.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (change("optimizer_states", []), "no optimizer_states"),
        (change("lr_schedulers", []), "no lr_schedulers"),
        (change("callbacks", {}), "no callbacks"),
        (change("callbacks", {"Other": {"best": 1}}), "no best score"),
        (change("loops", {}), "its loops contain no step"),
        (change("loops", [1]), "its loops contain no step"),
        (change("global_step", "3"), "its step or epoch is not a number"),
    ],
)
def test_a_run_is_not_resumed_from_a_part_of_its_state(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    run: Path,
    spoil: Callable[[dict[str, Any]], None],
    told: str,
) -> None:
    last = run / "checkpoints/last.ckpt"
    content = torch.load(last, weights_only=True)
    spoil(content)
    torch.save(content, last)
    unfinished(run)
    answer = seglab_cli("train", *tiny, *TARGETED, "resume=true")
    refused(answer, 1, "run/checkpoints/last.ckpt: damaged", told)


def configured(run: Path, **groups: dict[str, Any]) -> None:
    path = run / "checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    for group, values in groups.items():
        content[KEY]["config"][group] |= values
    torch.save(content, path)


LAST = "checkpoint=run/checkpoints/last.ckpt"


def test_a_checkpoints_threads_are_known_and_possible(
    seglab_cli: Callable[..., Any], run: Path
) -> None:
    configured(run, trainer={"threads": 10**7})
    refused(seglab_cli("evaluate", LAST, "hydra.run.dir=a"), 2, "trainer.threads=10000000: must be")
    assert seglab_cli("evaluate", LAST, "trainer.threads=1", "hydra.run.dir=b").code == 0
    path = run / "checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    del content[KEY]["config"]["trainer"]["threads"]
    torch.save(content, path)
    refused(seglab_cli("evaluate", LAST, "hydra.run.dir=c"), 1, "has no trainer.threads")
    content[KEY] = [content[KEY]]
    torch.save(content, path)
    refused(seglab_cli("evaluate", LAST, "hydra.run.dir=c"), 1, "configuration is not a mapping")


def test_a_checkpoint_names_no_list_outside_its_data(
    seglab_cli: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("5e9a7e15\n")
    for name, layout in (
        ("../../../../secret", "coco"),  # part of the name of its JSON
        (str(secret), "folder"),
        ("secret.txt", "folder"),
        ("../../../../secret", "folder"),
    ):
        configured(run, data={"val_split": name, "layout": layout})
        answer = seglab_cli("evaluate", LAST, "hydra.run.dir=a")
        refused(answer, 2, f"its data.val_split={name} is outside data.root=")
        assert "5e9a7e15" not in answer.out + answer.err
    secret.write_text("000010\n000011\n")
    own = f"data.val_split={secret}"
    assert seglab_cli("evaluate", LAST, own, "hydra.run.dir=b").code == 0
    assert seglab_cli("evaluate", LAST, "split=secret.txt", "hydra.run.dir=c").code == 0


def test_a_checkpoint_does_not_fill_the_disk_with_built_in_data(
    seglab_cli: Callable[..., Any], run: Path
) -> None:
    for train in (100_000, "100000"):
        configured(run, data={"synth": {"train": train, "val": 5, "width": 4096, "height": 4096,
                                        "seed": 0}})  # fmt: skip
        answer = seglab_cli("evaluate", LAST, "hydra.run.dir=a")
        refused(answer, 2, "data.synth: 1,677,", "trust=true")


# What predict writes.


def photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def test_predict_never_overwrites_photographs(
    seglab_cli: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photograph(photos / "a.png")
    (tmp_path / "link").symlink_to(photos)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/a.png").symlink_to(photos / "a.png")
    before = (photos / "a.png").read_bytes()
    for source, output in (
        ("photos", "photos"),
        ("photos/a.png", "photos"),
        ("photos", "link"),
        ("link", "photos"),
        ("linked", "photos"),
        ("linked", "linked"),
        ("photos", "."),
        ("photos", "linked/../photos"),
    ):
        answer = seglab_cli("predict", LAST, f"input={source}", f"output={output}")
        refused(answer, 2, f"output={output}: contains photographs of input={source}")
    assert (photos / "a.png").read_bytes() == before
    assert [path.name for path in photos.iterdir()] == ["a.png"]
    for output in ("maps", "maps", "photos/maps"):  # a second time, and below the photographs
        assert seglab_cli("predict", LAST, "input=photos", f"output={output}").code == 0
    answer = seglab_cli("predict", LAST, "input=maps/../photos/a.png", "output=maps")
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("name", ["maps", "maps/overlays", "maps/instances"])
def test_a_file_where_predict_needs_a_folder_is_one_line(
    seglab_cli: Callable[..., Any], run: Path, tmp_path: Path, name: str
) -> None:
    photograph(tmp_path / "a.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    answer = seglab_cli("predict", LAST, "input=a.png", "output=maps")
    refused(answer, 2, f"output=maps: {name} is a file, not a folder")
    assert (tmp_path / name).read_text() == "mine"
