"""Nets of RGB for other channels: the first layer is adapted as timm does it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seglab.models.channels import adapt_channels, with_channels
from seglab.models.fcn import FCN
from seglab.models.mask_rcnn import MaskRCNN
from seglab.models.padded_cnn import PaddedCNN
from seglab.models.weights import load_matching


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 7])
def test_weights_are_adapted_as_timm_does(channels: int) -> None:
    timm = pytest.importorskip("timm.models")
    weight = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = timm.adapt_input_conv(channels, weight)
    torch.testing.assert_close(adapt_channels(weight, channels), expected)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(
    "net", [PaddedCNN(5), FCN(5), FCN(5, "mobilenet_v2"), FCN(5, "resnet18")], ids=str
)
def test_every_net_takes_the_channels_of_the_data(net: nn.Module, channels: int) -> None:
    from copy import deepcopy

    other = with_channels(deepcopy(net), channels).eval()
    with torch.inference_mode():
        assert other(torch.rand(1, channels, 33, 47)).shape == (1, 5, 33, 47)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", ["timm/tf_efficientnet_lite0", "timm/resnet18"])
def test_a_backbone_of_timm_takes_the_channels_of_the_data(name: str, channels: int) -> None:
    pytest.importorskip("timm", reason="the extra timm is not installed")
    net = with_channels(FCN(5, name), channels).eval()
    with torch.inference_mode():
        assert net(torch.rand(1, channels, 33, 47)).shape == (1, 5, 33, 47)


def test_grey_gives_what_it_gave_as_rgb() -> None:
    torch.manual_seed(0)
    net = FCN(5, "mobilenet_v2", context=True).eval()
    nn.init.normal_(net.score8.weight)
    grey = torch.rand(1, 1, 64, 96)
    with torch.inference_mode():
        expected = net(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(with_channels(net, 1)(grey), expected, rtol=1e-3, atol=1e-4)


def test_three_channels_change_nothing() -> None:
    net = PaddedCNN(5)
    first = net.features[0]
    assert with_channels(net, 3) is net
    assert net.features[0] is first


def test_mask_rcnn_takes_four_channels() -> None:
    net = with_channels(MaskRCNN(3, channels=16, box_head=16, mask_layers=1), 4).eval()
    with torch.inference_mode():
        (found,) = net([torch.rand(4, 64, 64)])
    assert found["masks"].shape[1:] == (1, 64, 64)


def test_a_net_without_such_a_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="3 channels or of 1"):
        with_channels(nn.Sequential(nn.Conv2d(6, 5, 1)), 1)


@pytest.mark.parametrize("channels", [1, 4])
def test_pretrained_weights_are_adapted_and_it_is_reported(channels: int) -> None:
    source = FCN(5, "mobilenet_v2", 32)
    net = with_channels(FCN(5, "mobilenet_v2", 32), channels)
    report = load_matching(net, source.state_dict(), "a.pth")
    name = "backbone.features.0.0.weight"
    assert report.adapted == (name,)
    assert name in report.loaded
    assert report.replaced == report.missing == ()
    torch.testing.assert_close(
        net.state_dict()[name], adapt_channels(source.state_dict()[name], channels)
    )
    assert "adapted from RGB to the channels of the data, as timm does: " in str(report)
    assert "backbone.features.0.0 (1)" in str(report)
