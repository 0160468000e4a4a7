"""Names from files are shown as text: class names that are rich markup or escape sequences."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

NAMES = ("soil", "[/cross]", "leaf [young]", "\x1b]0;x\x07", "\u202eevil", "=1+2")
SHOWN = ("soil", "[/cross]", "leaf [young]", "?]0;x?", "?evil", "=1+2")


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """Write a data set whose label map names the classes oddly; return what chooses it."""
    own = tmp_path / "own [b]\x1b[2J"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (own / name).mkdir(parents=True)
    colours = np.array([(40 * k, 7, 9) for k in range(len(NAMES))], np.uint8)
    rng = np.random.default_rng(0)
    for index in range(6):
        labels = rng.integers(0, len(NAMES), (40, 50))
        image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(image).save(own / f"JPEGImages/{index}.png")
        Image.fromarray(colours[labels]).save(own / f"SegmentationClass/{index}.png")
    (own / "ImageSets/Segmentation/train.txt").write_text("0\n1\n2\n3\n")
    (own / "ImageSets/Segmentation/val.txt").write_text("4\n5\n")
    lines = [f"{name}:{40 * k},7,9::" for k, name in enumerate(NAMES)]
    (own / "labelmap.txt").write_text("\n".join(lines), encoding="utf-8")
    return ["data=folder", f"data.root='{own.name}'"]


def is_text(answer: Any) -> None:
    """Assert that a command ended well, and showed nothing that a terminal obeys."""
    assert answer.code == 0, answer.err
    for text in (answer.out, answer.err):
        assert all(c.isprintable() for line in text.split("\n") for c in line)


def test_odd_class_names_through_every_command(
    seglab_cli: Callable[..., Any], tiny: list[str], data: list[str], tmp_path: Path
) -> None:
    tiny = [override for override in tiny if not override.startswith("data.synth")]
    for seed in (0, 1):
        folder = f"hydra.run.dir='runs/[b]{seed}'"
        answer = seglab_cli("train", *data, *tiny, f"seed={seed}", folder)
        is_text(answer)
        assert all(name in answer.out for name in SHOWN)
    metrics = json.loads((tmp_path / "runs/[b]0/metrics.json").read_text())
    assert {f"val/IoU/{name}" for name in NAMES} <= metrics.keys(), "files have the names as given"

    checkpoint = "checkpoint='runs/[b]0/checkpoints/last.ckpt'"
    answer = seglab_cli("evaluate", checkpoint, "hydra.run.dir=ev")
    is_text(answer)
    assert all(name in answer.out for name in SHOWN)
    assert "* unreliable interval: fewer than 100 images" in answer.out

    answer = seglab_cli("compare", "runs", "ev", "--output", "out")
    is_text(answer)
    assert "[b]0" in answer.out
    assert "* unreliable interval: fewer than 100 images" in answer.out
    with (tmp_path / "out/compare.csv").open(newline="", encoding="utf-8") as file:
        assert {f"val/IoU/{name}" for name in NAMES} <= set(next(csv.reader(file)))

    is_text(seglab_cli("data", "show", *data, "output=x.png"))
    is_text(seglab_cli("data", "check", *data))
    is_text(seglab_cli("train", *data, *tiny, "--dry-run"))


def test_an_error_shows_a_name_as_text(seglab_cli: Callable[..., Any], tmp_path: Path) -> None:
    answer = seglab_cli("train", "data=voc2007", "data.root='gone [/b]\x1b]0;x\x07\x9b2J\u202e'")
    assert answer.code != 0
    assert "gone [/b]?]0;x" in answer.last_line
    assert all(c.isprintable() for c in answer.last_line)
