"""A checkpoint from a stranger, and secrets of one's own: what is refused, and what is not told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from PIL import Image

import seglab
from seglab.errors import ConfigError, RunError
from seglab.run.checkpoints import KEY
from seglab.run.evaluation import read_evaluation

SECRET = "5e9a7e15" * 5
"""Of the form of a W&B key."""


@pytest.fixture
def trained(tiny: list[str], tmp_path: Path) -> Path:
    """Train for one epoch; return the checkpoint."""
    folder = tmp_path / "trained"
    seglab.fit(*tiny, "trainer.max_epochs=1", "logger=csv", f"hydra.run.dir={folder}")
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture
def altered(trained: Path, tmp_path: Path) -> Callable[..., str]:
    """Return a checkpoint with another configuration; ``mark`` is what its payload would make."""

    def make(**nodes: Any) -> str:
        content = torch.load(trained, weights_only=True)
        config = content[KEY]["config"]
        for key, node in nodes.items():
            *groups, last = key.split("__")
            place = config
            for group in groups:
                place = place[group]
            place[last] = node
        torch.save(content, tmp_path / "theirs.ckpt")
        return str(tmp_path / "theirs.ckpt")

    return make


def payloads(mark: Path) -> dict[str, tuple[str, Any]]:
    """Return key and node of configurations that would make a file if they were built."""
    (mark.parent / "hub").mkdir()
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\ndef net(**k): ...\n"
    (mark.parent / "hub" / "hubconf.py").write_text(code)
    hub = {"_target_": "torch.hub.load", "repo_or_dir": str(mark.parent / "hub"), "model": "net"}
    hub |= {"source": "local"}
    system = {"_target_": "os.system", "command": f"touch {mark}"}
    run = {"_target_": "runpy.run_path", "path_name": str(mark.parent / "hub" / "hubconf.py")}
    net = {"_target_": "torch.nn.Sequential"}
    return {
        "as the net": ("model__net", hub),
        "by the shell": ("model__net", system),
        "as a script": ("model__net", run),
        "as a part": ("model__net", {**net, "_args_": [{"_target_": "torch.nn.ReLU"}, hub]}),
        "as a partial": ("model__net", {**net, "_args_": [{**hub, "_partial_": True}]}),
        "as a callback": ("callbacks", {"x": hub}),
        "as the optimiser": ("optimizer__algorithm", hub),
        "in the loss": ("loss", {"_target_": "torch.hub.load", **hub}),
        "in the logger": ("logger", hub),
    }


def test_a_configuration_with_code_in_it_is_refused(
    seglab_cli: Callable[..., Any], altered: Callable[..., str], tmp_path: Path
) -> None:
    mark = tmp_path / "it-ran"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for how, (key, node) in payloads(mark).items():
        path = altered(**{key: node})
        for call in (
            ["evaluate", f"checkpoint={path}", "hydra.run.dir=ev"],
            ["predict", f"checkpoint={path}", "input=a.png", "output=out"],
        ):
            answer = seglab_cli(*call)
            assert answer.code == 2, how
            assert answer.err.count("\n") == 1, answer.err
            for part in (key.replace("__", "."), "_target_=", "trust=true"):
                assert part in answer.last_line, how
        with pytest.raises(ConfigError, match="trust=true"):
            seglab.load(path)
        assert not mark.exists(), how
    assert not (tmp_path / "ev").exists()
    assert not (tmp_path / "out").exists()


def test_the_payload_is_live_and_trust_is_what_holds_it_back(
    seglab_cli: Callable[..., Any], altered: Callable[..., str], tmp_path: Path
) -> None:
    mark = tmp_path / "it-ran"
    key, node = payloads(mark)["as the net"]
    path = altered(**{key: node})
    answer = seglab_cli("evaluate", f"checkpoint={path}", "trust=true", "hydra.run.dir=ev")
    assert answer.code == 2
    assert "not an nn.Module" in answer.last_line
    assert mark.exists()


def test_what_the_user_types_is_the_users_own(
    seglab_cli: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    """An override names a function that no stranger may: it is built, and is no net."""
    net = "model.net={_target_:argparse.Namespace}"
    answer = seglab_cli("evaluate", f"checkpoint={trained}", net, "hydra.run.dir=ev")
    assert answer.code == 2
    assert "model.net._target_=argparse.Namespace: not an nn.Module" in answer.last_line


def test_an_unaltered_checkpoint_needs_no_trust(
    seglab_cli: Callable[..., Any], trained: Path
) -> None:
    assert seglab_cli("evaluate", f"checkpoint={trained}", "hydra.run.dir=ev").code == 0
    assert len(seglab.load(trained).classes) == 7


@pytest.mark.parametrize("trust", ["false", "true"])
def test_a_checkpoint_does_not_say_where_anything_is_written(
    seglab_cli: Callable[..., Any],
    altered: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trust: str,
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    theirs = tmp_path / "theirs"
    path = altered(
        data__root=str(theirs / "data"),
        data__store__dir=str(theirs / "store"),
        logger={"name": "wandb", "mode": "offline", "project": "theirs", "entity": "theirs"},
    )
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    given = [f"checkpoint={path}", f"trust={trust}"]
    assert seglab_cli("evaluate", *given, "hydra.run.dir=ev").code == 0
    assert seglab_cli("predict", *given, "input=a.png", "output=out").code == 0
    seglab.load(path, trust=trust == "true")
    assert not theirs.exists()
    assert [*tmp_path.rglob("wandb")] == []


def test_nothing_beside_the_data_set_is_read_for_a_stranger(
    seglab_cli: Callable[..., Any], altered: Callable[..., str], tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "secret.json").write_text(SECRET)
    (tmp_path / "data").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    data = {"data__layout": "coco", "data__classes": None, "data__year": None, "data__synth": None}
    path = altered(
        **data, data__root=str(tmp_path / "data"), data__annotations="../private/secret.json"
    )
    for call in (
        ["evaluate", f"checkpoint={path}", "hydra.run.dir=ev"],
        ["predict", f"checkpoint={path}", "input=a.png", "output=out"],
    ):
        answer = seglab_cli(*call)
        assert answer.code == 2
        assert "its data.annotations=../private/secret.json is outside" in answer.last_line
        assert "give data.annotations=../private/secret.json too" in answer.last_line
        assert SECRET not in answer.out + answer.err
        named = seglab_cli(*call, "data.annotations=../private/secret.json")
        assert "secret.json: cannot be read as COCO's JSON" in named.last_line
    with pytest.raises(ConfigError, match="is outside"):
        seglab.load(path)


def test_a_regular_expression_of_a_stranger_is_not_matched(
    seglab_cli: Callable[..., Any], altered: Callable[..., str], trained: Path, tmp_path: Path
) -> None:
    """The divided images are those that the lists of the run name."""
    path = Path(altered(data__val_fraction=0.25, data__group="(0|0?)+[^0-9]"))  # matches no id
    answer = seglab_cli("evaluate", f"checkpoint={path}", "hydra.run.dir=ev")
    assert answer.code == 2
    assert "its data.group=(0|0?)+[^0-9] is not evaluated: give data.splits=" in answer.last_line
    shutil.move(path, trained)
    (tmp_path / "trained/splits").mkdir()
    for split, ids in (("train", "000001\n000002\n"), ("val", "000003\n")):
        (tmp_path / f"trained/splits/{split}.txt").write_text(ids)
    answer = seglab_cli("evaluate", f"checkpoint={trained}", "hydra.run.dir=ev")
    assert answer.code == 0, answer.err
    assert read_evaluation(tmp_path / "ev").ids == ["000003"]  # type: ignore[union-attr]
    (tmp_path / "trained/splits/val.txt").unlink()
    (tmp_path / "trained/splits/val.txt").symlink_to("/etc/passwd")
    answer = seglab_cli("evaluate", f"checkpoint={trained}", "hydra.run.dir=ev2")
    assert answer.code == 1
    assert "val.txt: refused: a symbolic link" in answer.last_line
    (tmp_path / "trained/splits").rename(tmp_path / "elsewhere")
    (tmp_path / "trained/splits").symlink_to(tmp_path / "elsewhere")
    answer = seglab_cli("evaluate", f"checkpoint={trained}", "hydra.run.dir=ev3")
    assert answer.code == 1
    assert "splits: refused: a link that leads out of" in answer.last_line


@pytest.mark.parametrize("command", [["data", "check"], ["data", "stats"], ["data", "show"]])
def test_looking_at_data_imports_nothing_that_lies_in_the_current_folder(
    tmp_path: Path, command: list[str]
) -> None:
    """Libraries import others if they are there, such as cv2."""
    for name in ("cv2", "numpy", "pandas", "matplotlib", "sklearn", "torch", "PIL", "conf"):
        text = f"open({str(tmp_path / 'it-ran')!r}, 'w').close()\nraise ImportError"
        (tmp_path / f"{name}.py").write_text(text)
    small = ["data.synth.train=2", "data.synth.val=2", "data.root=made"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "seglab.cli", *command, *small],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (
            {"_target_": "segmentation_models_pytorch.Unet", "classes": 7},
            "model.net.encoder_weights=(not set): must be null",
        ),
        (
            {"_target_": "torchvision.models.segmentation.fcn_resnet50", "weights": None},
            "model.net.weights_backbone=(not set): must be null",
        ),
        (
            {"_target_": "timm.task.distillation.DistillationTeacher", "model_name_or_module": "x"},
            "not one of the targets that seglab ships",
        ),
    ],
)
def test_nothing_is_contacted_for_a_stranger(
    seglab_cli: Callable[..., Any],
    altered: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    net: dict[str, Any],
    told: str,
) -> None:
    import socket

    contacts = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *name, **more: contacts.append(name))
    answer = seglab_cli("evaluate", f"checkpoint={altered(model__net=net)}", "hydra.run.dir=ev")
    assert answer.code == 2
    assert told in answer.last_line
    assert contacts == []


def test_the_environment_is_not_read_for_a_stranger(
    seglab_cli: Callable[..., Any], altered: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", SECRET)
    path = altered(model__name="${oc.env:A_SECRET}")
    answer = seglab_cli("evaluate", f"checkpoint={path}", "trust=true", "hydra.run.dir=ev")
    assert answer.code == 1
    assert "model.name contains an interpolation" in answer.last_line
    assert SECRET not in answer.out + answer.err
    with pytest.raises(RunError, match="contains an interpolation"):
        seglab.load(path, trust=True)


@pytest.fixture
def _own_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name.lower()))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.slow
@pytest.mark.usefixtures("_own_wandb")
def test_a_key_of_wandb_lands_nowhere(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens: logged offline
    tiny = [*tiny, "trainer.max_epochs=1"]
    last = "checkpoint=run/checkpoints/last.ckpt"
    said = ""
    for call in (
        ["train", *tiny, "hydra.run.dir=run"],
        ["train", *tiny, "hydra.run.dir=failed", "model.net.kernel_size=4"],
        ["evaluate", last, "hydra.run.dir=ev"],
        ["train", "-m", *tiny, "sweep.name=study", "logger.mode=offline", "seed=1"],
        ["compare", ".", "--output", "comparison"],
    ):
        answer = seglab_cli(*call)
        assert answer.code == 2 * (call[-1] == "model.net.kernel_size=4"), answer.err
        said += answer.out + answer.err
    wandb.teardown()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files}
    assert {".wandb", ".html", ".csv", ".json", ".yaml", ".ckpt", ".log"} <= kinds, kinds
    assert SECRET not in said
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
