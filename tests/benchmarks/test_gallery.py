"""The pictures of best, median and worst photographs are those of the model that was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks import gallery
from seglab.run.checkpoints import read_checkpoint


def test_best_median_and_worst_are_in_order() -> None:
    mious = {f"{n:02}": n / 20 for n in range(20)} | {"void": float("nan")}
    assert gallery.chosen(mious) == {
        "best": ["19", "18", "17"], "median": ["11", "10", "09"], "worst": ["02", "01", "00"],
    }  # fmt: skip


PADDED_CNN = ["model.net.channels=8", "model.net.dilations=[1,2]"]
MASK_RCNN = [
    "model=mask_rcnn", "model.net.channels=16", "model.net.box_head=32", "model.net.mask_layers=1",
    "evaluation.score_threshold=0.1",
]  # fmt: skip


@pytest.mark.parametrize("net", [PADDED_CNN, MASK_RCNN])
def test_pictures_are_of_the_measured_model(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, net: list[str]
) -> None:
    more = ["data.synth.val=9", "trainer.max_epochs=1", "logger=csv", "hydra.run.dir=run"]
    data = [key for key in tiny if not key.startswith("model.")]
    assert seglab_cli("train", *data, *net, *more).code == 0
    last = "run/checkpoints/last.ckpt"
    assert seglab_cli("evaluate", f"checkpoint={last}", "hydra.run.dir=e").code == 0
    gallery.main("e", last, "shown.jpg")
    with Image.open(tmp_path / "shown.jpg") as shown:
        assert shown.height > 9 * gallery.TOP
    content = read_checkpoint(tmp_path / last)
    for value in content["state_dict"].values():
        value.neg_()
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(SystemExit, match="e: measured another model"):
        gallery.main("e", "other.ckpt", "other.jpg")
    assert not (tmp_path / "other.jpg").exists()
