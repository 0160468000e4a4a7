"""A long run holds no more memory, files or threads at its end than at its beginning."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.mark.slow
def test_four_hundred_epochs_stay_flat(tmp_path: Path) -> None:
    from benchmarks.long_run import measure

    looks = measure(400, ["logger=csv"], tmp_path)
    middle, end = looks[len(looks) // 2], looks[-1]
    assert end["rss_mb"] - middle["rss_mb"] < 10
    assert end["fds"] <= middle["fds"]
    assert end["threads"] <= middle["threads"]
    assert end["cpu_ms_an_epoch"] < 2 * looks[1]["cpu_ms_an_epoch"]
