"""The benchmarks keep up with the code that they measure."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import benchmarks

NAMES = sorted(
    module.name
    for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")
    if not module.name.endswith("__main__") or module.name == "benchmarks.gpu.__main__"
)


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_can_be_imported(name: str) -> None:
    if name == "benchmarks.input":
        pytest.importorskip("albumentations", reason="the extra `bench`")
    importlib.import_module(name)
