"""What a run was made of besides its configuration: code, packages, data, model, device."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seglab.data.digests import Record

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
    return found | versions() | git_state(Path(__file__).parents[3])


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


def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit of the checkout in ``folder``, and whether tracked files differ from it.

    Empty where there is none: without git, from a wheel, or in another project's repository.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "conf/train.yaml")
        changed = git("status", "--porcelain", "--untracked-files=no")
        return {"git.commit": git("rev-parse", "HEAD"), "git.dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return {}
