"""What another launcher has left in the environment starts no processes and opens no port."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import start

import seglab
import seglab.errors


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK"])
def test_leftovers_of_another_launcher_are_refused_by_name(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(name, "2")
    answer = seglab_cli("train", *tiny, "hydra.run.dir=run")
    assert answer.code == 2
    assert answer.err.startswith(f"seglab: error: {name}=2 is set, but neither seglab nor torchrun")
    assert not (tmp_path / "run").exists()
    with pytest.raises(seglab.errors.ConfigError, match=f"{name}=2"):
        seglab.fit(*tiny, "hydra.run.dir=run", quiet=True)


def test_what_says_that_there_is_one_process_is_no_leftover(
    seglab_cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    assert seglab_cli("train", *tiny, "debug=one_step", "hydra.run.dir=run").code == 0


def test_the_server_of_processes_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    work, command = tmp_path / "work", tmp_path / "bin/command.py"
    work.mkdir()
    command.parent.mkdir()
    for name in ("selectors", "multiprocessing", "torch"):
        (work / f"{name}.py").write_text("open('imported', 'w')\nraise ImportError")
    call = "from seglab.runtime.launch import warm; warm().Process(target=print).start()"
    command.write_text(f"if __name__ == '__main__':\n    {call}\n")
    process = start(work, str(command), program=[sys.executable])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert not (work / "imported").exists()


def test_predict_overwrites_no_class_map_that_it_did_not_write(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    assert seglab_cli("data", "synth", f"data.root={data}", *tiny[:4]).code == 0
    done = seglab_cli("train", *tiny, f"data.root={data}", "debug=one_step", "hydra.run.dir=run")
    assert done.code == 0, done.err
    folder = data / "VOC2007"
    truth = {path: path.read_bytes() for path in (folder / "SegmentationClass").iterdir()}
    call = ["predict", "checkpoint=run/checkpoints/last.ckpt", f"input={folder / 'JPEGImages'}"]
    answer = seglab_cli(*call, f"output={folder / 'SegmentationClass'}")
    assert answer.code == 2
    assert "which predict did not write and would overwrite" in answer.err
    assert {path: path.read_bytes() for path in (folder / "SegmentationClass").iterdir()} == truth
    for _ in range(2):  # its own it may replace
        assert seglab_cli(*call, "output=maps").code == 0
