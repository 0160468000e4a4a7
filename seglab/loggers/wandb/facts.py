"""What a run was made of besides its configuration: code, packages, data, model, device."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import nn

from seglab.data.digests import Record
from seglab.run.provenance import checkout

_PACKAGES = ("seglab", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "wandb")


def facts(net: nn.Module, device: torch.device, data: Mapping[str, Record]) -> dict[str, Any]:
    """Return what to filter and compare runs by, under flat names.

    Args:
        net: its parameters are counted.
        device: where it runs.
        data: what is known of each split, by name.
    """
    count = sum(parameter.numel() for parameter in net.parameters())
    trained = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
    found: dict[str, Any] = {
        "device": device_name(device),
        "model.parameters": count,
        "model.trained_parameters": trained,
        "versions.python": platform.python_version(),
    }
    found |= {f"data.fingerprint.{name}": split.identity for name, split in data.items()}
    if (state := checkout()) is not None:
        found |= {"git.commit": state.commit, "git.dirty": bool(state.changes)}
    return found | versions()


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[f"versions.{name}"] = version(name)
        except PackageNotFoundError:  # seglab run from a checkout that was not installed
            continue
    return found
