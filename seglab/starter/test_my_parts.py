"""What must hold of the net and the loss: ``python -m pytest``."""

from __future__ import annotations

import torch
from my_loss import VOID, Focal
from my_net import MyNet
from torch.nn import functional as F


def test_the_net_keeps_height_and_width() -> None:
    assert MyNet(num_classes=5)(torch.rand(2, 3, 33, 47)).shape == (2, 5, 33, 47)


def test_focal_loss_without_gamma_is_the_cross_entropy_over_pixels_that_are_not_void() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 5, 6, 7), torch.randint(5, (2, 6, 7))
    target[0, :3] = VOID
    expected = F.cross_entropy(logits, target, ignore_index=VOID)
    torch.testing.assert_close(Focal(gamma=0)(logits, target), expected)
    assert Focal()(logits, target) < expected
