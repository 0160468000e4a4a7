"""A result belongs to the user's own code too: another net under the same name is not its seed."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import seglab

NET = """
from torch import nn
from depth import layers

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = layers(num_classes)

    def forward(self, image):
        return self.body(image)
"""
DEPTH = """
from torch import nn

def layers(num_classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.{name}(), nn.Conv2d(8, num_classes, 1))
"""
DARKER = """
class Darker:
    def __call__(self, image, maps):
        return image // 2, maps
"""
OWN = ("model.net._target_=mine.Net", *(f"~model.net.{key}" for key in ("kernel_size", "norm")))
LOST = ("~model.net.dilations", "~model.net.channels")


class Folder:
    """A user's folder, whose modules a new process would import anew."""

    def __init__(self, path: Path, call: Callable[..., Any], tiny: list[str]) -> None:
        self.path, self.call = path, call
        small = [one for one in tiny if not one.startswith("model.net.")]
        self.settings = [*OWN, *LOST, *small]
        (path / "mine.py").write_text(NET)
        self.edit("ReLU")

    def edit(self, name: str) -> None:
        (self.path / "depth.py").write_text(DEPTH.replace("{name}", name))
        self.forget()

    def forget(self) -> None:
        for name in ("mine", "depth", "darker", "kappa"):
            sys.modules.pop(name, None)

    def train(self, *arguments: str) -> Any:
        self.forget()
        return self.call("train", *self.settings, *arguments)

    def codes(self, run: str) -> list[str]:
        return [start["own_code"] for start in self.status(run)["history"]]

    def status(self, run: str) -> dict[str, Any]:
        status: dict[str, Any] = json.loads((self.path / run / "status.json").read_text())
        return status


@pytest.fixture
def folder(
    tmp_path: Path, tiny: list[str], seglab_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Folder]:
    monkeypatch.syspath_prepend(tmp_path)
    mine = Folder(tmp_path, seglab_cli, tiny)
    yield mine
    mine.forget()


def test_a_run_keeps_its_code_and_a_changed_one_is_told(folder: Folder, tmp_path: Path) -> None:
    assert folder.train("hydra.run.dir=run").code == 0
    (first,) = folder.codes("run")
    assert (tmp_path / "run/code" / first / "mine.py").read_text() == NET
    assert "ReLU" in (tmp_path / "run/code" / first / "depth.py").read_text()
    digests = folder.status("run")["data"]
    assert {"own_code/mine.py", "own_code/depth.py"} <= {*digests}
    assert folder.status("run")["environment"]["torch"] == torch.__version__
    same = folder.train("hydra.run.dir=run", "resume=true")
    assert "finished before" in same.out
    assert "own code" not in same.out

    folder.edit("Tanh")
    again = folder.train("hydra.run.dir=run", "resume=true")
    line = "own code has changed (depth.py); "
    assert f"{line}this run was trained with the previous code, and is left alone" in again.out
    assert folder.status("run")["data"] == digests
    dry = folder.call("train", *folder.settings, "hydra.run.dir=run", "resume=true", "--dry-run")
    assert f"# {line}" in dry.out

    evaluate = ["evaluate", "checkpoint=run/checkpoints/last.ckpt", "trust=true"]
    answer = folder.call(*evaluate, "hydra.run.dir=e")
    assert answer.code == 0
    assert f"warning: {line}checkpoint=run/checkpoints/last.ckpt was trained with the" in answer.out
    changed = folder.status("e")
    assert changed["data"]["own_code/mine.py"] == digests["own_code/mine.py"]
    assert changed["data"]["own_code/depth.py"] != digests["own_code/depth.py"]
    folder.forget()
    with pytest.warns(UserWarning, match=r"was trained with the previous code"):
        seglab.load(tmp_path / "run/checkpoints/last.ckpt", trust=True)

    longer = folder.train("hydra.run.dir=run", "resume=true", "trainer.max_epochs=3")
    assert longer.code == 0
    assert f"{line}until here this run was trained with the previous code" in longer.out
    assert folder.codes("run")[0] == first != folder.codes("run")[1]
    copies = [
        (tmp_path / "run/code" / code / "depth.py").read_text() for code in folder.codes("run")
    ]
    assert ["ReLU" in text for text in copies] == [True, False]


def test_parts_that_an_evaluation_does_not_build_or_adds_are_no_change(
    folder: Folder, tmp_path: Path
) -> None:
    (tmp_path / "darker.py").write_text(DARKER)
    (tmp_path / "kappa.py").write_text(
        "from torchmetrics.classification import MulticlassCohenKappa as Kappa\n"
    )
    assert folder.train("hydra.run.dir=run", "transforms._target_=darker.Darker").code == 0
    (tmp_path / "darker.py").write_text(f"{DARKER}# later\n")
    added = [f"+metrics.k.{key}" for key in ("_target_=kappa.Kappa", "num_classes=7")]
    evaluate = ["evaluate", "checkpoint=run/checkpoints/last.ckpt", "trust=true"]
    for name, more in (("e", []), ("added", [*added, "+metrics.k.ignore_index=255"])):
        folder.forget()
        answer = folder.call(*evaluate, *more, f"hydra.run.dir={name}")
        assert answer.code == 0, answer.err
        assert "own code" not in answer.out


def test_a_sweep_trains_a_changed_net_anew_and_compare_does_not_take_both_for_seeds(
    folder: Folder, tmp_path: Path
) -> None:
    sweep = ["-m", "sweep.name=study"]
    assert folder.train(*sweep, "seed=0").code == 0
    assert "own code" not in folder.train(*sweep, "seed=0").out
    folder.edit("Tanh")
    other = folder.train(*sweep, "seed=0,1")
    assert other.code == 0, other.err
    assert "own code has changed (depth.py); run-" in other.out
    assert "was trained with the previous code, and is left alone" in other.out
    runs = sorted(path.parent.name for path in tmp_path.glob("sweeps/study/*/status.json"))
    assert len(runs) == 3
    compared = folder.call("compare", "sweeps/study", "--output", "page")
    assert "own code" in compared.out
    table = (tmp_path / "page/compare.csv").read_text()
    assert "own code" in table.splitlines()[0]
    assert "2 seeds" in compared.out
    assert "3 seeds" not in compared.out
    third = folder.train(*sweep, "seed=0,1")
    assert "2 jobs, 2 finished before" in third.out


def test_jobs_with_other_parts_have_their_own_code(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(NET.replace("from depth", "import math\nfrom depth"))
    settings = [one for one in folder.settings if not one.startswith("model.net._target_")]
    sweep = ["train", "-m", "sweep.name=axis", *settings, "--dry-run"]

    def plan(*axis: str) -> list[str]:
        out = folder.call(*sweep, "model.net._target_=mine.Net,other.Net", *axis).out
        return [line.split("  ")[0] for line in out.splitlines() if line.startswith("would")]

    sweep.remove("--dry-run")
    assert folder.call(*sweep, "model.net._target_=mine.Net,other.Net").code == 0
    sweep.append("--dry-run")
    assert plan() == ["would skip", "would skip"]
    (tmp_path / "other.py").write_text(f"{NET}# edited\n")
    assert plan() == ["would skip", "would start"]


def test_a_run_resumed_with_other_code_is_no_seed_of_others(folder: Folder, tmp_path: Path) -> None:
    from seglab.report.record import read_run

    for seed in (0, 1):
        assert folder.train(f"hydra.run.dir=runs/{seed}", f"seed={seed}").code == 0
    folder.edit("Tanh")
    more = ["resume=true", "trainer.max_epochs=3"]
    for seed in (0, 1):
        assert folder.train(f"hydra.run.dir=runs/{seed}", f"seed={seed}", *more).code == 0
    assert read_run(tmp_path / "runs/0", "0").mixed
    assert "seeds" not in folder.call("compare", "runs").out


def test_a_net_that_is_mended_before_it_has_trained_is_no_mixture(
    folder: Folder, tmp_path: Path
) -> None:
    from seglab.report.record import read_run

    (tmp_path / "depth.py").write_text(DEPTH.replace("{name}", "ReLU").replace("(8, ", "(9, "))
    assert folder.train("hydra.run.dir=run").code == 1
    folder.edit("ReLU")
    assert folder.train("hydra.run.dir=run", "resume=true").code == 0
    assert not read_run(tmp_path / "run", "run").mixed
