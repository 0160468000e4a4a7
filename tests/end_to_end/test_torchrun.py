"""Several machines: two of torchrun's agents on one host, each with one rank of the same job."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.processes import processes_of, start
from helpers.warm import command

WITNESS = "+callbacks.witness={_target_:helpers.witness.Witness}"
TWO = ("trainer.num_nodes=2", "trainer.threads=1")


def agents(folder: Path, *arguments: str, nodes: int = 2) -> list[subprocess.Popen[str]]:
    """Start ``nodes`` agents with a rank each; one of them has the store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}"]
    program += ["--nproc_per_node=1", "--rdzv_id=job", "--rdzv_backend=c10d", "--max_restarts=0"]
    program += [f"--rdzv_endpoint=127.0.0.1:{port}", "--local_addr=127.0.0.1", "-m", "seglab"]
    return [start(folder, *arguments, program=program) for _ in range(nodes)]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Wait for the agents; return exit code, stdout and stderr of each."""
    results = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=200)
            results.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return results


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints/last.ckpt")["state_dict"]
    return state


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in {*first, *second})


@pytest.mark.slow
def test_two_agents_train_and_evaluate_one_job_to_the_numbers_of_one_machine(
    tmp_path: Path, tiny: list[str]
) -> None:
    done = ended(agents(tmp_path, "train", *tiny, *TWO, WITNESS))
    assert [code for code, _, _ in done] == [0, 0], done
    (run,) = tmp_path.glob("runs/*/*/*/")
    assert "".join(out for _, out, _ in done).count("epoch 2/2") == 1, "one process shows progress"
    seen = [json.loads((run / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert seen[0].pop("pid") != seen[1].pop("pid")
    assert seen[0] == seen[1]
    assert (seen[0]["world_size"], seen[0]["used_threads"]) == (2, [1])

    one = ["train", *tiny, "trainer.devices=2", "trainer.threads=1", "hydra.run.dir=forked"]
    forked = command(tmp_path, *one, WITNESS)
    assert forked.returncode == 0, forked.stderr
    for name in ("metrics.json", "metrics.csv"):
        assert (run / name).read_text() == (tmp_path / "forked" / name).read_text()
    assert equal(weights(run), weights(tmp_path / "forked"))

    call = ["evaluate", f"checkpoint={run / 'checkpoints/last.ckpt'}", "trust=true"]
    alone = command(tmp_path, *call, "hydra.run.dir=alone")
    assert alone.returncode == 0, alone.stderr
    both = ended(agents(tmp_path, *call, "trainer.num_nodes=2", "hydra.run.dir=both"))
    assert [code for code, _, _ in both] == [0, 0], both
    answers = [(tmp_path / name / "metrics.json").read_bytes() for name in ("alone", "both")]
    assert answers[0] == answers[1]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_job_of_which_an_agent_is_killed_is_resumed_to_the_weights_of_an_undisturbed_one(
    tmp_path: Path, tiny: list[str], victim: int
) -> None:
    job = ["train", *tiny, *TWO, "trainer.max_epochs=12"]
    job.append("+callbacks.slow={_target_:helpers.trouble.Slow,seconds:0.5}")
    whole = ended(agents(tmp_path, *job, "hydra.run.dir=whole"))
    assert [code for code, _, _ in whole] == [0, 0], whole
    parts = tmp_path / "parts"
    both = agents(tmp_path, *job, "hydra.run.dir=parts")
    try:
        while not (parts / "checkpoints/last.ckpt").is_file():
            assert all(one.poll() is None for one in both), ended(both)
            time.sleep(0.05)
        os.kill(both[victim].pid, signal.SIGKILL)
        done = ended(both)
    finally:
        for one in both:
            one.kill()
    assert done[1 - victim][0] != 0
    assert processes_of(tmp_path) == []
    state = json.loads((parts / "status.json").read_text())["status"]
    assert state in ("interrupted", "failed", "started"), state
    again = ended(agents(tmp_path, *job, "hydra.run.dir=parts", "resume=true"))
    assert [code for code, _, _ in again] == [0, 0], again
    for name in ("metrics.json", "metrics.csv"):
        assert (parts / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert equal(weights(parts), weights(tmp_path / "whole"))
