"""A run folder: whole files only, one owner at a time, a status that never lies, each step once."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from seglab.errors import ConfigError, RunError
from seglab.run.folder import Run
from seglab.run.history import History
from seglab.run.status import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    NONE,
    STARTED,
    check_folder,
    mark_failed,
    status,
)
from seglab.runtime.files import atomic, write_json


def said(folder: Path) -> dict[str, str]:
    return json.loads((folder / "status.json").read_text())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Whole files.


def test_a_file_appears_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic(path) as file:
        file.write("new\n")
        assert not path.exists()
    assert path.read_bytes() == b"new\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_block_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with atomic(path) as file:
            file.write("half of the new")
            file.flush()
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    path.unlink()
    with pytest.raises(error):
        write()
    assert names(tmp_path) == []


def test_json_has_null_for_what_json_lacks(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    values = {"val/mIoU": 0.1, "val/IoU/a,b": math.nan, "up": math.inf, "in": {"x": [-math.inf, 1]}}
    write_json(path, values)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads(path.read_text(), parse_constant=refuse)
    assert read == {"val/mIoU": 0.1, "val/IoU/a,b": None, "up": None, "in": {"x": [None, 1]}}


def test_json_that_cannot_be_written_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": 2, "b": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert names(tmp_path) == ["a.json"]


# Status.


def test_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        assert status(folder) == NONE
    assert names(tmp_path) == ["file"]  # looking writes nothing


@pytest.mark.parametrize("state", [FINISHED, FAILED, INTERRUPTED])
def test_status_is_what_the_file_says(tmp_path: Path, state: str) -> None:
    write_json(tmp_path / "status.json", {"status": state})
    assert status(tmp_path) == state


def test_started_counts_only_while_somebody_holds_the_lock(tmp_path: Path) -> None:
    write_json(tmp_path / "status.json", {"status": STARTED})
    with FileLock(tmp_path / ".lock"):
        assert status(tmp_path) == STARTED
    assert status(tmp_path) == INTERRUPTED
    assert status(tmp_path) == INTERRUPTED  # asking did not keep the lock


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"status": null}', '{"status": "bogus"}', "\xff"]
)
def test_a_damaged_status_counts_as_failed(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text, encoding="latin-1")
    assert status(tmp_path) == FAILED
    with pytest.raises(ConfigError, match="failed"):
        check_folder(tmp_path, resume=False)
    assert check_folder(tmp_path, resume=True) == FAILED


# Which folders a run may take.


@pytest.mark.parametrize("state", [FINISHED, FAILED, INTERRUPTED])
def test_a_folder_with_a_run_is_refused_without_resume(tmp_path: Path, state: str) -> None:
    write_json(tmp_path / "status.json", {"status": state})
    with pytest.raises(ConfigError, match=r"another folder") as refusal:
        check_folder(tmp_path, resume=False)
    assert f"hydra.run.dir={tmp_path}" in str(refusal.value)
    assert state in str(refusal.value)
    late = Run(tmp_path, {}, resume=False)  # the other run came after the check
    with pytest.raises(RunError, match="another process has changed this run"), late:
        pass
    assert said(tmp_path) == {"status": state}
    assert check_folder(tmp_path, resume=True) == state


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for folder in (file, file / "deep" / "er"):
        with pytest.raises(ConfigError, match="is a file, not a folder") as refusal:
            check_folder(folder, resume=True)
        assert f"hydra.run.dir={folder}" in str(refusal.value)
    assert file.read_text() == "mine"


def test_a_folder_that_cannot_be_made_or_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read: File name too long"):
        check_folder(tmp_path / ("x" * 300), resume=False)
    (tmp_path / ".hydra").write_text("in the way")
    refused = Run(tmp_path, {}, resume=False)  # kept, so that nothing but itself frees the lock
    with pytest.raises(RunError, match="not writable"), refused:
        pass
    (tmp_path / ".hydra").unlink()
    with Run(tmp_path, {}, resume=False):
        pass
    assert not refused.lock.is_locked


def test_an_unwritable_parent_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *arguments: False)  # root may write everywhere
    with pytest.raises(RunError, match=r"not writable; give hydra.run.dir=DIR"):
        check_folder(tmp_path / "a" / "b", resume=False)


def test_checking_a_new_folder_makes_nothing(tmp_path: Path) -> None:
    assert check_folder(tmp_path / "a" / "b", resume=False) == NONE
    assert names(tmp_path) == []


def test_two_runs_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with Run(tmp_path, {"seed": 1}, resume=False):
        for resume in (False, True):
            with (
                pytest.raises(RunError, match="another process is working on this run"),
                Run(tmp_path, {"seed": 2}, resume=resume),
            ):
                pass
        assert said(tmp_path)["status"] == STARTED
    assert said(tmp_path)["status"] == FINISHED
    assert yaml.safe_load((tmp_path / ".hydra/config.yaml").read_text()) == {"seed": 1}


def test_a_lock_taken_between_check_and_start_is_noticed(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".lock"),  # its owner has not written its status yet
        pytest.raises(RunError, match="another process is working on this run"),
        Run(tmp_path, {}, resume=False),
    ):
        pass
    assert names(tmp_path) == [".lock"]


def test_another_process_is_excluded_and_may_be_killed(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from seglab.run.folder import Run\n"
        "with Run(pathlib.Path(sys.argv[1]), {}, resume=False):\n"
        "    print('in', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"in\n"
            assert status(tmp_path) == STARTED
            with pytest.raises(RunError, match="another process is working on this run"):
                check_folder(tmp_path, resume=True)
        finally:
            other.kill()
    assert said(tmp_path)["status"] == STARTED
    assert check_folder(tmp_path, resume=True) == INTERRUPTED


# From start to end.


def test_a_run_that_succeeds(tmp_path: Path) -> None:
    config = {"seed": 1, "data": {"name": "höhe", "root": None, "scale": [0.5, 2.0]}}
    with Run(tmp_path / "a" / "b", config, ["seed=1"], resume=False) as run:
        folder = run.folder
        assert set(said(folder)) == {"status", "started", "code"}
        assert said(folder)["status"] == status(folder) == STARTED
        text = (folder / ".hydra/config.yaml").read_text(encoding="utf-8")
        assert yaml.safe_load(text) == config
        assert list(yaml.safe_load(text)) == ["seed", "data"]
        assert yaml.safe_load((folder / ".hydra/overrides.yaml").read_text()) == ["seed=1"]
        run.history.log(0, {"a": 1.0})
        run.write_metrics({"val/mIoU": 0.5, "val/IoU/x": math.nan})
    assert set(said(folder)) == {"status", "started", "code", "ended"}
    assert said(folder)["status"] == status(folder) == FINISHED
    assert History(folder / "metrics.csv").rows() == [{"step": "0", "a": "1.0"}]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == {"val/mIoU": 0.5, "val/IoU/x": None}


@pytest.mark.parametrize(
    ("error", "state", "line"),
    [
        (ValueError("first\n  second"), FAILED, "first second"),
        (ZeroDivisionError(), FAILED, "ZeroDivisionError"),
        (SystemExit(1), FAILED, "1"),
        (KeyboardInterrupt(), INTERRUPTED, None),
    ],
)
def test_a_run_that_ends_wrong(
    tmp_path: Path, error: BaseException, state: str, line: str | None
) -> None:
    def fail() -> None:
        with Run(tmp_path, {}, resume=False) as run:
            run.history.log(3, {"a": 1.0})
            raise error

    with pytest.raises(type(error)) as raised:
        fail()
    assert raised.value is error
    assert said(tmp_path)["status"] == status(tmp_path) == state
    assert said(tmp_path).get("error") == line
    assert History(tmp_path / "metrics.csv").rows() == [{"step": "3", "a": "1.0"}]
    with Run(tmp_path, {}, resume=True):
        pass
    assert status(tmp_path) == FINISHED
    assert "error" not in said(tmp_path)


# History.


def test_a_row_a_step_and_new_columns_widen_the_table(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv")
    history.log(0, {"train/loss": 2.0})
    history.log(0, {"lr/head": 0.1})
    history.log(1, {"train/loss": 1.0})
    history.log(1, {"train/loss": 0.5, "val/IoU/a, \"b\"\n'c'": 0.1 + 0.2})
    history.log(3, {"lr/head": math.nan})
    history.flush()
    history.flush()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        table = list(csv.reader(file))
    assert table == [
        [
            "step",
            "train/loss",
            "lr/head",
            "val/IoU/a, \"b\"\n''c'",
        ],  # see seglab.runtime.csv_cells
        ["0", "2.0", "0.1", ""],
        ["1", "0.5", "", "0.30000000000000004"],
        ["3", "", "nan", ""],
    ]
    assert [*history.rows()[0]][-1] == "val/IoU/a, \"b\"\n'c'"
    assert names(tmp_path) == ["metrics.csv"]


def test_rewinding_drops_the_rows_from_the_step_on(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv")
    for step in range(12):
        history.log(step, {"a": float(step)})
    history.rewind(10)  # step 11 was still pending
    assert [row["step"] for row in history.rows()] == [str(step) for step in range(10)]
    again = History(tmp_path / "metrics.csv")
    again.rewind(9)
    again.log(9, {"b": 1.0})
    again.flush()
    assert again.rows()[8:] == [
        {"step": "8", "a": "8.0", "b": ""},
        {"step": "9", "a": "", "b": "1.0"},
    ]
    again.rewind(0)
    assert again.rows() == []


def test_rewinding_an_empty_history_is_harmless(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv")
    assert history.rows() == []
    history.rewind(0)
    History(tmp_path / "metrics.csv").log(0, {"a": 1.0})
    history = History(tmp_path / "metrics.csv")
    history.log(0, {"a": 1.0})
    history.flush()
    assert history.rows() == [{"step": "0", "a": "1.0"}]


column = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(
    logged=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.dictionaries(column.filter(lambda name: name != "step"), st.floats(), max_size=3),
        ),
        max_size=12,
    ),
    reopen=st.integers(0, 12),
)
def test_what_is_read_back_is_what_was_logged_last(
    logged: list[tuple[int, dict[str, float]]], reopen: int
) -> None:
    with TemporaryDirectory() as folder:
        history = History(Path(folder) / "metrics.csv")
        expected: dict[int, dict[str, str]] = {}
        step = 0
        for position, (ahead, values) in enumerate(logged):
            step += ahead
            if position == reopen:
                step += 1  # a resumed run goes on with the step after the last
                history.flush()
                history = History(Path(folder) / "metrics.csv")
            history.log(step, values)
            row = expected.setdefault(step, {"step": str(step)})
            row |= {name: str(value) for name, value in values.items()}
        history.flush()
        rows = [{k: v for k, v in row.items() if v != ""} for row in history.rows()]
        assert rows == list(expected.values())


def test_other_processes_of_a_run_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGLAB_RANKS", "2")
    monkeypatch.setenv("RANK", "1")
    history = tmp_path / "metrics.csv"
    history.write_text("step,train/loss\n0,2.0\n")  # which the first process may just be writing
    with Run(tmp_path, {}, resume=False) as run:
        run.history.rewind(0)
        run.history.log(0, {"train/loss": 1.0})
        run.history.sync()
        assert math.isnan(run.history.last("train/loss"))
        run.write_metrics({"val/mIoU": 0.5})
    assert history.read_text() == "step,train/loss\n0,2.0\n"
    assert names(tmp_path) == ["metrics.csv"]


def test_a_run_whose_process_died_is_marked_by_others(tmp_path: Path) -> None:
    mark_failed(tmp_path / "never", "killed by\nSIGKILL")
    said = json.loads((tmp_path / "never/status.json").read_text())
    assert (said["status"], said["error"]) == ("failed", "killed by SIGKILL")
    with Run(tmp_path / "works", {}, resume=False) as run:
        mark_failed(run.folder, "not true")
    assert status(tmp_path / "works") == "finished"
    mark_failed(tmp_path / "works", "not true")
    assert status(tmp_path / "works") == "finished"
