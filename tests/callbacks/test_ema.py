"""The average of the weights: its formula, and what it must leave alone."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from seglab.callbacks.ema import EMA


def averaged(net: nn.Module, decay: float) -> AveragedModel:
    return AveragedModel(net, use_buffers=True, **EMA(decay)._kwargs)


def test_is_the_exponential_average() -> None:
    net = nn.Linear(3, 2)
    model, expected = averaged(net, 0.9), None
    for step in range(5):
        with torch.no_grad():
            net.weight.copy_(torch.randn(2, 3))
        model.update_parameters(net)
        now = net.weight.detach().double()
        expected = now if step == 0 else 0.9 * expected + 0.1 * now
    torch.testing.assert_close(model.module.weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_what_does_not_change_keeps_every_bit() -> None:
    net = nn.BatchNorm2d(64)
    for tensor in (*net.parameters(), net.running_mean, net.running_var):
        nn.init.uniform_(tensor)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    model = averaged(net, 0.99)
    for step in range(200):
        net.num_batches_tracked.fill_(step)
        model.update_parameters(net)
    after = model.module.state_dict()
    assert after.pop("num_batches_tracked") == 199
    assert all(torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_a_decay_that_is_none(decay: float) -> None:
    with pytest.raises(ValueError, match=f"decay={decay}: must be at least 0 and less than 1"):
        EMA(decay)
