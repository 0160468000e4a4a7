"""The command line in-process: exit codes, one last line that says what is wrong, nothing left."""

from pathlib import Path

import pytest
import yaml

from seglab import cli, train
from seglab.history import write_json


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "seglab COMMAND --help: more"),
        (["-h"], "evaluate"),
        (["train", "--help"], "--dry-run"),
        (["data", "--help"], "download"),
        (["score", "-h"], "predictions=DIR"),
    ],
)
def test_help(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    assert said in out
    assert err == ""


ALL = "train, evaluate, predict, score, compare, data"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], f"no command given; there is {ALL}"),
        (["trian"], f"no command 'trian'; there is {ALL}"),
        (
            ["seed=1"],
            f"no command 'seed=1'; there is {ALL}",
        ),
        (["train", "--fast"], "unrecognized arguments: --fast; see seglab train --help"),
        (["evaluate", "--dry-run"], "unrecognized arguments: --dry-run"),
        (["data"], "the following arguments are required: action"),
        (["data", "burn"], "argument action: invalid choice: 'burn'"),
        (["train", "seed=abc"], "seed=abc: must be a whole number"),
        (["train", "sed=1"], "unknown key 'sed': did you mean seed or "),
        (["train", "--dry-run", "data.root=a\nb=c"], "'data.root=a\\nb=c' is not key=value"),
        (["train", "data=folder"], "data.root is not set: give data.root=DIR"),
        (["evaluate"], "checkpoint is not set: give checkpoint=…"),
        (["score"], "predictions is not set: give predictions=…"),
        (["score", "predictions=none"], "predictions=none: no such folder"),
        (["data", "synth", "data=voc2007"], "data=voc2007: only data=synthetic can be made"),
        (["data", "download"], "data.root is not set: give data.root=DIR"),
        (["data", "show", "index=-1"], "index=-1: must be at least 0"),
    ],
)
def test_wrong_usage(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"seglab: error: {said}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_in_use_is_refused_before_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "status.json", {"status": "failed"})
    for command in (["train"], ["evaluate", "checkpoint=a.ckpt"], ["score", "predictions=."]):
        assert cli.main([*command, "hydra.run.dir=run"]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("seglab: error: hydra.run.dir=run: already holds a run (failed)")
        assert "resume=true" in last
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["status.json"]


def test_a_missing_checkpoint_is_not_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", "checkpoint=no.ckpt"]) == 1
    assert capsys.readouterr().err == "seglab: error: checkpoint=no.ckpt: no such file\n"
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_shows_everything_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "seed=3", "--dry-run", "hydra.run.dir=runs/mine", "data=voc2007"]
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    config = yaml.safe_load(out)
    assert config["seed"] == 3
    assert config["data"]["name"] == "voc2007"
    assert config["data"]["classes"][20] == "tvmonitor"
    assert out.splitlines()[-1] == "# runs/mine: would start"
    assert err == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("state", "said"), [("finished", "left alone"), ("interrupted", "go on"), ("failed", "go on")]
)
def test_a_dry_run_says_what_resuming_would_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str, said: str
) -> None:
    write_json(tmp_path / "status.json", {"status": state})
    assert cli.main(["train", "--dry-run", "resume=true", f"hydra.run.dir={tmp_path}"]) == 0
    assert said in capsys.readouterr().out.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_a_finished_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "status.json", {"status": "finished"})
    assert cli.main(["train", "resume=true", f"hydra.run.dir={tmp_path}"]) == 0
    assert "finished before; nothing to do" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_a_defect_ends_with_its_gist_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**options: object) -> None:
        raise IndexError("first\n  second")

    monkeypatch.setattr(train, "main", broken)
    assert cli.main(["train"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1] == "seglab: error: IndexError: first second"


@pytest.mark.parametrize(
    "groups", [["experiments=smoke"], ["debug=short"], ["search=optuna"], ["model=fcn8s"]]
)
@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"], ["-m", "data=voc2007,voc2012"]])
def test_every_misspelt_key_is_named_beside_a_choice_of_a_group(
    groups: list[str], sweep: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["trainer.max_epoch=1", "optimizr.lr=0.1", "+data.bath_size=2"]
    assert cli.main(["train", "--dry-run", *sweep, *groups, *wrong]) == 2
    line = capsys.readouterr().err
    for key, near in (
        ("trainer.max_epoch", "trainer.max_epochs"),
        ("optimizr.lr", "optimizer.lr"),
        ("data.bath_size", "data.batch_size"),
    ):
        assert f"unknown key {key!r}: did you mean {near}" in line
    for group in groups:
        assert f"unknown key {group.split('=')[0]!r}" not in line


def test_a_misspelt_key_of_a_swept_model_or_of_the_launcher_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    swept = ["-m", "model=fcn8s,fcn16s", "model.net.strid=8", "hydra.launcher.njobs=2"]
    assert cli.main(["train", "--dry-run", *swept]) == 2
    line = capsys.readouterr().err
    assert "unknown key 'model.net.strid': did you mean model.net.stride" in line
    assert "unknown key 'hydra.launcher.njobs': did you mean hydra.launcher.n_jobs" in line


def test_options_that_are_not_all_are_called_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["train", "--dry-run", "model=fcn"]) == 2
    assert "no such model; nearest: fcn8s" in capsys.readouterr().err
    assert cli.main(["train", "--dry-run", "optimizer=foo"]) == 2
    assert "no such optimizer; there is adamw, sgd" in capsys.readouterr().err
