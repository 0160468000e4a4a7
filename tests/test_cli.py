"""The command line in-process: exit codes, one last line that says what is wrong, nothing left."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from seglab import cli
from seglab.commands import train
from seglab.config.compose import compose
from seglab.data.synthetic import SyntheticSpec, write_tree
from seglab.run.identity import EVAL_BATCH, LIMIT, data_digests, result_settings
from seglab.runtime.files import write_json
from seglab.schema import TrainConfig


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


ALL = "train, evaluate, predict, export, soup, score, compare, data"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], f"no command given; available: {ALL}"),
        (["trian"], f"no command 'trian'; available: {ALL}"),
        (
            ["seed=1"],
            f"no command 'seed=1'; available: {ALL}",
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
    write_tree(tmp_path / "data", SyntheticSpec(train=8, val=2))
    before = sorted(tmp_path.rglob("*"))
    arguments = ["train", "seed=3", "--dry-run", "hydra.run.dir=runs/mine", "data=voc2007"]
    assert cli.main([*arguments, "data.root=data"]) == 0
    out, err = capsys.readouterr()
    config = yaml.safe_load(out)
    assert config["seed"] == 3
    assert config["data"]["name"] == "voc2007"
    assert config["data"]["classes"][20] == "tvmonitor"
    assert out.splitlines()[-1] == "# runs/mine: would start"
    assert err == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("finished", "left alone"),
        ("interrupted", "would resume from last.ckpt"),
        ("failed", "would resume from last.ckpt"),
        ("none", "would start"),
    ],
)
def test_a_dry_run_says_what_resuming_would_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str, said: str
) -> None:
    folder = received(tmp_path / "run", state)
    before = [*folder.rglob("*")]
    assert cli.main(["train", "--dry-run", "resume=true", f"hydra.run.dir={folder}"]) == 0
    assert said in capsys.readouterr().out.splitlines()[-1]
    assert [*folder.rglob("*")] == before


def received(folder: Path, state: str, *overrides: str) -> Path:
    """Make the folder of a run of the default settings, with a checkpoint of one number."""
    for name in (".hydra", "checkpoints"):
        (folder / name).mkdir(parents=True)
    config = compose("train", TrainConfig, overrides).plain
    config["trainer"]["threads"] = 2
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    if state != "none":
        data = data_digests(compose("train", TrainConfig, []).config)
        write_json(folder / "status.json", {"status": state, "data": data})
        place = {"epoch_progress": {"current": {"started": 1, "processed": 1}}}
        place["epoch_loop.batch_progress"] = {"current": {"processed": 1}}
        checkpoint = {"seglab": {"config": {}}, "global_step": 1, "loops": {"fit_loop": place}}
        checkpoint |= {"state_dict": {"weight": torch.ones(1)}, "callbacks": {"BestAndLast": {}}}
        checkpoint |= {"optimizer_states": [{}], "lr_schedulers": [{}]}
        torch.save(checkpoint, folder / "checkpoints/last.ckpt")
    return folder


def test_a_reader_that_reads_no_further_is_no_defect(
    tmp_path: Path, made_run: Callable[..., Path]
) -> None:
    command = ["compare", str(made_run(tmp_path / "run")), "--format", "json"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "seglab", *command],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_finished_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = received(tmp_path / "run", "finished")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for devices in (1, 2):
        overrides = ["resume=true", f"hydra.run.dir={folder}", f"trainer.devices={devices}"]
        assert cli.main(["train", *overrides]) == 0
        assert "finished before; nothing to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


RESUME = ["train", "--dry-run", "resume=true"]


@pytest.mark.parametrize("state", ["finished", "interrupted", "failed"])
def test_settings_that_change_a_result_are_refused_by_name_on_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    run = received(tmp_path / "run", state, "optimizer.lr=2e-3", "model.net.channels=8")
    changes = ["optimizer.lr=0.7", "+model.net.extra=1", "trainer.max_epochs=61", "data.flip=0"]
    assert cli.main([*RESUME, f"hydra.run.dir={run}", "model.net.channels=8", *changes]) == 2
    line = capsys.readouterr().err
    for told in (
        *("optimizer.lr=0.002, not 0.7", "model.net.extra=(not set), not 1"),
        *("trainer.max_epochs=60, not 61", "data.flip=0.5, not 0.0"),
        f"model.weights={run}/checkpoints/last.ckpt",
    ):
        assert told in line
    assert "channels" not in line


def test_with_a_limit_of_batches_their_size_is_a_setting_of_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ["trainer.limit_val_batches=1", "data.eval_batch_size=1"]
    run = received(tmp_path / "run", "finished", *limit)
    again = [*RESUME, f"hydra.run.dir={run}", limit[0]]
    assert cli.main([*again, "data.eval_batch_size=4"]) == 2
    assert "data.eval_batch_size=1, not 4" in capsys.readouterr().err
    one, other = (result_settings({LIMIT: limit, EVAL_BATCH: 1}).keys() for limit in (1, None))
    assert one - other == {EVAL_BATCH}


def test_settings_without_effect_and_another_machine_are_accepted_on_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = received(tmp_path / "run", "interrupted")
    free = [
        *("data.num_workers=3", "data.eval_batch_size=2", "logger=csv", "pictures.samples=1"),
        *(
            "data.store.max_gb=1",
            "checkpoints=last",
            "sweep.name=x",
            f"data.root={tmp_path / 'copy'}",
        ),
    ]
    machine = ["trainer=cpu", "trainer.devices=2", "trainer.strategy=ddp", "trainer.threads=1"]
    assert cli.main([*RESUME, f"hydra.run.dir={run}", *free, *machine]) == 0
    out = capsys.readouterr().out
    for told in (
        *("trainer.accelerator=cpu, was auto", "trainer.devices=2, was 1"),
        *("trainer.strategy=ddp, was auto", "trainer.threads=1, was 2"),
    ):
        assert told in out
    assert "num_workers=3, was" not in out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no keys"),
        ("- a", "no keys"),
        ("{", "damaged"),
        ("a: &x [1]\nb: [*x, *x]", "alias"),
        ("[" * 100_000, "damaged"),
        ("a: !!python/object/apply:os.system [touch it-ran]", "damaged"),
        ("x: " + "a" * 2**20, "more than"),
        ("\x00", "damaged"),
        (None, "No such file"),
    ],
)
def test_the_stored_settings_are_plain_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, told: str
) -> None:
    run = received(tmp_path / "run", "interrupted")
    config = run / ".hydra/config.yaml"
    config.unlink() if text is None else config.write_text(text)
    assert cli.main([*RESUME, f"hydra.run.dir={run}"]) == 1
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1
    assert f"{config}: " in line
    assert told in line
    assert not Path("it-ran").exists()


def test_nothing_is_resolved_from_the_stored_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "5e9a7e15")
    run = received(tmp_path / "run", "interrupted")
    config = run / ".hydra/config.yaml"
    config.write_text(config.read_text().replace("name: poly", "name: ${oc.env:SECRET}"))
    assert cli.main([*RESUME, f"hydra.run.dir={run}"]) == 2
    err = capsys.readouterr().err
    assert "schedule.name=${oc.env:SECRET}, not poly" in err
    assert "5e9a7e15" not in err


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
    assert "no such optimizer; available: adamw, sgd" in capsys.readouterr().err
