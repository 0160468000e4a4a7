"""W&B as a user meets it: what a run logs, read back from its own file, and what cannot stop it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from helpers import wandb_reader
from helpers.faults import SignalAt, armed
from helpers.wandb_reader import Logged, read_run
from helpers.wandb_server import close, serving
from wandb.sdk.launch.sweeps import utils as sweeps

from seglab.data.synthetic import SyntheticSpec, write_tree
from seglab.run.status import read_status

KEY = "0123456789abcdef" * 2 + "01234567"
CLASSES = ["background", "circle", "square", "triangle", "ring", "star", "cross"]


@pytest.fixture(autouse=True)
def _own_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take away this machine's key and settings, and W&B's process before and after each test."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home" / "config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what gives W&B a key and a server."""

    def use(url: str) -> None:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)

    return use


def run_files(folder: Path) -> list[Path]:
    wandb.teardown()  # its service process writes on for a moment after a run has ended
    return wandb_reader.run_files(folder)


def the_run(folder: Path) -> Logged:
    (file,) = run_files(folder)
    return read_run(file)


def metrics(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return found


def sync_commands(out: str) -> list[list[str]]:
    lines = [line for line in out.splitlines() if "wandb sync" in line]
    return [shlex.split(line.split("wandb sync ")[1]) for line in lines]


def test_without_a_key_a_run_is_logged_offline_and_says_so_once(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    extra = ["optimizer.lr=0.01", "pictures.every_n_epochs=1", "hydra.run.dir=run"]
    about = ["logger.tags=[a,b]", "logger.notes=why", "logger.group=g", "logger.checkpoints=true"]
    answer = seglab_cli("train", *tiny, *extra, *about)
    assert answer.code == 0, answer.err
    assert "wandb" not in answer.err
    (folders,) = sync_commands(answer.out)
    (file,) = run_files(tmp_path / "run")
    assert folders == [str(file.parent.relative_to(tmp_path))]
    assert "there is no W&B key" in answer.out

    logged, own = read_run(file), metrics(tmp_path / "run")
    run = logged.run
    assert run.display_name.startswith("padded_cnn synthetic ")
    assert "lr=0.01" in run.display_name
    assert (run.project, run.run_group, run.job_type) == ("seglab", "g", "train")
    assert (list(run.tags), run.notes) == (["a", "b"], "why")
    assert logged.exit_code == 0

    config = logged.config
    assert (config["optimizer.lr"], config["model.net.dilations"]) == (0.01, [1, 2])
    assert config["data.classes"] == CLASSES
    assert (config["device"], config["versions.wandb"]) == ("cpu", wandb.__version__)
    assert config["model.parameters"] == config["model.trained_parameters"] > 800
    assert len(config["data.fingerprint.train"]) == len(config["data.fingerprint.val"]) == 64

    assert logged.values("step") == sorted(logged.values("step"))
    trained = [row for row in logged.history if "train/loss" in row]
    assert [row["step"] for row in trained] == [0, 1, 2, 3]
    assert all({"lr/head", "epoch"} <= row.keys() for row in trained)
    mious = logged.values("val/mIoU")
    assert len(mious) == 2
    assert mious[-1] == own["val/mIoU"], "in all its digits"
    assert all(speed > 0 for speed in logged.values("speed/images_per_second"))
    assert logged.summary["val/mIoU"] == {"last": mious[-1], "max": max(mious)}
    assert logged.summary["val/loss"]["min"] == min(logged.values("val/loss"))
    assert logged.summary["best/val/mIoU"] == own["best/val/mIoU"]
    assert logged.metrics["train/*"].step_metric == logged.metrics["val/*"].step_metric == "step"

    pictures = {key for row in logged.history for key in row if key.startswith("predictions/")}
    assert len(pictures) == 2
    for key in pictures:
        assert len(logged.values(key)) == 2, "every epoch, and not twice at the end"
        picture = logged.values(key)[-1]
        assert (file.parent / "files" / picture["path"]).is_file()
        assert picture["masks"].keys() == {"truth", "prediction"}
        labels = config["_wandb"]["mask/class_labels"][f"{key}_wandb_delimeter_truth"]["value"]
        assert labels == {**{str(i): name for i, name in enumerate(CLASSES)}, "255": "void"}

    results, iou, confusion = (
        json.loads((file.parent / "files" / logged.summary[f"val/{name}"]["path"]).read_text())
        for name in ("results", "IoU_by_class_table", "confusion_matrix_table")
    )
    assert results["columns"] == ["id", "image", "mIoU"]
    assert len(results["data"]) == 5
    assert [row[2] for row in results["data"]] == sorted(row[2] for row in results["data"])
    assert dict(iou["data"]) == {name: own[f"val/IoU/{name}"] for name in CLASSES}
    rows = [sum(share for truth, _, share in confusion["data"] if truth == one) for one in CLASSES]
    assert all(total == pytest.approx(1) or total == 0 for total in rows)
    assert sum(rows) > 2

    models = [artifact for artifact in logged.artifacts if artifact.type == "model"]
    aliases = {alias for artifact in models for alias in artifact.aliases}
    assert {"best", "last"} <= aliases
    assert {artifact.name for artifact in models} == {f"padded_cnn-synthetic-{run.run_id}"}
    for artifact in models:
        (entry,) = artifact.manifest.contents
        assert entry.path == "model.ckpt"
        assert Path(entry.local_path).is_file()
        if "last" in artifact.aliases:
            told = json.loads(artifact.metadata)
            assert (told["epoch"], told["val/mIoU"]) == (1, own["val/mIoU"])
    for artifact in logged.artifacts:  # all that a sync needs lies in the run folder
        for entry in artifact.manifest.contents:
            assert Path(entry.local_path).resolve().is_relative_to(tmp_path / "run")


def test_a_series_in_one_process_has_a_run_a_job_and_tells_the_one_that_failed(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from seglab.tasks.semantic import SemanticSegmentation

    step = SemanticSegmentation.training_step

    def broken(self: Any, batch: Any, index: int) -> Any:
        if self.seed == 1:
            raise RuntimeError("out of luck")
        return step(self, batch, index)

    monkeypatch.setattr(SemanticSegmentation, "training_step", broken)
    environment = dict(os.environ)
    codes = [
        seglab_cli(
            "train", *tiny, "logger.group=series", f"seed={seed}", f"hydra.run.dir=runs/{seed}"
        ).code
        for seed in (0, 1, 2)
    ]
    assert codes == [0, 1, 0]
    runs = [the_run(tmp_path / "runs" / str(seed)) for seed in (0, 1, 2)]
    assert [run.exit_code for run in runs] == [0, 1, 0]
    assert len({run.run.run_id for run in runs}) == 3
    assert {run.run.run_group for run in runs} == {"series"}
    assert [run.config["seed"] for run in runs] == [0, 1, 2]
    assert ["seed=1" in run.run.display_name for run in runs] == [False, True, False]
    assert [len(run.values("val/mIoU")) for run in runs] == [2, 0, 2]
    assert [len(run.alerts) for run in runs] == [0, 1, 0]
    (alert,) = runs[1].alerts
    assert (alert.level, "failed" in alert.title) == ("ERROR", True)
    assert "out of luck" in alert.text
    assert len({run.config["recipe"] for run in runs}) == 1, "the seed is no part of it"
    assert wandb.run is None
    kept = {"WANDB_SERVICE", "WANDB_ERROR_REPORTING"}  # its own process, and its telemetry
    changed = {name for name in os.environ if os.environ[name] != environment.get(name)}
    assert {name for name in changed if name.startswith("WANDB")} <= kept


def test_an_interrupted_run_goes_on_under_its_id_and_one_command_uploads_both_parts(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
    online: Callable[[str], None],
) -> None:
    interrupt(1)
    assert seglab_cli("train", *tiny, "hydra.run.dir=run", "resume=true").code == 130
    first = the_run(tmp_path / "run")
    assert first.exit_code == 130
    interrupt(-1)
    time.sleep(1.1)  # W&B names a part by the second of its start
    answer = seglab_cli("train", *tiny, "hydra.run.dir=run", "resume=true")
    assert answer.code == 0, answer.err
    parts = run_files(tmp_path / "run")
    (folders,) = sync_commands(answer.out)
    assert folders == [str(part.parent.relative_to(tmp_path)) for part in parts]
    second = read_run(parts[1])
    assert len(parts) == 2
    assert second.run.run_id == first.run.run_id
    assert [*first.values("step"), *second.values("step")] == [0, 1, 2, 3, 3], "and the tables"

    with serving() as server:
        online(server.url)
        sync = [sys.executable, "-m", "wandb", "sync", *folders]
        done = subprocess.run(sync, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert list(server.runs) == [first.run.run_id]
        rows = server.history[first.run.run_id]
        assert [rows[line]["step"] for line in sorted(rows)] == [0, 1, 2, 3, 3]
        assert rows[3]["val/mIoU"] == metrics(tmp_path / "run")["val/mIoU"]
        assert server.exit_codes[first.run.run_id] == 0


def test_a_new_run_does_not_log_to_a_run_whose_files_are_in_its_folder_already(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
) -> None:
    planted = tmp_path / "run/wandb/run-20260101_000000-deadbeef"
    planted.mkdir(parents=True)
    (planted / "run-deadbeef.wandb").touch()
    arguments = [*tiny, "hydra.run.dir=run", "resume=true"]
    interrupt(1)
    assert seglab_cli("train", *arguments).code == 130
    (own,) = {one for one in run_files(tmp_path / "run") if "deadbeef" not in one.name}
    run_id = read_run(own).run.run_id
    assert run_id != "deadbeef"

    # One whose name is not W&B's is left alone by a resumed run too.
    (planted.parent / "run-29990101_000000-x").mkdir()
    (planted.parent / "run-29990101_000000-x/run-stranger.wandb").touch()
    interrupt(-1)
    answer = seglab_cli("train", *arguments)
    assert answer.code == 0, answer.err
    assert f"W&B: resumes run {run_id}" in answer.out


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("refuses", "cannot be reached"),
        ("hangs", "does not answer within 1 s"),
        ("fails", "answers 500"),
        ("stalls", "Timed out"),
        ("forbids", "logged offline: "),
    ],
)
def test_a_server_that_is_of_no_use_is_soon_done_without(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    online: Callable[[str], None],
    behaviour: str,
    said: str,
) -> None:
    with serving(behaviour) as server:
        if behaviour == "refuses":
            close(server)
        online(server.url)
        start = time.perf_counter()
        answer = seglab_cli(
            "train", *tiny, "logger.mode=online", "logger.init_timeout=1", "hydra.run.dir=run"
        )
        wandb.teardown()  # as when the process ends
        seconds = time.perf_counter() - start
    assert answer.code == 0, answer.err
    assert seconds < 30, "the SDK alone would wait 90"
    assert answer.err == ""
    (folders,) = sync_commands(answer.out)
    (line,) = [line for line in answer.out.splitlines() if "W&B" in line]
    assert said in line
    (file,) = run_files(tmp_path / "run")
    assert folders == [str(file.parent.relative_to(tmp_path))]
    logged = read_run(file)
    assert logged.exit_code == 0
    assert logged.values("val/mIoU")[-1] == metrics(tmp_path / "run")["val/mIoU"]
    assert len(list((tmp_path / "run" / "wandb").glob("*run-*"))) == 1
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), f"the key is in {path}"


def test_a_run_interrupted_inside_an_epoch_is_resumed_with_its_logger(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    run = ["train", *tiny, "logger.mode=offline", "hydra.run.dir=run", "resume=true"]
    with armed(SignalAt(0)):
        assert seglab_cli(*run).code == 130
    assert read_status(tmp_path / "run")["status"] == "interrupted"
    answer = seglab_cli(*run)
    assert answer.code == 0, answer.err
    speeds = [
        read_run(file).values("speed/images_per_second") for file in run_files(tmp_path / "run")
    ]
    assert sum(map(len, speeds)) == 2, "one for each epoch"


@pytest.mark.parametrize("end", ["closes", "hangs", "fails", "forbids"])
def test_a_server_that_is_lost_during_training_costs_a_moment_and_no_data(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    online: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    from seglab.callbacks.progress import TrainingProgress

    lost = []

    with serving() as server:

        def lose(self: Any, trainer: Any, task: Any) -> None:
            if trainer.current_epoch == 1:
                lost.append(time.perf_counter())
                if end == "closes":
                    close(server)
                else:
                    server.behaviour = end

        monkeypatch.setattr(TrainingProgress, "on_train_epoch_end", lose)
        online(server.url)
        extra = ["trainer.max_epochs=3", "logger.finish_timeout=2", "hydra.run.dir=run"]
        answer = seglab_cli("train", *tiny, *extra)
        wandb.teardown()
        seconds = time.perf_counter() - lost[0]
    assert answer.code == 0, answer.err
    assert f"{server.url}/team/seglab/runs/" in answer.out
    assert seconds < 30, "the SDK alone would wait for ever"
    first, last = run_files(tmp_path / "run")  # tables cannot be logged without the server
    ((option, *folders),) = sync_commands(answer.out)
    assert option == "--include-online"
    assert folders == [str(file.parent.relative_to(tmp_path)) for file in (first, last)]
    online_part, offline_part = read_run(first), read_run(last)
    assert sorted({row["step"] for row in online_part.history}) == [0, 1, 2, 3, 4, 5]
    assert online_part.values("val/mIoU")[-1] == metrics(tmp_path / "run")["val/mIoU"]
    assert offline_part.run.run_id == online_part.run.run_id
    assert offline_part.summary["val/results"]["nrows"] == 5
    assert offline_part.exit_code == 0

    if end == "closes":
        with serving() as server:
            online(server.url)
            sync = [sys.executable, "-m", "wandb", "sync", option, *folders]
            done = subprocess.run(sync, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr
            rows = server.history[online_part.run.run_id]
            assert [rows[line]["step"] for line in sorted(rows)] == [0, 1, 2, 3, 4, 5, 5]
            assert "val/results" in rows[6]


def test_a_run_is_logged_online_and_resumed_there_as_the_same_run(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    online: Callable[[str], None],
    interrupt: Callable[[int], None],
) -> None:
    with serving() as server:
        online(server.url)
        interrupt(1)
        arguments = [*tiny, "logger.run_name=mine", "hydra.run.dir=run", "resume=true"]
        assert seglab_cli("train", *arguments).code == 130
        interrupt(-1)
        answer = seglab_cli("train", *arguments)
        assert answer.code == 0, answer.err
        (run_id,) = server.runs
        assert f"W&B: mine, {server.url}/team/seglab/runs/{run_id}" in answer.out
        assert "wandb sync" not in answer.out
        rows = server.history[run_id]
        assert [rows[line]["step"] for line in sorted(rows)] == [0, 1, 2, 3, 3]
        assert server.exit_codes[run_id] == 0
        (data,) = [one for one in server.artifacts if one["artifactTypeName"] == "dataset"]
        assert data["artifactCollectionName"] == "data-synthetic"
        config = json.loads(server.runs[run_id]["config"])
        known = {split: config[f"data.fingerprint.{split}"]["value"] for split in ("train", "val")}
        assert json.loads(data["metadata"]) == {"fingerprint": known}
        assert "UseArtifact" in server.requests
    assert [read_run(file).run.run_id for file in run_files(tmp_path / "run")] == [run_id] * 2


def test_a_service_process_that_dies_costs_neither_this_run_nor_the_next(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from seglab.callbacks.progress import TrainingProgress

    def kill(self: Any, trainer: Any, task: Any) -> None:
        wandb.setup()._connection._proc._process.kill()

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "on_train_epoch_end", kill)
        answer = seglab_cli("train", *tiny, "hydra.run.dir=first")
    assert answer.code == 0, answer.err
    assert answer.out.count("W&B: failed; the run continues without it") == 1
    assert len(sync_commands(answer.out)) == 1
    assert metrics(tmp_path / "first")["val/mIoU"] >= 0
    assert seglab_cli("train", *tiny, "hydra.run.dir=second").code == 0
    assert the_run(tmp_path / "second").exit_code == 0


@pytest.mark.parametrize(
    "extra", [["logger=csv"], ["logger.mode=disabled"], ["WANDB_MODE=disabled"]]
)
def test_without_wandb_nothing_of_it_is_left(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    extra: list[str],
) -> None:
    if extra[0].startswith("WANDB"):
        monkeypatch.setenv(*extra.pop().split("="))
    answer = seglab_cli("train", *tiny, "debug=one_step", *extra, "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    assert "W&B" not in answer.out
    assert not (tmp_path / "run" / "wandb").exists()
    assert (tmp_path / "run" / "metrics.csv").is_file()


def test_online_without_a_key_is_refused_before_anything_is_made(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    answer = seglab_cli("train", *tiny, "logger.mode=online", "hydra.run.dir=run")
    assert answer.code == 2
    assert "logger.mode=online: there is no W&B key: run `wandb login`" in answer.last_line
    assert not (tmp_path / "run").exists()
    assert seglab_cli("train", "logger.mode=onlin").code == 2
    assert seglab_cli("train", "logger=csv", "logger.mode=offline").code == 2


def test_evaluate_and_predict_are_runs_of_their_own_kind(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    data = ["data.root=data", "logger.group=g"]
    assert seglab_cli("train", *tiny, *data, "debug=one_step", "hydra.run.dir=run").code == 0
    path = "checkpoint=run/checkpoints/last.ckpt"

    asked = ["logger=wandb", "logger.group=g", "evaluation.flip=true"]
    answer = seglab_cli("evaluate", path, "hydra.run.dir=ev", *asked)
    assert answer.code == 0, answer.err
    logged = the_run(tmp_path / "ev")
    assert (logged.run.job_type, logged.run.run_group) == ("evaluate", "g")
    assert logged.run.display_name == "padded_cnn synthetic flip=true"
    assert logged.config["checkpoint"] == "run/checkpoints/last.ckpt"
    assert logged.config["parent.checkpoint"] == "run/checkpoints/last.ckpt"
    assert logged.config["parent.run"] == the_run(tmp_path / "run").run.run_id
    assert logged.config["split"] == "val"
    own = metrics(tmp_path / "ev")
    assert logged.values("val/mIoU") == [own["val/mIoU"]]
    assert logged.values("val/mIoU_low") == [own["val/mIoU_low"]]
    assert logged.summary["val/results"]["nrows"] == 5
    assert logged.exit_code == 0

    photographs = "input=data/VOC2007/JPEGImages"
    assert seglab_cli("predict", path, photographs, "output=plain").code == 0
    assert not (tmp_path / "plain" / "wandb").exists(), "only if it is asked for"
    asked = ["logger=wandb", "logger.table_images=3", "logger.mode=offline"]
    answer = seglab_cli("predict", path, photographs, "output=out", *asked)
    assert answer.code == 0, answer.err
    logged = the_run(tmp_path / "out")
    assert logged.run.job_type == "predict"
    assert logged.summary["predict/results"]["nrows"] == 3

    assert seglab_cli("evaluate", path, "hydra.run.dir=no").code == 0
    assert not (tmp_path / "no" / "wandb").exists()


def test_a_checkpoint_is_taken_from_an_artifact(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """W&B's client is replaced at its border: what it does with a server is not tested here."""
    assert seglab_cli("train", *tiny, "logger=csv", "hydra.run.dir=run").code == 0
    asked: list[tuple[str, str]] = []

    class Artifact:
        digest = "0a1b"

        def download(self, root: str) -> str:
            Path(root).mkdir(parents=True)
            content = (tmp_path / "run/checkpoints/best.ckpt").read_bytes()
            (Path(root) / "model.ckpt").write_bytes(content)
            return root

    class Api:
        def __init__(self, timeout: int) -> None:
            assert timeout > 0

        def artifact(self, name: str, type: str) -> Artifact:
            asked.append((name, type))
            if ":v9" in name:
                raise wandb.errors.CommError("not found")
            return Artifact()

    reference = "checkpoint=wandb:team/seglab/fcn8s-voc2007-1a2b"
    answer = seglab_cli("evaluate", f"{reference}:best", "hydra.run.dir=ev")
    assert answer.code == 2
    assert "there is no W&B key" in answer.last_line
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    wandb.teardown()
    monkeypatch.setattr(wandb, "Api", Api)
    answer = seglab_cli("evaluate", f"{reference}:best", "hydra.run.dir=ev")
    assert answer.code == 0, answer.err
    assert asked == [("team/seglab/fcn8s-voc2007-1a2b:best", "model")]
    assert metrics(tmp_path / "ev")["val/mIoU"] == metrics(tmp_path / "run")["best/val/mIoU"]
    missing = seglab_cli("predict", f"{reference}:v9", "input=x", "output=y")
    assert missing.code == 1
    assert missing.last_line.endswith("1a2b:v9: cannot be loaded: not found")
    unnamed = seglab_cli("evaluate", "checkpoint=wandb:team/seglab")
    assert unnamed.code == 2
    assert "must be wandb:ENTITY/PROJECT/ARTIFACT:ALIAS" in unnamed.last_line


# wandb 0.31 does not close the file of the agent's parameters (wandb_setup.py, config).
@pytest.mark.filterwarnings("ignore:.*parameters.yaml:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file .*parameters.yaml:ResourceWarning")
def test_an_agent_of_a_sweep_calls_seglab_as_sweep_yaml_says(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    online: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = yaml.safe_load((Path(__file__).parents[2] / "sweep.yaml").read_text())
    drawn = {
        name: {"value": said.get("value", said.get("min", said.get("values", [0])[-1]))}
        for name, said in sweep["parameters"].items()
    }
    # As W&B's agent fills in the command, and tells the run its id and sweep.
    arguments = sweeps.create_sweep_command_args({"args": drawn})["args_no_hyphens"]
    macros = {"${program}": [sweep["program"]], "${args_no_hyphens}": arguments}
    command = [word for part in sweep["command"] for word in macros.get(part, [part])]
    assert command[:3] == ["seglab", "train", "experiments=padded_cnn_voc2007"]
    assert "optimizer.lr=0.001" in command
    write_tree(tmp_path / "VOCdevkit", SyntheticSpec(train=8, val=2))
    assert seglab_cli(*command[1:], "--dry-run").code == 0

    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "given1")
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text(yaml.safe_dump({"wandb_version": 1, "optimizer.lr": {"value": 0.002}}))
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(parameters))
    with serving() as server:
        online(server.url)
        run = ["optimizer.lr=0.002", "debug=one_step", "hydra.run.dir=run"]
        answer = seglab_cli("train", *tiny, *run)
        assert answer.code == 0, answer.err
        assert server.sweeps == {"given1": "sweep1"}
        assert server.exit_codes == {"given1": 0}
        assert "val/mIoU" in server.history["given1"][0]
    assert the_run(tmp_path / "run").config["optimizer.lr"] == 0.002


def test_a_loss_that_is_not_finite_is_an_alert(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    answer = seglab_cli("train", *tiny, "optimizer.lr=1e30", "hydra.run.dir=run")
    assert answer.code == 1
    (alert,) = the_run(tmp_path / "run").alerts
    assert alert.title.endswith(": the loss is not finite")


def test_a_last_checkpoint_alone_is_not_called_the_best(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    kept = ["logger.mode=offline", "logger.checkpoints=true", "checkpoints=last"]
    assert seglab_cli("train", *tiny, *kept, "hydra.run.dir=run").code == 0
    logged = the_run(tmp_path / "run").artifacts
    (aliases,) = [{*one.aliases} for one in logged if one.type == "model"]
    assert "last" in aliases
    assert "best" not in aliases


def test_the_best_checkpoint_is_linked_to_a_registry(
    seglab_cli: Callable[..., Any], tiny: list[str], online: Callable[[str], None]
) -> None:
    wanted = ["logger.registry=wandb-registry-model/fcn8s", "hydra.run.dir=run"]
    answer = seglab_cli("train", *tiny, *wanted)
    assert answer.code == 2
    assert "needs logger.checkpoints=true" in answer.last_line
    wanted.append("logger.checkpoints=true")
    answer = seglab_cli("train", *tiny, *wanted, "checkpoints=last")
    assert answer.code == 2
    assert "which checkpoints=last does not keep" in answer.last_line
    answer = seglab_cli("train", *tiny, *wanted, "logger.mode=offline")
    assert answer.code == 0, answer.err
    assert "W&B: not linked to wandb-registry-model/fcn8s" in answer.out
    wandb.teardown()
    with serving() as server:
        online(server.url)
        wanted[:2] = ["logger.registry=fcn8s", "hydra.run.dir=again"]
        answer = seglab_cli("train", *tiny, *wanted)
        assert answer.code == 0, answer.err
        assert "not linked" not in answer.out
        (link,) = server.links
        models = [one for one in server.artifacts if one["artifactTypeName"] == "model"]
        assert (link["entityName"], link["projectName"]) == ("team", "seglab")
        assert link["artifactPortfolioName"] == "fcn8s"
        best = server.artifacts[int(link["artifactID"])]
        assert best in models
        assert "best" in {alias["alias"] for alias in best["aliases"]}


def test_a_fine_tuned_run_names_its_parent(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    assert seglab_cli("train", *tiny, "debug=one_step", "hydra.run.dir=run").code == 0
    first = the_run(tmp_path / "run").run.run_id
    weights = "model.weights=run/checkpoints/last.ckpt"
    assert seglab_cli("train", *tiny, "debug=one_step", weights, "hydra.run.dir=tuned").code == 0
    config = the_run(tmp_path / "tuned").config
    assert (config["parent.checkpoint"], config["parent.run"]) == (
        "run/checkpoints/last.ckpt", first
    )  # fmt: skip
