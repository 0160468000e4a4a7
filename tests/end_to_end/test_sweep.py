"""seglab train -m, as a user calls it: isolation, what is left, and that it can be taken up."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.processes import processes_of, start
from PIL import Image

from seglab.data.synthetic import SyntheticSpec, write_tree


class Sweep:
    """One sweep, called as a command in a folder of its own."""

    def __init__(self, folder: Path, tiny: list[str]) -> None:
        self.folder, self.troubles = folder, folder / "troubles"
        self.troubles.mkdir()
        trouble = f"+callbacks.trouble={{_target_:helpers.trouble.Trouble,folder:{self.troubles}}}"
        self.arguments = [*tiny, "sweep.name=study", trouble]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return start(self.folder, "train", "-m", *self.arguments, *arguments)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
        return process.returncode, out, err

    def table(self) -> list[dict[str, str]]:
        with (self.folder / "sweeps/study/sweep.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def statuses(self) -> list[str]:
        return [row["status"] for row in self.table()]

    def folders(self) -> dict[int, Path]:
        """The jobs' folders by their seed."""
        found = {}
        for path in (self.folder / "sweeps/study").glob("*/"):
            found[int(path.name.split("seed_")[1].split("-")[0])] = path
        return found


@pytest.fixture
def sweep(tmp_path: Path, tiny: list[str]) -> Iterator[Sweep]:
    one = Sweep(tmp_path, tiny)
    yield one
    assert processes_of(tmp_path) == [], "a process outlived its sweep"


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.slow  # kills whole sweeps; test_an_interrupted_sweep… is its short form
def test_a_sweep_survives_its_jobs_and_the_same_command_finishes_it(sweep: Sweep) -> None:
    for seed, what in ((2, "raise"), (4, "SIGKILL"), (5, "SIGINT")):
        (sweep.troubles / str(seed)).write_text(what)
    command = ["seed=range(0,8)", "hydra.launcher.n_jobs=2"]
    code, out, err = sweep.run(*command)
    assert code == 1, err
    assert sweep.statuses() == ["finished"] * 2 + [
        "failed", "finished", "failed", "interrupted", "finished", "finished"
    ]  # fmt: skip
    assert "3 of 8 jobs did not finish: seed_2-" in err.splitlines()[-1]
    rows = sweep.table()
    assert rows[2]["error"] == "out of luck"
    assert rows[4]["error"] == "killed by SIGKILL"
    assert rows[2]["val/mIoU"] == rows[4]["val/mIoU"] == ""
    assert 0 <= float(rows[0]["val/mIoU"]) <= 1
    for line in ("8/8 ", "2 jobs at a time, trainer.threads=1", "out of luck"):
        assert line in out, out
    folders = sweep.folders()
    assert "RuntimeError: out of luck" in (folders[2] / "log.txt").read_text()
    finished = {seed: times(folders[seed]) for seed in (0, 1, 3, 6, 7)}

    code, out, err = sweep.run(*command, "--dry-run")
    assert code == 0, err
    assert [out.count(f"would {plan} ") for plan in ("skip", "retry", "continue")] == [5, 2, 1], out

    for trouble in sweep.troubles.iterdir():
        trouble.unlink()
    code, out, err = sweep.run(*command)
    assert code == 0, out + err
    assert sweep.statuses() == ["finished"] * 8
    assert "8 jobs, 5 finished before" in out
    assert finished == {seed: times(folders[seed]) for seed in finished}
    log = (folders[5] / "log.txt").read_text()
    assert log.count("epoch 1/2") == 1, "an interrupted job goes on from its last checkpoint"
    metrics = json.loads((folders[5] / "metrics.json").read_text())
    assert float(sweep.table()[5]["val/mIoU"]) == metrics["val/mIoU"]


@pytest.mark.slow
def test_a_sweep_does_not_return_the_result_of_other_data(sweep: Sweep) -> None:
    write_tree(sweep.folder / "A", SyntheticSpec(train=8, val=5, width=64, height=48))
    shutil.copytree(sweep.folder / "A", sweep.folder / "copy")
    shutil.copytree(sweep.folder / "A", sweep.folder / "B")
    for path in (sweep.folder / "B/VOC2007/SegmentationClass").iterdir():
        with Image.open(path) as mask:
            mask.putdata(
                [0] * (mask.width * mask.height // 2) + [1] * (mask.width * mask.height // 2)
            )
            mask.save(path)
    classes = "data.classes=[background,circle,square,triangle,ring,star,cross]"
    sweep.arguments = [one for one in sweep.arguments if "synth" not in one]
    command = ["data=voc2007", classes, "seed=0,1", "hydra.launcher.n_jobs=2"]

    code, out, err = sweep.run(*command, "data.root=A")
    assert code == 0, out + err
    ours = {row["folder"]: row["val/mIoU"] for row in sweep.table()}
    before = {path: times(Path(sweep.folder / path)) for path in ours}

    code, out, err = sweep.run(*command, "data.root=B")
    assert code == 0, out + err
    assert out.count("was trained on other data, train ") == 2
    theirs = {row["folder"]: row["val/mIoU"] for row in sweep.table()}
    assert len({*ours, *theirs}) == 4
    assert not {*ours.values()} & {*theirs.values()}
    assert sweep.statuses() == ["finished"] * 2
    assert before == {path: times(Path(sweep.folder / path)) for path in ours}

    for root, rows in (("B", theirs), ("copy", ours)):
        code, out, err = sweep.run(*command, f"data.root={root}")
        assert code == 0, out + err
        assert "2 jobs, 2 finished before" in out
        assert {row["folder"]: row["val/mIoU"] for row in sweep.table()} == rows


def test_an_interrupted_sweep_ends_and_marks_its_jobs(sweep: Sweep) -> None:
    process = sweep.start("seed=0,1,2", "trainer.max_epochs=1000", "hydra.launcher.n_jobs=2")
    try:
        wait_for(lambda: len(list(sweep.folder.glob("sweeps/study/*/checkpoints/last.ckpt"))) == 2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, out + err
    assert sweep.statuses() == ["interrupted", "interrupted", "not started"]
    for folder in sweep.folders().values():
        assert json.loads((folder / "status.json").read_text())["status"] == "interrupted"


def wait_for(reached: Callable[[], bool]) -> None:
    for _ in range(1200):
        if reached():
            return
        time.sleep(0.1)
    raise TimeoutError
