"""FCN: any size in, the same size out; a skip adds nothing at first; torchvision's names."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import get_model

from seglab.models.backbones import STRIDES, Backbone
from seglab.models.fcn import FCN, upsampling

NAMED = ["vgg16", "resnet18", "resnet50", "resnet101", "mobilenet_v2", "mobilenet_v3_large"]


@pytest.fixture(scope="module")
def small() -> FCN:
    return FCN(5, "mobilenet_v2").eval()


@pytest.mark.parametrize("backbone", NAMED)
@pytest.mark.parametrize("stride", STRIDES)
def test_output_has_the_inputs_size(backbone: str, stride: int) -> None:
    with torch.device("meta"):  # shapes without the arithmetic
        net = FCN(21, backbone, stride).eval()
        assert net(torch.zeros(2, 3, 65, 97)).shape == (2, 21, 65, 97)


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 80), width=st.integers(1, 80))
def test_any_size_keeps_its_size(small: FCN, height: int, width: int) -> None:
    with torch.inference_mode():
        assert small(torch.zeros(1, 3, height, width)).shape == (1, 5, height, width)


def test_vgg16_has_the_papers_parameters() -> None:
    with torch.device("meta"):
        net = FCN(21, "vgg16", 32)
    convolutions = sum(p.numel() for p in get_model("vgg16").features.parameters())
    fc6, fc7 = 512 * 7 * 7 * 4096 + 4096, 4096 * 4096 + 4096
    scores = 4096 * 21 + 21
    total = sum(p.numel() for p in net.parameters())
    assert total == convolutions + fc6 + fc7 + scores
    assert round(total / 1e6) == 134  # table 1


@pytest.mark.parametrize("backbone", NAMED)
def test_backbones_keep_torchvisions_names(backbone: str) -> None:
    with torch.device("meta"):
        ours = {name for name, _ in Backbone(backbone).named_parameters()}
        theirs = {name for name, _ in get_model(backbone).named_parameters()}
    assert ours < theirs
    assert all(name.startswith(("fc.", "classifier.")) for name in theirs - ours)


def test_maps_are_torchvisions() -> None:
    net, ours = get_model("resnet18").eval(), Backbone("resnet18").eval()
    ours.load_state_dict(net.state_dict(), strict=False)
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        stem = net.maxpool(net.relu(net.bn1(net.conv1(image))))
        at8 = net.layer2(net.layer1(stem))
        at16 = net.layer3(at8)
        expected = at8, at16, net.layer4(at16)
        assert all(torch.equal(a, b) for a, b in zip(ours(image), expected, strict=True))


def test_fc6_and_fc7_are_vggs_classifier() -> None:
    # At 224 pixels, the middle of fc6's padded map sees exactly what the classifier sees.
    net, ours = get_model("vgg11").eval(), Backbone("vgg11").eval()
    state = net.state_dict()
    for index, shape in ((0, (4096, 512, 7, 7)), (3, (4096, 4096, 1, 1))):
        state[f"classifier.{index}.weight"] = state[f"classifier.{index}.weight"].view(shape)
    ours.load_state_dict({k: v for k, v in state.items() if k in ours.state_dict()})
    image = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        features = net.avgpool(net.features(image)).flatten(1)
        expected = net.classifier[:6](features)
        found = ours(image)[-1][:, :, 3, 3]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_scores_start_at_zero_and_skips_add_nothing(small: FCN) -> None:
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert not small(image).any()
        nn.init.normal_(small.score32.weight)
        coarse = small.score32(small.backbone(image)[-1])
        finer = small.upscore16(small.upscore32(coarse))
        expected = F.interpolate(finer, scale_factor=8.0, mode="bilinear", align_corners=False)
        assert torch.equal(small(image), expected)
        nn.init.zeros_(small.score32.weight)


def test_upsampling_starts_as_bilinear() -> None:
    score = torch.randn(1, 3, 6, 7)
    expected = F.interpolate(score, scale_factor=2.0, mode="bilinear", align_corners=False)
    found = upsampling(3)(score)
    inner = (..., slice(1, -1), slice(1, -1))  # a transposed convolution sees zeros outside
    torch.testing.assert_close(found[inner], expected[inner])


@pytest.mark.parametrize("stride", STRIDES)
def test_every_parameter_learns(stride: int) -> None:
    torch.manual_seed(0)
    net = FCN(4, "mobilenet_v2", stride, dropout=0.0).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight)
    logits: Tensor = net(torch.randn(1, 3, 64, 64))
    F.cross_entropy(logits, torch.randint(4, (1, 64, 64))).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"stride": 4}, "stride=4: must be one of 8, 16, 32"),
        ({"backbone": "resnet5"}, "backbone=resnet5: no such net"),
        ({"backbone": "vit_b_16"}, "backbone=vit_b_16: has no feature maps at strides"),
        ({"backbone": "squeezenet1_0"}, "backbone=squeezenet1_0: has no feature maps"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FCN(21, **arguments)
