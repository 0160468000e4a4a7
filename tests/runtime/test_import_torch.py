"""torch is imported without looking for garbage meanwhile."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import gc, sys
from seglab.runtime.import_torch import import_torch

before = []
there = lambda: hasattr(sys.modules.get("torchmetrics"), "Metric")
gc.callbacks.append(lambda phase, info: before.append(not there()))
import_torch()
assert not any(before), sum(before)
assert {"torch", "torchvision", "torchmetrics"} <= {*sys.modules}
assert gc.isenabled()
gc.disable()
import_torch()
assert not gc.isenabled(), "what is imported already changes nothing"
"""


@pytest.mark.slow
def test_no_garbage_is_collected_meanwhile() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=300)
