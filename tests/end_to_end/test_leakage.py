"""Training images among the validation images: the same id is refused, the same image reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seglab.data.synthetic import SyntheticSpec, write_tree

DATA = ["data=voc2007", "data.root=data"]


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Return the folder of the lists of a small data set."""
    write_tree(tmp_path / "data", SyntheticSpec(train=8, val=5, width=64, height=48))
    return tmp_path / "data" / "VOC2007" / "ImageSets" / "Segmentation"


@pytest.fixture
def train(seglab_cli: Callable[..., Any], tiny: list[str]) -> Callable[..., Any]:
    tiny = [override for override in tiny if not override.startswith("data.synth")]
    return lambda *more: seglab_cli("train", *DATA, *tiny, "trainer.max_epochs=1", *more)


def add_twin(lists: Path, name: str, twin: str) -> None:
    """Give a training image a second id, in the validation list."""
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        path = lists.parents[1] / folder
        (path / f"{twin}.{suffix}").parent.mkdir(exist_ok=True)
        shutil.copyfile(path / f"{name}.{suffix}", path / f"{twin}.{suffix}")
    with (lists / "val.txt").open("a") as file:
        file.write(f"{twin}\n")


def test_an_id_in_both_splits_is_refused_before_anything_is_made(
    lists: Path, train: Callable[..., Any], seglab_cli: Callable[..., Any], tmp_path: Path
) -> None:
    with (lists / "val.txt").open("a") as file:
        file.write("000002\n000003\n")
    answer = train("hydra.run.dir=run")
    assert answer.code == 2
    assert "data.val_split=val: 2 of 7 ids are in data.train_split=train" in answer.last_line
    assert "(000002, 000003)" in answer.last_line
    assert "data.allow_overlap=true" in answer.last_line
    assert not (tmp_path / "run").exists()
    checked = seglab_cli("data", "check", *DATA)
    assert checked.code == 1
    assert "data.val_split=val: 2 of 7 ids" in checked.out

    answer = train("hydra.run.dir=run", "data.allow_overlap=true")
    assert answer.code == 0, answer.err
    assert seglab_cli("data", "check", *DATA, "data.allow_overlap=true").code == 0


def test_a_sweep_and_the_python_api_refuse_it_too(
    lists: Path, train: Callable[..., Any], tiny: list[str]
) -> None:
    import seglab
    from seglab.errors import ConfigError

    answer = train("-m", "seed=0", "data.val_split=trainval", "hydra.sweep.dir=sweep")
    assert answer.code != 0
    assert "data.allow_overlap" in answer.out + answer.err
    tiny = [override for override in tiny if not override.startswith("data.synth")]
    with pytest.raises(ConfigError, match=r"data\.val_split=trainval: 8 of 13 ids"):
        seglab.fit(*DATA, *tiny, "data.val_split=trainval", "hydra.run.dir=run")
    with pytest.raises(ConfigError, match=r"data\.val_split=trainval: 64 of 96 ids"):
        seglab.fit("data.val_split=trainval", "hydra.run.dir=run")


def test_overfitting_on_purpose_needs_no_more_than_its_debug_option(
    lists: Path, train: Callable[..., Any]
) -> None:
    answer = train("debug=overfit", "evaluation.required_miou=0")  # in one epoch
    assert answer.code == 0, answer.err


def test_equal_images_of_other_ids_are_reported(
    lists: Path, train: Callable[..., Any], seglab_cli: Callable[..., Any]
) -> None:
    assert "equal images" not in train("hydra.run.dir=before").out
    add_twin(lists, "000004", "twin")
    add_twin(lists, "000005", "again/twin")
    for folder in ("run", "from-the-record"):
        answer = train(f"hydra.run.dir={folder}")
        assert answer.code == 0, answer.err
        (line,) = [line for line in answer.out.splitlines() if "equal images" in line]
        assert line.startswith("warning: 2 equal images in training and validation")
        assert "000004 and twin" in line
    checked = seglab_cli("data", "check", *DATA)
    assert checked.code == 1
    pairs = [line.split(": the same image as ") for line in checked.out.splitlines()]
    assert [
        (Path(pair[0]).name, Path(pair[1].split(",")[0]).name) for pair in pairs if len(pair) == 2
    ] == [("twin.jpg", "000004.jpg"), ("twin.jpg", "000005.jpg")]


def test_equal_images_are_listed_beside_a_mask_that_cannot_be_read(
    seglab_cli: Callable[..., Any], tmp_path: Path
) -> None:
    write_tree(tmp_path / "made", SyntheticSpec(train=4, val=2, width=64, height=48))
    voc = tmp_path / "made/VOC2007"
    shutil.copy(voc / "JPEGImages/000001.jpg", voc / "JPEGImages/000005.jpg")
    shutil.copy(voc / "SegmentationClass/000001.png", voc / "SegmentationClass/000005.png")
    (voc / "SegmentationClass/000002.png").write_bytes(b"no PNG")
    answer = seglab_cli("data", "check", "data=synthetic", f"data.root={tmp_path / 'made'}")
    assert answer.code == 1
    assert "000005.jpg: the same image as" in answer.out
    assert "000002.png: cannot be decoded" in answer.out
