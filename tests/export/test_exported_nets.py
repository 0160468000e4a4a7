"""Every net that seglab ships can be exported; a file that differs is not written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from seglab.config.compose import compose
from seglab.errors import RunError
from seglab.export.export import export, plain_config
from seglab.models import PaddedCNN
from seglab.schema import TrainConfig
from seglab.session import Session
from seglab.tasks.base import Task
from seglab.tasks.semantic import SemanticSegmentation

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

SMALL = "model.net.backbone=mobilenet_v2"

NETS = [
    ["model=fcn32s", SMALL],
    ["model=fcn16s", SMALL],
    ["model=fcn8s", SMALL, "model.net.context=true"],
    ["model=padded_head"],
    ["model=fcn_resnet50"],
    ["model=smp_unet"],
    ["model=smp_segformer"],
    ["model=lraspp"],
    ["data.channels=4", "model.mean=[0,0,0,0]", "model.std=[1,1,1,1]", "data.photometric=0"],
]


def task_of(tmp_path: Path, overrides: list[str]) -> Task:
    config = compose("train", TrainConfig, ["trainer.accelerator=cpu", *overrides]).config
    task = Session(plain_config(config), "predict", tmp_path).task
    with torch.no_grad():
        for parameter in task.parameters():  # layers that start at zero would hide any difference
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return task


@pytest.mark.parametrize("net", NETS, ids=lambda net: net[0])
def test_the_shipped_nets_can_be_exported(tmp_path: Path, net: list[str]) -> None:
    if "smp" in net[0]:
        pytest.importorskip("segmentation_models_pytorch", reason="the extra smp")
    assert export(task_of(tmp_path, net), tmp_path / "model.onnx", {"classes": "[]"}) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.slow
def test_the_paddings_of_fcn_are_those_of_each_image_in_torch_export_too(tmp_path: Path) -> None:
    task = task_of(tmp_path, ["model=fcn8s", SMALL, "model.net.context=true"])
    export(task, tmp_path / "model.pt2", {})
    assert (tmp_path / "model.pt2").stat().st_size > 5_000_000


class BranchesOnSize(nn.Module):
    """A net whose trace is wrong for other sizes than the traced one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = PaddedCNN(3, 8, dilations=(1,))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.net(image)
        return logits.flip(1) if image.shape[2] > 140 else logits


def test_a_file_that_differs_is_not_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = SemanticSegmentation(BranchesOnSize(), ("a", "b", "c"))
    with pytest.raises(
        RunError, match=r"differs from the checkpoint on an image of 75x160: .*pixels"
    ):
        export(task, tmp_path / "model.onnx", {})
    assert not list(tmp_path.iterdir())


class TakesMultiplesOf16(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = PaddedCNN(3, 8, dilations=(1,))

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[2] % 16 or image.shape[3] % 16:
            raise RuntimeError("give multiples of 16")
        logits: Tensor = self.net(image)
        return logits


def test_a_net_for_some_sizes_is_refused(tmp_path: Path) -> None:
    task = SemanticSegmentation(TakesMultiplesOf16(), ("a", "b", "c"))
    with pytest.raises(RunError, match=r"takes no image of 131x97.*give multiples of 16"):
        export(task, tmp_path / "model.onnx", {})
    assert not list(tmp_path.iterdir())


def test_a_mask_rcnn_that_finds_nothing_can_be_exported(tmp_path: Path) -> None:
    settings = ["model=mask_rcnn", "model.net.channels=16", "model.net.box_score_thresh=0.99"]
    assert export(task_of(tmp_path, settings), tmp_path / "model.onnx", {}) == 0
