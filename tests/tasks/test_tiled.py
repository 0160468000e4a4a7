"""Tasks with tiles and scales: equal to whole images where they must be."""

import pytest
import torch
from torch import nn

from seglab.config.compose import compose
from seglab.errors import ConfigError
from seglab.inference.tiles import Tiling
from seglab.losses import SegmentationLoss, image_fractions
from seglab.schema import TrainConfig
from seglab.tasks.base import Task
from seglab.tasks.factories import build_task
from seglab.tasks.semantic import SemanticSegmentation


def build(*overrides: str) -> Task:
    config = compose("train", TrainConfig, ["trainer.accelerator=cpu", *overrides]).config
    torch.manual_seed(0)
    return build_task(config).eval()


def images(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
@pytest.mark.parametrize("net", ["padded_cnn", "fcn16s", "mask_rcnn"])
def test_an_image_that_one_tile_covers_is_as_without_tiles_to_the_bit(net: str) -> None:
    more = {"fcn16s": ["model.net.backbone=mobilenet_v2"], "mask_rcnn": []}.get(net, [])
    whole = build(f"model={net}", *more)
    tiled = build(f"model={net}", *more, "evaluation.tile=64", "evaluation.overlap=0.5")
    tiled.load_state_dict(whole.state_dict())
    image = images(2, 3, 64, 51)
    expected, found = whole.predict(image), tiled.predict(image)
    assert torch.equal(found.class_map, expected.class_map)
    if net == "mask_rcnn":
        for one, other in zip(found.objects or (), expected.objects or (), strict=True):
            assert torch.equal(one.scores, other.scores)
            assert torch.equal(one.masks, other.masks)
    else:
        assert isinstance(whole, SemanticSegmentation)
        assert isinstance(tiled, SemanticSegmentation)
        for own, other in zip(tiled.strips(image), whole.strips(image), strict=True):
            assert torch.equal(torch.cat(list(own)), torch.cat(list(other)))


class Pointwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 5, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(image)


@torch.inference_mode()
def test_class_map_and_loss_of_a_pointwise_net_do_not_depend_on_the_tiles() -> None:
    classes = [str(number) for number in range(5)]
    image, truth = images(1, 3, 61, 47), images(1, 61, 47) % 5
    whole = SemanticSegmentation(Pointwise(), classes)
    tiled = SemanticSegmentation(Pointwise(), classes, tiling=Tiling(16, 0.3))
    assert torch.equal(tiled.predict(image).class_map, whole.predict(image).class_map)
    (logits,) = next(iter(whole.strips(image)))
    expected = image_fractions(SegmentationLoss(), logits, truth.long())
    top, fractions = 0, []
    for strip in next(iter(tiled.strips(image))):
        rows = truth[:, top : top + strip.shape[2]]
        fractions.append(image_fractions(SegmentationLoss(), strip, rows.long()))
        top += strip.shape[2]
    assert top == 61
    torch.testing.assert_close(torch.stack(fractions).sum(0), expected, rtol=1e-6, atol=0)


def test_no_more_than_a_row_of_tiles_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    tiled = SemanticSegmentation(Pointwise(), list("abcde"), tiling=Tiling(16, 0.25))
    with torch.inference_mode():
        strips = list(next(iter(tiled.strips(images(1, 3, 100, 40)))))
    assert max(strip.shape[2] for strip in strips) <= 16
    assert sum(strip.shape[2] for strip in strips) == 100


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["evaluation.tile=16"], r"evaluation.tile=16: must be at least 32"),
        (["evaluation.overlap=1"], r"evaluation.overlap=1.0: must be at least 0 and at most 0.9"),
        (["evaluation.scales=[]"], r"evaluation.scales=\[\]: must be a list of 1 or more"),
        (["evaluation.scales=[0]"], r"evaluation.scales"),
    ],
)
def test_what_cannot_be_tiled_or_scaled_is_refused(given: list[str], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        build(*given)
