"""seglab data synth | show | check | download, and a data set of one's own."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seglab.config.overrides import parse
from seglab.data.classes import palette

SMALL = ["data.synth.train=4", "data.synth.val=3"]


def test_synth_writes_a_tree_that_check_finds_sound(
    seglab_cli: Callable[..., Any], tmp_path: Path
) -> None:
    assert seglab_cli("data", "synth", *SMALL, "data.root=made").code == 0
    assert len(list((tmp_path / "made/VOC2007/JPEGImages").glob("*.jpg"))) == 7
    again = seglab_cli("data", "synth", *SMALL, "data.root=made")
    assert again.code == 0
    assert "existed already" in again.out
    checked = seglab_cli("data", "check", "data=voc2007", "data.root=made")
    assert checked.code == 0, checked.out
    assert "no problem found" in checked.out


def test_show_draws_a_sample(seglab_cli: Callable[..., Any], tmp_path: Path) -> None:
    answer = seglab_cli("data", "show", *SMALL, "split=val", "index=2", "output=sub/x.png")
    assert answer.code == 0, answer.err
    with Image.open(tmp_path / "sub/x.png") as picture:
        assert picture.width > 3 * 128
    answer = seglab_cli("data", "show", *SMALL, "split=val", "index=3")
    assert answer.code == 2
    assert "index=3" in answer.last_line
    assert "0 to 2" in answer.last_line


def test_synth_without_a_root_names_its_folder_and_the_key(
    seglab_cli: Callable[..., Any], tmp_path: Path
) -> None:
    answer = seglab_cli("data", "synth", *SMALL)
    assert answer.code == 0
    assert Path(answer.out.split(": ")[0], "VOC2007/JPEGImages").is_dir()
    assert "give data.root=DIR for a folder of your choice" in answer.out
    assert "data.root=DIR" not in seglab_cli("data", "synth", *SMALL, "data.root=made").out


@pytest.mark.parametrize(
    "names", [["background", "leaf [young]"], ["a", "b (c)", "d"], ["a", "b=c"], ["R&D", "it's"]]
)
def test_class_names_that_need_quotes_are_shown_with_them(
    seglab_cli: Callable[..., Any], names: list[str]
) -> None:
    given = f"data.classes=[{', '.join(names)}]"
    answer = seglab_cli("data", "check", "data=folder", "data.root=none", given)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    _, _, shown = answer.last_line.partition("need quotes: ")
    (argument,) = shlex.split(shown)
    assert parse([argument])[0].value() == names
    again = seglab_cli("data", "check", "data=folder", "data.root=none", argument)
    assert "data.root=none: no such folder" in again.last_line


@pytest.mark.parametrize(
    "given", ["data.classes=[a,b", "data.classes=[a]]b", "data.root=[=x", "data.classes=[1,[2]"]
)
def test_a_broken_list_is_not_answered_with_quotes(
    seglab_cli: Callable[..., Any], given: str
) -> None:
    answer = seglab_cli("data", "check", given)
    assert answer.code == 2
    assert "need quotes" not in answer.last_line


def test_download_names_the_years_there_are(seglab_cli: Callable[..., Any]) -> None:
    answer = seglab_cli("data", "download", "year=2013", "data.root=x")
    assert answer.code == 2
    assert "2012" in answer.last_line
    assert seglab_cli("data", "download", "year=2012").code == 2, "data.root is not set"


@pytest.mark.parametrize("labelled", ["by data.classes", "by labelmap.txt and RGB masks"])
def test_a_data_set_of_ones_own_trains(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, labelled: str
) -> None:
    own = tmp_path / "own"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (own / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    colours = {"soil": (0, 0, 0), "leaf": (10, 200, 30), "weed": (200, 10, 30)}
    for index in range(6):
        labels = random.integers(0, 3, (40, 50), dtype=np.uint8)
        labels[0] = 255
        image = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(image).save(own / f"JPEGImages/{index}.png")
        if labelled == "by data.classes":
            Image.fromarray(labels).save(own / f"SegmentationClass/{index}.png")
        else:
            table = np.zeros((256, 3), np.uint8)
            table[:3], table[255] = list(colours.values()), palette()[255]
            Image.fromarray(table[labels]).save(own / f"SegmentationClass/{index}.png")
    (own / "ImageSets/Segmentation/train.txt").write_text("0\r\n1 \r\n 2\r\n3\r\n")
    (own / "ImageSets/Segmentation/val.txt").write_text("4\n5\n\n")
    given = ["data.classes=[soil,leaf,weed]"]
    if labelled != "by data.classes":
        lines = [f"{name}:{r},{g},{b}::" for name, (r, g, b) in colours.items()]
        (own / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines))
        given = []
    tiny = [override for override in tiny if not override.startswith("data.synth")]
    arguments = ["data=folder", "data.root=own", *given, *tiny, "hydra.run.dir=run"]
    answer = seglab_cli("train", *arguments)
    assert answer.code == 0, answer.err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    names = {name for name in metrics if name.startswith("val/IoU/")}
    assert names == {"val/IoU/soil", "val/IoU/leaf", "val/IoU/weed"}
    answer = seglab_cli("evaluate", "checkpoint=run/checkpoints/last.ckpt", "hydra.run.dir=ev")
    assert answer.code == 0, answer.err


def test_show_takes_the_configured_splits_and_any_list(
    seglab_cli: Callable[..., Any], tmp_path: Path
) -> None:
    assert seglab_cli("data", "synth", *SMALL, "data.root=made").code == 0
    lists = tmp_path / "made/VOC2007/ImageSets/Segmentation"
    (lists / "mine.txt").write_text("000006\n")
    (lists / "other.txt").write_text("000002\n")
    (tmp_path / "file.lst").write_text("000004\n")
    data = ["data=voc2007", "data.root=made", "data.train_split=other", "data.val_split=mine"]
    shown = {}
    for split in ("train", "val", "trainval", "file.lst"):
        answer = seglab_cli("data", "show", *data, f"split={split}")
        assert answer.code == 0, answer.err
        shown[split] = answer.out.strip()
    assert shown == {
        "train": "sample_000002.png",
        "val": "sample_000006.png",
        "trainval": "sample_000001.png",
        "file.lst": "sample_000004.png",
    }


@pytest.mark.parametrize(
    ("action", "unneeded"), [("check", ("torch", "lightning")), ("show", ("lightning",))]
)
def test_looking_at_data_does_not_wait_for_what_trains(
    tmp_path: Path, action: str, unneeded: tuple[str, ...]
) -> None:
    program = f"""
import sys
from seglab.cli import main
assert main(["data", "{action}", *{SMALL}]) == 0
assert not set({unneeded}) & set(sys.modules)
"""
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
