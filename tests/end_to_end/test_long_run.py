"""A long run holds no more memory, files or threads at its end than at its beginning."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.long_run import measure


@pytest.mark.slow
def test_four_hundred_epochs_stay_flat(tmp_path: Path) -> None:
    looks = measure(400, ["logger=csv"], tmp_path)
    middle, end = looks[len(looks) // 2], looks[-1]
    assert end["rss_mb"] - middle["rss_mb"] < 10
    assert end["fds"] <= middle["fds"]
    assert end["threads"] <= middle["threads"]
    assert end["cpu_ms_an_epoch"] < 2 * looks[1]["cpu_ms_an_epoch"]
