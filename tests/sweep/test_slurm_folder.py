"""The cluster unpickles what is in a sweep's ``slurm`` folder: only this user may write there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from seglab.errors import DataError

submitit = pytest.importorskip("submitit")

OPTIONS: dict[str, Any] = {
    "timeout_min": 1,
    "max_requeues": 0,
    "setup": [],
    "additional": {},
    "mem_gb": None,
}


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused_before_submitit_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    from seglab.sweep.slurm import Cluster

    made = []
    monkeypatch.setattr(submitit, "SlurmExecutor", lambda *a, **k: made.append(a))
    folder = tmp_path / "study/slurm"
    folder.mkdir(parents=True)
    folder.chmod(mode)
    (folder / "1_submitted.pkl").write_bytes(b"planted")
    with pytest.raises(DataError, match=r"study/slurm: other users may write to it"):
        Cluster(tmp_path / "study", **OPTIONS)
    assert made == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seglab.sweep.slurm import Cluster

    made = []
    monkeypatch.setattr(submitit, "SlurmExecutor", lambda *a, **k: made.append(a))
    folder = tmp_path / "study/slurm"
    folder.mkdir(parents=True, mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(DataError, match=r"study/slurm: belongs to another user"):
        Cluster(tmp_path / "study", **OPTIONS)
    assert made == []
