"""Which threads and GPUs a job gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from seglab.runtime.cores import cores
from seglab.runtime.launch import ranks
from seglab.sweep.jobs import plan
from seglab.sweep.local import Leases, assign_threads


def test_gpus_are_lent_and_given_back() -> None:
    leases = Leases(["0", "3", "GPU-abc"])
    assert leases.slots == 3
    lent = [leases.acquire() for _ in range(3)]
    assert lent == ["0", "3", "GPU-abc"]
    leases.release(lent[1])
    assert leases.acquire() == "3"


def test_a_job_of_two_processes_gets_two_gpus() -> None:
    leases = Leases(["0", "1", "2", "3", "4"], each=2)
    assert leases.slots == 2
    assert [leases.acquire(), leases.acquire()] == ["0,1", "2,3"]
    leases.release("0,1")
    assert leases.acquire() == "4,0"


@pytest.mark.parametrize("devices", [[], ["0"]])
def test_nothing_is_lent_where_there_is_no_choice(devices: list[str]) -> None:
    leases = Leases(devices)
    assert leases.slots is None
    assert leases.acquire() is None
    leases.release(None)
    assert leases.acquire() is None


def test_cores_are_shared_by_jobs_and_processes(tmp_path: Path) -> None:
    def threads(slots: int, *overrides: str) -> int | None:
        job = assign_threads(plan(1, [*overrides], tmp_path, []), slots)
        assert job.config is not None
        return job.config.trainer.threads

    assert threads(1) is None, "one job at a time settles it as a single run does"
    assert threads(2) == max(1, cores() // 2)
    assert threads(1000) == 1
    assert threads(2, "trainer.threads=3") == 3
    folder = plan(1, [], tmp_path, []).folder / ".hydra"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("trainer: {threads: 7}")
    assert threads(2) == threads(1) == 7, "a job that goes on keeps what it had"


@pytest.mark.parametrize(
    ("devices", "count"), [("3", 3), ("1", 1), ("'0,1'", 2), ("'2,'", 1), ("auto", 1)]
)
def test_a_device_is_a_process(tmp_path: Path, devices: str, count: int) -> None:
    job = plan(1, ["trainer=cpu", f"trainer.devices={devices}"], tmp_path, [])
    assert job.config is not None
    assert ranks(job.config.trainer) == count
