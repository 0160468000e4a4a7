"""What a result was computed with."""

from pathlib import Path

import pytest
import torch

from seglab.runtime import environment as module
from seglab.runtime.environment import environment


def test_the_processor_and_the_versions_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: A CPU @ 2.5GHz\nflags : avx2\n")
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    facts = environment(torch.device("cpu"))
    capability = torch.backends.cpu.get_cpu_capability()
    assert facts["cpu"] == f"A CPU @ 2.5GHz, {capability}"
    assert facts["torch"] == torch.__version__
    assert {"python", "torchvision", "lightning"} <= {*facts}
    assert "gpu" not in facts
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "none")
    assert environment(torch.device("cpu"))["cpu"].endswith(f", {capability}")
