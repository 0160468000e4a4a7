"""Real processes at the same moment: on one run folder, one store, one data set, one sweep."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from helpers import rivals
from helpers.processes import start

SPAWN = multiprocessing.get_context("spawn")  # what a forked child inherits from pytest is no test


def together(target: Callable[..., None], each: list[tuple[Any, ...]]) -> tuple[Any, list[Any]]:
    """Run one process for each tuple of arguments; they meet before they begin."""
    meet, said = SPAWN.Barrier(len(each)), SPAWN.Queue()
    processes = [SPAWN.Process(target=target, args=(*one, meet, said)) for one in each]
    for process in processes:
        process.start()
    said.meet = meet  # a barrier that its maker forgets is gone before a child has opened it
    return said, processes


@pytest.mark.parametrize(
    ("rounds", "work", "before"), [(30, 0.0, None), (2, 1.5, None), (10, 0.0, "started")]
)
def test_one_process_wins_a_run_folder(
    tmp_path: Path, rounds: int, work: float, before: str | None
) -> None:
    if before:  # left behind by a killed run
        for number in range(rounds):
            (tmp_path / str(number)).mkdir()
            (tmp_path / str(number) / "status.json").write_text(json.dumps({"status": before}))
    each = [(tmp_path, rounds, before is not None, work)] * 4
    said, processes = together(rivals.own_runs, each)
    answers = [said.get(timeout=60) for _ in range(4 * rounds)]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    for number in range(rounds):
        here = [(pid, text) for at, pid, text in answers if at == number]
        winners = [pid for pid, text in here if text == "won"]
        assert len(winners) == 1, here
        assert all(
            "another process" in text or "already holds a run" in text
            for _, text in here
            if text != "won"
        ), here
        config = (tmp_path / str(number) / ".hydra/config.yaml").read_text()
        assert config == f"by: {winners[0]}\n", "the losers have written nothing"
        assert (
            json.loads((tmp_path / str(number) / "status.json").read_text())["status"] == "finished"
        )


@pytest.mark.parametrize("kill_at", [None, 4])
def test_makers_of_one_store(tmp_path: Path, kill_at: int | None) -> None:
    from seglab.data.synthetic import SyntheticSpec, write_tree

    write_tree(tmp_path / "data", SyntheticSpec(train=12, val=2, width=48, height=48))
    arguments = (tmp_path / "data", tmp_path / "store")
    each = [(*arguments, kill_at), (*arguments, kill_at), (*arguments, None)]
    said, processes = together(rivals.open_store, each)
    for process in processes:
        process.join(60)
    killed = sum(process.exitcode == -signal.SIGKILL for process in processes)
    answers = [said.get(timeout=10) for _ in range(3 - killed)]
    assert all(same for _, same in answers), "the store holds what the files hold"
    assert sum(made for made, _ in answers) == 1, "one makes it, the others use it"
    assert killed in ((0,) if kill_at is None else (0, 1, 2))
    assert [one.name for one in (tmp_path / "store").glob(".v*")] == [], "nothing half made"


def test_a_store_whose_maker_is_killed_is_made_by_the_next(tmp_path: Path) -> None:
    from seglab.data.synthetic import SyntheticSpec, write_tree

    write_tree(tmp_path / "data", SyntheticSpec(train=12, val=2, width=48, height=48))
    for kill_at, codes in ((5, -signal.SIGKILL), (None, 0)):
        arguments = (tmp_path / "data", tmp_path / "store", kill_at)
        said, (process,) = together(rivals.open_store, [arguments])
        process.join(60)
        assert process.exitcode == codes
    assert said.get(timeout=10) == (True, True)


def test_one_writer_of_the_built_in_data_wins(tmp_path: Path) -> None:
    said, processes = together(rivals.write_data, [(tmp_path,), (tmp_path,), (tmp_path,)])
    answers = [said.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(30)
    assert sorted(text == "won" for text in answers) == [False, False, True], answers
    assert sum("exists already" in text for text in answers) == 2
    assert len(list((tmp_path / "VOC2007/JPEGImages").iterdir())) == 8


def test_a_sweep_that_somebody_works_on_is_refused(
    tmp_path: Path, tiny: list[str], seglab_cli: Callable[..., Any]
) -> None:
    folder = tmp_path / "sweeps/study"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        answer = seglab_cli("train", "-m", *tiny, "seed=0,1", "sweep.name=study")
    assert answer.code == 1
    assert "sweep.name=study: another process is working on this sweep" in answer.last_line
    assert {one.name for one in folder.iterdir()} <= {".lock"}


@pytest.mark.slow
def test_two_commands_at_once(tmp_path: Path, tiny: list[str]) -> None:
    for arguments in (["hydra.run.dir=run"], ["-m", "seed=0,1", "sweep.name=study"]):
        commands = [start(tmp_path, "train", *tiny, *arguments) for _ in range(2)]
        ends = [(one.communicate(timeout=200)[1], one.returncode) for one in commands]
        assert sorted(code != 0 for _, code in ends) == [False, True], ends
        lost = next(text for text, code in ends if code)
        assert "another process" in lost or "already holds a run" in lost
        assert "Traceback" not in lost
