"""Wrong input ends in one clear line before the first step, with the right exit code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seglab.data.synthetic import SyntheticSpec, write_tree

DATA = ["data=voc2007", "data.root=data"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    write_tree(root, SyntheticSpec(train=8, val=5, width=64, height=48))
    return root


@pytest.fixture
def voc(whole: Path, tmp_path: Path) -> Path:
    """Return the VOC2007 folder of a data set that a test may spoil."""
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data" / "VOC2007"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def repaint(path: Path, value: int) -> None:
    with Image.open(path) as mask:
        pixels = np.array(mask)
    pixels[3, 4] = value
    Image.fromarray(pixels).save(path)


def to_rgb(path: Path) -> None:
    with Image.open(path) as mask:
        rgb = mask.convert("RGB")
    rgb.save(path)


def resize(path: Path) -> None:
    with Image.open(path) as mask:
        small = mask.resize((9, 7))
    small.save(path)


SPOILED = {
    "a missing year": (
        lambda voc: voc.rename(voc.parent / "VOC2006"),
        ["VOC2007", "no such folder"],
    ),
    "a missing list": (
        lambda voc: (voc / "ImageSets/Segmentation/val.txt").unlink(),
        ["val.txt", "no such list", "train"],
    ),
    "an empty list": (
        lambda voc: (voc / "ImageSets/Segmentation/train.txt").write_text("\n \n"),
        ["train.txt", "empty"],
    ),
    "an id that is listed twice": (
        lambda voc: (voc / "ImageSets/Segmentation/train.txt").write_text("000001\n000001\n"),
        ["train.txt", "'000001' is listed twice"],
    ),
    "an id without an image": (
        lambda voc: (voc / "JPEGImages/000002.jpg").unlink(),
        ["JPEGImages/000002.jpg", "not found"],
    ),
    "an id without a mask": (
        lambda voc: (voc / "SegmentationClass/000002.png").unlink(),
        ["SegmentationClass/000002.png", "not found"],
    ),
    "a truncated image": (
        lambda voc: cut(voc / "JPEGImages/000002.jpg"),
        ["JPEGImages/000002.jpg", "cannot be decoded"],
    ),
    "a truncated mask": (
        lambda voc: cut(voc / "SegmentationClass/000010.png"),
        ["SegmentationClass/000010.png", "cannot be decoded"],
    ),
    "an RGB mask": (
        lambda voc: to_rgb(voc / "SegmentationClass/000002.png"),
        ["SegmentationClass/000002.png", "RGB", "palette"],
    ),
    "a mask of another size": (
        lambda voc: resize(voc / "SegmentationClass/000002.png"),
        ["SegmentationClass/000002.png", "9x7", "JPEGImages/000002.jpg"],
    ),
    "a label that is no class": (
        lambda voc: repaint(voc / "SegmentationClass/000002.png", 21),
        ["SegmentationClass/000002.png", "label 21", "0..20"],
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_data_is_named_before_anything_is_made(
    seglab_cli: Callable[..., Any], tiny: list[str], voc: Path, tmp_path: Path, name: str
) -> None:
    spoil, expected = SPOILED[name]
    spoil(voc)
    tiny = [override for override in tiny if not override.startswith("data.synth")]
    answer = seglab_cli("train", *DATA, *tiny, "hydra.run.dir=run")
    assert answer.code == 1
    assert answer.err.count("\n") == 1, "one line, and no traceback"
    for part in expected:
        assert part in answer.last_line
    assert not (tmp_path / "run").exists()

    if name not in ("a missing year",):
        checked = seglab_cli("data", "check", *DATA)
        assert checked.code == 1
        assert expected[0] in checked.out, "seglab data check lists it too"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.root=nowhere", ["data.root=nowhere", "no such folder"]),
        ("data.crop_size=0", ["data.crop_size=0", "at least 1"]),
        ("data.batch_size=100", ["data.batch_size=100", "8 samples"]),
        ("seed=abc", ["seed=abc", "whole number"]),
        ("optimizer.lrr=1", ["optimizer.lrr", "optimizer.lr"]),
        ("model=padded_cn", ["model=padded_cn", "padded_cnn"]),
        ("experiments=smok", ["experiments=smok", "smoke"]),
        ("model.net.kernel_size=4", ["model.net", "kernel_size=4", "odd"]),
        ("+model.net.depth=4", ["model.net.depth", "kernel_size"]),
        ("+optimizer.algorithm.beta=0.9", ["optimizer.algorithm.beta", "betas"]),
        ("trainer.accelerator=abacus", ["trainer", "abacus"]),
        ("trainer.precision=3", ["trainer", "3"]),
        ("loss.class_weights=[1,2]", ["loss.class_weights", "2 numbers for 21 classes"]),
        ("hydra.run.dir=data/VOC2007/Annotations/000001.xml", ["hydra.run.dir", "is a file"]),
        ("data.scale=[2,1]", ["data.scale"]),
        ("model.weights=DEFAULT", ["model.weights=DEFAULT", "PaddedCNN", "must be null"]),
        ("model.frozen=[feature.0]", ["model.frozen", "feature.0", "features.0"]),
        ("loss.terms=[{loss:dise,weight:1}]", ["loss", "dise", "dice"]),
        ("model.net.num_classes=5", ["model.net", "5", "21 classes"]),
        ("+callbacks.x._target_=torch.nn.Identity", ["callbacks.x", "Callback"]),
        ("trainer.deterministic=maybe", ["trainer.deterministic", "warn"]),
        ("data.scale=[1]", ["data.scale"]),
        ("model.std=[1,1]", ["model.std"]),
    ],
)
def test_a_wrong_configuration_exits_with_2_and_names_the_key(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    voc: Path,
    tmp_path: Path,
    override: str,
    expected: list[str],
) -> None:
    tiny = [one for one in tiny if not one.startswith("data.synth")]
    answer = seglab_cli("train", *DATA, *tiny, "hydra.run.dir=run", *override.split())
    assert answer.code == 2, answer.err
    assert answer.err.count("\n") == 1, answer.err
    for part in expected:
        assert part in answer.last_line
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_named(
    seglab_cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    # Root may write anywhere, so that the file system's answer is made here.
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    answer = seglab_cli("train", *tiny, "hydra.run.dir=run")
    assert answer.code == 1
    assert "not writable" in answer.last_line
