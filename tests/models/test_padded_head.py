"""Padded convolutions over a backbone: logits of the image's own size, from all three maps."""

import pytest
import torch
from torch import nn

from seglab.models.padded_head import PaddedHead


@pytest.mark.parametrize("size", [(1, 1), (33, 64), (97, 131)])
def test_height_and_width_never_change(size: tuple[int, int]) -> None:
    net = PaddedHead(5, channels=16).eval()
    with torch.inference_mode():
        logits = net(torch.rand(2, 3, *size))
    assert logits.shape == (2, 5, *size)
    assert logits.isfinite().all()


def test_the_head_works_at_stride_8_as_wide_as_asked_for() -> None:
    net = PaddedHead(4, channels=24, kernel_size=5, dilations=[1, 3], norm="none").eval()
    seen: list[torch.Size] = []
    net.head.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].shape))
    net(torch.rand(1, 3, 64, 96))
    assert seen == [(1, 24, 8, 12)]
    hidden = [layer for layer in net.head.features if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.dilation) for c in hidden] == [
        (24, 24, (5, 5), (1, 1)),
        (24, 24, (5, 5), (3, 3)),
    ]


def test_every_parameter_of_the_head_learns_from_every_map() -> None:
    torch.manual_seed(0)
    net = PaddedHead(4, channels=16)
    logits = net(torch.rand(2, 3, 64, 64))
    nn.functional.cross_entropy(logits, torch.randint(4, (2, 64, 64))).backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_maps_lie_on_one_grid() -> None:
    # A net that only brings maps to the pixels must answer the mirrored image with mirrored logits.
    net = PaddedHead(3, channels=8, dilations=[1], kernel_size=1, norm="none").eval()
    net.backbone.forward = lambda image: tuple(
        nn.functional.avg_pool2d(image.mean(1, keepdim=True), stride).expand(-1, width, -1, -1)
        for stride, width in zip((8, 16, 32), net.backbone.channels, strict=True)
    )
    image = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(net(image).flip(-1), net(image.flip(-1)))


def test_dropout_governs_vgg_too() -> None:
    net = PaddedHead(3, "vgg11", channels=8, dropout=0.25)
    dropouts = [m.p for m in net.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)]
    assert dropouts == [0.25] * 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"channels": 12}, "multiples of 8"),
        ({"channels": 0}, "channels=0: must be one positive number"),
        ({"channels": [16, 16]}, r"channels=\[16, 16\]: must be one positive number"),
        ({"kernel_size": 2}, "kernel_size=2: must be odd"),
        ({"backbone": "no_net"}, "backbone=no_net: no such net"),
        ({"backbone": "vit_b_16"}, "has no feature maps"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PaddedHead(2, **arguments)
