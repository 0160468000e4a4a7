"""What a process settles before it computes."""

import logging
import os
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from seglab.runtime import process


def test_the_number_of_threads_is_the_one_asked_for_or_all_cores() -> None:
    assert process.share_of_cores(3) == 3
    if hasattr(os, "sched_getaffinity"):
        assert process.share_of_cores(None) == len(os.sched_getaffinity(0))


def test_a_block_computes_with_its_threads_and_leaves_the_process_as_it_was() -> None:
    def state() -> list[object]:
        flags = torch.backends.cudnn.deterministic, torch.are_deterministic_algorithms_enabled()
        filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        level = logging.getLogger("lightning.pytorch").level
        generators = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
        return [
            *(torch.get_num_threads(), *flags, filled, level, dict(os.environ)),
            *(list(warnings.filters), *generators[:2], generators[2].tolist()),
        ]

    def compute() -> None:
        with process.computing(3):
            change()

    def change() -> None:
        assert torch.get_num_threads() == 3
        assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        warnings.simplefilter("ignore")
        process.seed_everything(1)
        raise RuntimeError("as it may")

    before = state()
    with pytest.raises(RuntimeError, match="as it may"):
        compute()
    assert state() == before


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_freed_memory_is_not_mapped_anew() -> None:
    # In a process of its own: what others have freed before is no measure.
    code = """
import resource, sys, torch
from seglab.runtime.memory import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)  # until the heap has grown
before = faults()
for _ in range(10):
    torch.ones(2**24)  # 64 MiB
print(faults() - before)
"""
    found = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", code, how], capture_output=True, text=True, check=True
            ).stdout
        )
        for how in ("kept", "returned")
    }
    if found["returned"] < 1000:
        pytest.skip("this C library keeps freed memory by itself")
    assert found["kept"] < found["returned"] / 10
