"""What the README shows is executed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seglab.data.synthetic import SyntheticSpec, write_tree

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """Put a synthetic data set where the README has the real one."""
    write_tree(tmp_path / "VOCdevkit", SyntheticSpec(train=8, val=4, width=64, height=48))
    return tmp_path


def test_the_python_example_runs(stand_in: Path) -> None:
    (example,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=stand_in, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("000004 torch.Size([3, ")
    assert 0 <= float(lines[1]) <= 1
    assert "background" in lines[2]


def test_the_two_commands_are_make_targets() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for command in blocks("sh")[0].split("\n"):
        if command:
            assert f"\n{command.removeprefix('make ')}: " in makefile


def test_the_nets_of_a_few_lines_are_those_of_conf() -> None:
    *shown, sweep = blocks("yaml")
    assert sweep == (REPOSITORY / "sweep.yaml").read_text(encoding="utf-8")
    assert len(shown) == 2
    for text in shown:
        name = re.search(r"^name: (\w+)$", text, flags=re.MULTILINE)
        assert name is not None
        path = REPOSITORY / "conf" / "model" / f"{name[1]}.yaml"
        assert text == path.read_text(encoding="utf-8")


def test_the_training_options_exist(seglab_cli: Callable[..., Any]) -> None:
    shown = []
    for title in ("Training options", "Weights & Biases"):
        section = README.split(f"## {title}")[1].split("\n## ")[0].split("\n### ")[0]
        rows = "\n".join(line for line in section.splitlines() if line.startswith("|"))
        shown += [text for text in re.findall(r"`([^`]+)`", rows) if "=" in text]
    assert len(shown) >= 20
    for text in shown:
        # A dry run builds the net: layers by name are those of a backbone.
        net = ["model=fcn8s", "model.net.backbone=mobilenet_v2"] if "backbone" in text else []
        answer = seglab_cli("train", *net, *shlex.split(text), "--dry-run")
        assert answer.code == 0, f"{text}: {answer.err}"


def test_the_commands_work(seglab_cli: Callable[..., Any], stand_in: Path, tiny: list[str]) -> None:
    shown = [line for block in blocks("sh") for line in block.splitlines() if line[:6] == "seglab"]
    shown += re.findall(r"^\| `(seglab [^`]+)` \|", README, flags=re.MULTILINE)
    assert len(shown) >= 9
    small = [override for override in tiny if not override.startswith("data.synth")]
    small += ["trainer.max_epochs=1", "optimizer.lr=1e-3"]
    from seglab.drawing.pictures import save_class_map

    (stand_in / "maps").mkdir()
    shutil.copytree(stand_in / "VOCdevkit/VOC2007", stand_in / "DIR")
    import seglab

    for sample in seglab.VOCSegmentation(stand_in / "VOCdevkit", 2007, "val"):
        save_class_map(sample.class_map.numpy() % 255, stand_in / "maps" / f"{sample.id}.png")
    for number, line in enumerate(shown):
        command, *arguments = shlex.split(line)[1:]
        if "download" in arguments:
            continue  # tested against a server on the loopback interface
        if "-m" in arguments:  # a sweep; what it runs are the commands shown beside it
            arguments += ["--dry-run"]
        elif command == "train" and "data=folder" not in arguments:
            folder = "run" if "experiments=smoke" in arguments else f"run{number}"
            pretrained = "experiments=fcn8s_voc2007" in arguments
            # Nothing is downloaded here; the weights are tested over the loopback interface.
            extra = ["model.weights=null"] if pretrained else []
            fits = [one for one in small if not (pretrained and one.startswith("model.net."))]
            arguments += [*fits, *extra, f"hydra.run.dir={folder}"]
        elif command == "train":
            arguments += ["--dry-run"]
        elif command == "compare":
            arguments[0] = "."  # the runs lie here rather than in runs/
        answer = seglab_cli(command, *arguments)
        assert answer.code == 0, f"{line}: {answer.err}"
