"""What a process settles before it computes."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from seglab.runtime import process


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threads, filled = torch.get_num_threads(), torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.set_num_threads(threads)
    torch.utils.deterministic.fill_uninitialized_memory = filled


def test_the_number_of_threads_is_the_one_asked_for_or_all_cores() -> None:
    assert process.prepare(1) == torch.get_num_threads() == 1
    everything = process.prepare(None)
    assert everything == torch.get_num_threads() >= 1
    if hasattr(os, "sched_getaffinity"):
        assert everything == len(os.sched_getaffinity(0))


def test_memory_is_not_written_before_it_is_used() -> None:
    torch.utils.deterministic.fill_uninitialized_memory = True
    process.prepare(1)
    assert not torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_freed_memory_is_not_mapped_anew() -> None:
    # In a process of its own: what others have freed before is no measure.
    code = """
import resource, sys, torch
from seglab.runtime.process import prepare
if sys.argv[1] == "kept":
    prepare(1)
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
