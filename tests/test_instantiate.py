"""Building what a configuration names: a wrong name, argument or value is one clear line."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from seglab.errors import ConfigError
from seglab.instantiate import build
from seglab.models.padded_cnn import PaddedCNN

NET = "seglab.models.PaddedCNN"


def refuse_to_exist(size: int) -> None:
    raise MemoryError(f"no room for {size}")


def test_builds_with_arguments_of_both_kinds() -> None:
    net = build({"_target_": NET, "num_classes": 3, "dilations": [1, 2]}, "model.net")
    assert isinstance(net, PaddedCNN)
    parameters = list(net.parameters())
    node = {"_target_": "torch.optim.SGD", "lr": 0.5, "momentum": 0.9}
    optimizer = build(node, "optimizer.algorithm", parameters)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["lr"] == 0.5
    assert build({"_target_": "torch.nn.Identity", "any": 1}, "x")(3) == 3  # takes **kwargs


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({}, r"k._target_ is not set"),
        ({"_target_": None}, r"k._target_ is not set"),
        (3, r"k._target_ is not set"),
        ({"_target_": NET + "s"}, r"k._target_=.*PaddedCNNs: .*no attribute 'PaddedCNNs'"),
        ({"_target_": "no_such_module.Net"}, r"k._target_=no_such_module.Net: .*No module named"),
        ({"_target_": "a..b"}, r"k._target_=a..b: cannot be called"),
        ({"_target_": "seglab"}, r"k._target_=seglab: cannot be called"),
        ({"_target_": NET.replace("PaddedCNN", "NORMS")}, r"k._target_=.*NORMS: cannot be called"),
        ({"_target_": NET, "num_classes": 3, "chanels": 8}, r"k.chanels: .* nearest: channels"),
        (
            {"_target_": NET, "num_classes": 3, "zzz": 8},
            r"k.zzz: .*available: num_classes, channel",
        ),
        ({"_target_": NET}, r"k: .*missing 1 required positional argument: 'num_classes'"),
        ({"_target_": NET, "num_classes": 3, "kernel_size": 2}, r"k: kernel_size=2: must be odd"),
        ({"_target_": NET, "num_classes": 3, "kernel_size": [3]}, r"k: .*not supported between"),
        ({"_target_": NET, "num_classes": -3}, r"k: .*negative dimension"),
        ({"_target_": NET, "num_classes": {"_target_": "no_such.x"}}, r"k: .*no_such"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(node: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=r"^" + said) as error:
        build(node, "k")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "builtins.eval", "source": "1"},
        {"_target_": "builtins.exec", "source": "1"},
        {"_target_": "os.system", "command": "true"},
        {"_target_": NET, "num_classes": {"_target_": "builtins.eval"}},
    ],
)
def test_targets_that_run_code_are_refused(node: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^model.net: Target '.*' is blocklisted") as error:
        build(node, "model.net")
    assert "\n" not in str(error.value)


def test_a_defect_of_the_target_is_not_the_users() -> None:
    node = {"_target_": f"{__name__}.refuse_to_exist", "size": 3}
    with pytest.raises(Exception, match="no room for 3") as error:
        build(node, "model.net")
    assert not isinstance(error.value, ConfigError)


def test_a_partial_stays_one() -> None:
    node = {"_target_": "torch.nn.Linear", "_partial_": True, "in_features": 2}
    made = build(node, "k")
    assert isinstance(made, partial)
    assert isinstance(made(out_features=1), nn.Linear)
