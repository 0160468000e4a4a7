"""Images that are not RGB of 8 bits: trained, evaluated and predicted from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import seglab
from tests.conftest import Answer

Cli = Callable[..., Answer]

RANGE = "data.value_range=[0,40000]"
SETTINGS = {
    "1 channel of 16 bits": ["data.channels=1", RANGE, "model.mean=[0.4]", "model.std=[0.2]"],
    "4 channels": [
        "data.channels=4",
        "model.mean=[0.4,0.4,0.4,0.4]",
        "model.std=[0.2,0.2,0.2,0.2]",
    ],
    "5 pages of 16 bits": [
        "data.channels=5",
        RANGE,
        "model.mean=[0.4,0.4,0.4,0.4,0.4]",
        "model.std=[0.2,0.2,0.2,0.2,0.2]",
    ],
}


def write(path: Path, pixels: np.ndarray, kind: str) -> None:
    """Write ``(H, W, 5)`` of 0 to 255."""
    deep = [Image.fromarray(plane.astype(np.uint16) * 150) for plane in np.moveaxis(pixels, -1, 0)]
    if kind == "1 channel of 16 bits":
        deep[0].save(path)
    elif kind == "4 channels":
        Image.fromarray(np.ascontiguousarray(pixels[..., :4])).save(path)
    else:
        deep[0].save(path, save_all=True, append_images=deep[1:])


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[str], Path]:
    """Write ten images in VOC's layout: the object is where the last channels are bright."""

    def make(kind: str) -> Path:
        root = tmp_path / "data"
        for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets"):
            (root / name).mkdir(parents=True)
        (root / "ImageSets" / "Segmentation").mkdir()
        rng = np.random.default_rng(0)
        for number in range(10):
            labels = np.zeros((40 + number % 2, 37), np.uint8)
            top, left = rng.integers(0, 20, 2)
            labels[top : top + 15, left : left + 15] = 1
            pixels = rng.integers(0, 60, (*labels.shape, 5)) + 150 * labels[..., None]
            write(root / "JPEGImages" / f"{number}.tif", pixels.astype(np.uint8), kind)
            for folder in ("SegmentationClass", "SegmentationObject"):
                Image.fromarray(labels).save(root / folder / f"{number}.png")
        for split, ids in (("train", range(6)), ("val", range(6, 10))):
            text = "".join(f"{number}\n" for number in ids)
            (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(text)
        return root

    return make


@pytest.fixture
def base(tmp_path: Path) -> list[str]:
    return [
        "data=folder",
        f"data.root={tmp_path / 'data'}",
        "data.classes=[background,thing]",
        "data.crop_size=32",
        "data.batch_size=3",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        "pictures.samples=2",
        "hydra.run.dir=run",
    ]


SMALL = ["model.net.channels=8", "model.net.dilations=[1,2]"]


@pytest.mark.parametrize("kind", SETTINGS)
def test_train_evaluate_predict(
    seglab_cli: Cli, tree: Callable[[str], Path], base: list[str], tmp_path: Path, kind: str
) -> None:
    root = tree(kind)
    arguments = [*base, *SMALL, "optimizer.lr=0.02", "trainer.max_epochs=6", *SETTINGS[kind]]
    answer = seglab_cli("train", *arguments)
    assert answer.code == 0, answer.err
    checkpoint = "checkpoint=run/checkpoints/last.ckpt"
    measured = seglab_cli("evaluate", checkpoint, "hydra.run.dir=ev")
    assert measured.code == 0, measured.err
    for name in ("val/mIoU", "val/loss"):
        assert metrics(tmp_path / "ev")[name] == metrics(tmp_path / "run")[name]
    predicted = seglab_cli(
        "predict", checkpoint, f"input={root / 'JPEGImages'}", f"output={tmp_path / 'out'}"
    )
    assert predicted.code == 0, predicted.err
    data = [*base[:3], *(one for one in SETTINGS[kind] if one.startswith("data."))]
    scored = seglab_cli("score", "predictions=out", *data, "hydra.run.dir=sc")
    assert scored.code == 0, scored.err
    assert metrics(tmp_path / "sc")["val/mIoU"] == metrics(tmp_path / "run")["val/mIoU"]
    for picture in (tmp_path / "out" / "overlays" / "7.png", tmp_path / "run/predictions/6.png"):
        with Image.open(picture) as opened:
            assert opened.mode == "RGB"
    shown = seglab_cli("data", "show", *data, "output=s.png")
    assert shown.code == 0, shown.err
    model = seglab.load(tmp_path / "run/checkpoints/last.ckpt")
    written = np.array(Image.open(tmp_path / "out" / "7.png"))
    path = root / "JPEGImages" / "7.tif"
    with Image.open(path) as picture:
        for image in (path, picture):
            np.testing.assert_array_equal(model.predict(image).numpy(), written)


def metrics(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return content


def test_other_channels_are_other_data(
    seglab_cli: Cli, tree: Callable[[str], Path], base: list[str], tmp_path: Path
) -> None:
    tree("1 channel of 16 bits")
    settings = SETTINGS["1 channel of 16 bits"]
    assert seglab_cli("train", *base, *SMALL, *settings, "trainer.max_epochs=1").code == 0
    other = [one.replace("40000", "20000") for one in settings]
    answer = seglab_cli(
        "train", *base, *SMALL, *other, "trainer.max_epochs=1", "hydra.run.dir=other"
    )
    assert answer.code == 0, answer.err
    identities = [
        json.loads((tmp_path / name / "status.json").read_text())["data"]
        for name in ("run", "other")
    ]
    assert identities[0] != identities[1]
    assert metrics(tmp_path / "run")["val/loss"] != metrics(tmp_path / "other")["val/loss"]


def test_mask_rcnn_trains_on_four_channels(
    seglab_cli: Cli, tree: Callable[[str], Path], base: list[str], tmp_path: Path
) -> None:
    tree("4 channels")
    answer = seglab_cli(
        "train",
        *base,
        *SETTINGS["4 channels"],
        "model=mask_rcnn",
        "model.net.channels=16",
        "model.net.box_head=16",
        "model.net.mask_layers=1",
        "trainer.max_epochs=1",
    )
    assert answer.code == 0, answer.err
    weights = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert weights["net.backbone.body.features.0.0.weight"].shape[1] == 4


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "give data.value_range=[LOW,HIGH]"),
        (["data.channels=1"], "model.mean: 3 numbers for data.channels=1; give one"),
        ([*SETTINGS["1 channel of 16 bits"], "data.photometric=0.5"], "data.photometric=0.5"),
        (["data.value_range=[5,5]"], "data.value_range=[5.0, 5.0]: must be a list of 2"),
        ([RANGE, "data.channels=2", "model.mean=[0,0]", "model.std=[1,1]"], "needs 2"),
    ],
)
def test_what_does_not_fit_is_one_line_with_the_key(
    seglab_cli: Cli,
    tree: Callable[[str], Path],
    base: list[str],
    overrides: list[str],
    expected: str,
) -> None:
    tree("1 channel of 16 bits")
    answer = seglab_cli("train", *base, *SMALL, *overrides)
    assert answer.code != 0
    assert expected in answer.last_line
