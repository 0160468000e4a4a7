"""What a result was computed with, beside the code: processor, GPU and package versions."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "numpy", "pillow")
OPTIONAL = ("timm", "segmentation-models-pytorch", "albumentations")
"""Extras whose parts a model or its data may have."""

CPUINFO = Path("/proc/cpuinfo")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that a result depends on."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *OPTIONAL):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, "torch": torch.__version__}  # the package's own lacks the build, such as +cpu


def environment(device: torch.device) -> dict[str, str]:
    """Return the versions, the processor with torch's instruction set, and the GPU if it is used.

    Results are equal bit for bit only where these are.
    """
    facts = {**versions(), "cpu": f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}"}
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def _processor() -> str:
    """Return the name of the processor; Python knows it only outside Linux."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
