"""Imports torch in less time than ``import torch`` takes. Imports no torch itself."""

from __future__ import annotations

import gc
import sys
from importlib import import_module


def import_torch() -> None:
    """Import torch and torchmetrics, which imports torchvision, and collect no garbage meanwhile.

    What they make stays, and Python would look through it again and again.
    """
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        import_module("torchmetrics")
    finally:
        gc.enable()
