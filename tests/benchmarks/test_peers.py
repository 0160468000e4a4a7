"""The loops that seglab is held against: they train, and measure what seglab measures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.peer_loops import LOOPS, Clock, Job
from benchmarks.peers import HEAD, SEGLAB, table
from seglab.config.compose import compose
from seglab.data.dataset import VOCSegmentation, open_dataset
from seglab.metrics.confusion import SegmentationMetrics, class_map
from seglab.models import PaddedCNN
from seglab.models.backbones import IMAGENET_MEAN, IMAGENET_STD
from seglab.schema import TrainConfig


@pytest.fixture
def split() -> VOCSegmentation:
    data = compose("train", TrainConfig, ["data.synth.train=4", "data.synth.val=4"]).config.data
    opened = open_dataset(data, data.train_split)
    assert isinstance(opened, VOCSegmentation)
    return opened


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging")
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec")  # Lightning 2.6 on torch 2.15
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_trains_and_finds_the_iou_that_seglab_finds(
    split: VOCSegmentation, tmp_path: Path, name: str
) -> None:
    if name == "segmentation_models_pytorch's example":
        pytest.importorskip("albumentations", reason="the extra `bench`")
    torch.manual_seed(0)
    net = PaddedCNN(len(split.classes), channels=[8, 8], dilations=[1, 1])
    before = [one.clone() for one in net.parameters()]
    files = list(zip(split.images, split.masks, strict=True))
    job = Job(
        net, len(split.classes), files, files, crop=32, batch=2, lr=0.01, epochs=2, folder=tmp_path
    )
    miou = LOOPS[name](job)
    assert any(not torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))
    assert {"first step", "training", "validation"} <= Clock.seconds.keys()

    metrics = SegmentationMetrics(split.classes)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        for index, sample in enumerate(split):
            logits = net.eval()(((sample.image / 255 - mean) / std)[None])
            place = torch.tensor([index])
            metrics.update(class_map(logits), sample.class_map[None], index=place)
    assert miou == pytest.approx(metrics.compute()["val/mIoU"], abs=0.01)


def test_the_table_has_medians_and_ratios_of_rounds() -> None:
    def found(training: float, validation: float) -> dict[str, float]:
        processor = {"training, processor": 2 * training, "validation, processor": 0.5}
        wall = {"training": training, "validation": validation}
        return {**wall, **processor, "first step": 3.0, "peak": 900.4}

    rounds = {SEGLAB: [found(1, 1), found(2, 2), found(1, 2)], "peer": [found(2, 2)] * 3}
    assert table(rounds, 10).splitlines() == [
        *HEAD.splitlines(),
        f"| {SEGLAB} | 6.7 (5.0 to 10.0) |  | 100.0 | 200.0 | 200.0 | 50.0 | 3.0 | 900 |",
        "| peer | 5.0 (5.0 to 5.0) | 0.75 (0.50 to 1.00) "
        "| 200.0 | 400.0 | 200.0 | 50.0 | 3.0 | 900 |",
    ]
