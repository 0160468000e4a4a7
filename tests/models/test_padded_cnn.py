"""The claim of the padded CNN: logits of the image's own size, whatever the size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seglab.models.padded_cnn import NORMS, PaddedCNN


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 23),
    width=st.integers(1, 23),
    batch=st.integers(1, 3),
    num_classes=st.sampled_from([1, 2, 3, 21, 60, 255]),
    kernel_size=st.sampled_from([1, 3, 5, 7]),
    dilations=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    norm=st.sampled_from(NORMS),
)
def test_height_and_width_never_change(
    height: int,
    width: int,
    batch: int,
    num_classes: int,
    kernel_size: int,
    dilations: list[int],
    norm: str,
) -> None:
    net = PaddedCNN(num_classes, 8, kernel_size, dilations, norm).eval()
    with torch.inference_mode():
        logits = net(torch.rand(batch, 3, height, width))
    assert logits.shape == (batch, num_classes, height, width)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [(96, 128), (97, 128), (97, 131)])
def test_the_default_net_on_even_and_odd_sizes(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert PaddedCNN(7).eval()(torch.rand(1, 3, *size)).shape == (1, 7, *size)


def test_a_pixel_sees_as_far_as_the_dilations_reach() -> None:
    # One layer of kernel 3 and dilation 4: exactly the nine pixels at distance 0 and 4.
    net = PaddedCNN(2, 8, 3, [4], "none")
    image = torch.rand(1, 3, 15, 17, requires_grad=True)
    net(image)[0, :, 7, 8].abs().sum().backward()
    seen = image.grad[0].abs().sum(0).nonzero().tolist()
    assert seen == [[row, column] for row in (3, 7, 11) for column in (4, 8, 12)]


def test_dilations_and_widths_are_as_asked_for() -> None:
    net = PaddedCNN(60, [8, 16, 24], 5, [1, 3, 2], "group")
    convolutions = [module for module in net.features if isinstance(module, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [8, 16, 24]
    assert [c.dilation for c in convolutions] == [(1, 1), (3, 3), (2, 2)]
    assert [c.padding for c in convolutions] == [(2, 2), (6, 6), (4, 4)]
    groups = [module.num_groups for module in net.features if isinstance(module, nn.GroupNorm)]
    assert groups == [1, 2, 3]
    assert net.classifier.weight.shape == (60, 24, 1, 1)


@pytest.mark.parametrize(
    ("norm", "kind", "bias"),
    [("batch", nn.BatchNorm2d, False), ("group", nn.GroupNorm, False), ("none", None, True)],
)
def test_norms(norm: str, kind: type[nn.Module] | None, bias: bool) -> None:
    net = PaddedCNN(2, 8, 3, [1, 2], norm)
    found = {type(module) for module in net.features}
    assert found == {nn.Conv2d, nn.ReLU} | ({kind} if kind else set())
    assert all((m.bias is not None) == bias for m in net.features if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("norm", NORMS)
def test_every_parameter_learns(norm: str) -> None:
    torch.manual_seed(0)
    net = PaddedCNN(4, 16, 3, [1, 2, 4], norm)
    logits = net(torch.rand(2, 3, 13, 16))
    nn.functional.cross_entropy(logits, torch.randint(4, (2, 13, 16))).backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kernel_size": 2}, "kernel_size=2: must be odd"),
        ({"kernel_size": 0}, "kernel_size=0: must be odd"),
        ({"kernel_size": -1}, "kernel_size=-1: must be odd"),
        ({"dilations": []}, r"dilations=\[\]: must be one or more positive numbers"),
        ({"dilations": [1, 0]}, r"dilations=\[1, 0\]: must be one or more positive numbers"),
        ({"norm": "layer"}, "norm=layer: must be one of batch, group, none"),
        ({"channels": [8, 8]}, r"channels=\[8, 8\]: must be one number, or one for each dilation"),
        ({"channels": 0}, "channels=.*: must be positive"),
        ({"channels": 12, "norm": "group"}, "channels=.*: must be positive, and multiples of 8"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PaddedCNN(2, **arguments)
