"""A folder of one's own: options, experiments and modules beside the work, and seglab init."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.warm import command

from seglab.config.overrides import home

LOSS = """\
import os
import sys

import torch

assert os.path.samefile(sys.path[-1], {folder!r}), "after all installed packages"


def half(logits, target):
    return torch.nn.functional.cross_entropy(logits, target, ignore_index=255) / 2


def make():
    return half
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """Write a loss and an experiment as a user has them."""
    (tmp_path / "conf/loss").mkdir(parents=True)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "own_half_loss.py").write_text(LOSS.format(folder=str(tmp_path)))
    (tmp_path / "conf/loss/halved.yaml").write_text("_target_: own_half_loss.make\n")
    text = "# @package _global_\ndefaults:\n  - override /loss: halved\nseed: 7\n"
    (tmp_path / "experiments/halved_run.yaml").write_text(text)
    yield tmp_path
    sys.modules.pop("own_half_loss", None)
    sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


def seglab(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the command as a user does: the current folder is not on Python's own path."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "seglab.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def settings(run: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    return config


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_an_experiment_beside_the_work_trains_a_sweep_and_evaluates(
    own: Path, tiny: list[str], processes: int
) -> None:
    two = [
        "experiments=halved_run",
        f"trainer.devices={processes}",
        "trainer.max_epochs=1",
        "data.batch_size=2",
    ]
    sweep = [*tiny, *two, "data.num_workers=1", "optimizer.lr=0.001,0.002", "sweep.name=s"]
    done = command(own, "train", "-m", *sweep)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = sorted(path.parent for path in own.glob("sweeps/s/*/metrics.json"))
    assert [settings(run)["seed"] for run in runs] == [7, 7]
    assert all(settings(run)["loss"] == {"_target_": "own_half_loss.make"} for run in runs)

    checkpoint = f"checkpoint={runs[0]}/checkpoints/last.ckpt"
    refused = command(own, "evaluate", checkpoint, "hydra.run.dir=refused")
    assert refused.returncode == 2
    assert "trust=true" in refused.stderr
    trusted = command(own, "evaluate", checkpoint, "trust=true", "hydra.run.dir=trusted")
    assert trusted.returncode == 0, trusted.stderr
    now, before = (
        json.loads((run / "metrics.json").read_text()) for run in (own / "trusted", runs[0])
    )
    assert now["val/loss"] == before["val/loss"]


def test_the_option_of_the_current_folder_is_the_loss_that_is_trained(
    own: Path, tiny: list[str], seglab_cli: Callable[..., Any]
) -> None:
    losses = {}
    one = [*tiny, "trainer.max_epochs=1", "optimizer.lr=1e-9"]
    for name in ("cross_entropy", "halved"):
        answer = seglab_cli("train", *one, f"loss={name}", f"hydra.run.dir={name}")
        assert answer.code == 0, answer.err
        metrics = json.loads((own / name / "metrics.json").read_text())
        losses[name] = metrics["val/loss"]
    assert losses["halved"] == pytest.approx(losses["cross_entropy"] / 2, rel=1e-3)


def test_options_of_the_current_folder_are_known_to_dry_runs_and_to_nearest_names(
    own: Path, tiny: list[str], seglab_cli: Callable[..., Any]
) -> None:
    dry = seglab_cli("train", *tiny, "experiments=halved_run", "--dry-run")
    assert dry.code == 0, dry.err
    assert "_target_: own_half_loss.make" in dry.out
    for wrong, nearest in (("loss=halve", "halved"), ("experiments=halved", "halved_run")):
        answer = seglab_cli("train", wrong)
        assert answer.code == 2
        assert f"nearest: {nearest}" in answer.last_line
    (own / "own_half_loss.py").write_text("raise ImportError('broken on purpose')")
    sys.modules.pop("own_half_loss", None)
    answer = seglab_cli("train", *tiny, "loss=halved", "--dry-run")
    assert answer.code == 2
    assert (
        "loss._target_=own_half_loss.make: cannot be called: broken on purpose" in answer.last_line
    )


@pytest.mark.parametrize("name", ["conf/loss/cross_entropy.yaml", "experiments/smoke.yaml"])
def test_a_name_that_seglab_has_is_an_error_that_names_both(
    own: Path, tiny: list[str], seglab_cli: Callable[..., Any], name: str
) -> None:
    (own / name).write_text("seed: 3\n")
    commands = [["train", *tiny], ["train", "-m", *tiny, "seed=0,1"], ["data", "check"]]
    for call in commands:
        answer = seglab_cli(*call)
        assert answer.code == 2
        assert f"error: {name}: " in answer.last_line
        assert str(home() / name) in answer.last_line
    assert not (own / "runs").exists()


def test_settings_of_commands_are_never_taken_from_the_current_folder(
    own: Path, tiny: list[str], seglab_cli: Callable[..., Any]
) -> None:
    for name in ("train", "evaluate", "predict", "score", "data"):
        for folder in (own, own / "conf"):
            (folder / f"{name}.yaml").write_text("nonsense: 1\n")
    assert seglab_cli("train", *tiny, "hydra.run.dir=run").code == 0
    checkpoint = "checkpoint=run/checkpoints/last.ckpt"
    assert seglab_cli("evaluate", checkpoint, "hydra.run.dir=evaluated").code == 0
    assert seglab_cli("data", "check").code == 0


def test_an_evaluation_looks_in_the_current_folder_for_groups_of_the_command_line_alone(
    own: Path, tiny: list[str], seglab_cli: Callable[..., Any]
) -> None:
    assert seglab_cli("train", *tiny, "hydra.run.dir=run").code == 0
    (own / "conf/loss/cross_entropy.yaml").write_text("nonsense: 1\n")
    (own / "conf/data").mkdir()
    checkpoint = ["evaluate", "checkpoint=run/checkpoints/last.ckpt"]
    assert seglab_cli(*checkpoint, "hydra.run.dir=one").code == 0
    assert seglab_cli(*checkpoint, "data=synthetic", "hydra.run.dir=two").code == 2
    (own / "conf/loss/cross_entropy.yaml").unlink()
    text = "defaults:\n  - synthetic\nname: other\nsynth:\n  val: 3\n"
    (own / "conf/data/other.yaml").write_text(text)
    answer = seglab_cli(*checkpoint, "data=other", "hydra.run.dir=three")
    assert answer.code == 0, answer.err
    assert settings(own / "three")["data"]["name"] == "other"
    assert settings(own / "three")["data"]["synth"]["val"] == 3


@pytest.mark.slow
def test_an_untrusted_evaluation_does_not_look_for_modules_in_the_current_folder(
    own: Path, tiny: list[str]
) -> None:
    assert seglab(own, "train", *tiny, "hydra.run.dir=run").returncode == 0
    trap = "raise SystemExit('imported from a received folder')\n"
    (own / "segmentation_models_pytorch.py").write_text(trap)
    path = own / "run/checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    content["seglab"]["config"]["model"]["net"] = {
        "_target_": "segmentation_models_pytorch.Unet",
        "encoder_weights": None,
    }
    torch.save(content, path)
    # An environment without the extra: what is installed would come first.
    hide = "import sys; sys.meta_path.insert(0, type('Hidden', (), {'find_spec': staticmethod("
    hide += "lambda name, path, target=None: None if not name.startswith('segmentation_models') "
    hide += "else __import__('importlib.machinery').machinery.PathFinder.find_spec(name, "
    hide += "[p for p in sys.path if 'site-packages' not in p]))})); "
    hide += "import seglab.cli; sys.exit(seglab.cli.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", hide, "evaluate", f"checkpoint={path}", "hydra.run.dir=e"],
        cwd=own,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert "imported from a received folder" not in done.stdout + done.stderr
    assert done.returncode in (1, 2)


@pytest.mark.slow  # three processes of its own
def test_what_init_writes_trains_passes_its_tests_and_its_workflow(
    tmp_path: Path, tiny: list[str]
) -> None:
    made = seglab(tmp_path, "init", "my work")
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "my work"
    assert made.stdout.splitlines()[1:] == [
        "cd 'my work'",
        "seglab train experiments=my_first",
        "python -m pytest",
    ]
    workflow = yaml.safe_load((folder / ".github/workflows/smoke.yml").read_text())
    lines = [step["run"] for step in workflow["jobs"]["smoke"]["steps"] if "run" in step]
    assert lines[0] == "pip install seglab pytest"
    small = [one for one in tiny if "model.net" not in one]
    for line in lines[1:]:
        command = line.split()
        if command[0] == "seglab":
            done = seglab(folder, *command[1:], *small, "hydra.run.dir=runs/first")
        else:
            pytest_line = [sys.executable, *command[1:], "-p", "no:cacheprovider"]
            done = subprocess.run(pytest_line, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    run = settings(folder / "runs/first")
    assert run["model"]["net"]["_target_"] == "my_net.MyNet"
    assert run["loss"] == {"_target_": "my_loss.Focal", "gamma": 2.0}

    before = sorted(folder.rglob("*"))
    again = seglab(tmp_path, "init", "my work")
    assert again.returncode == 2
    assert again.stderr.startswith("seglab: error: my work: exists and is not an empty folder")
    assert sorted(folder.rglob("*")) == before
