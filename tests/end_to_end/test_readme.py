"""What README and the pages of docs/ show is executed."""

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
import torch

from seglab.data.synthetic import SyntheticSpec, write_tree
from seglab.drawing.pictures import save_class_map
from seglab.run.checkpoints import read_checkpoint

REPOSITORY = Path(__file__).parents[2]
OTHERS = {REPOSITORY / "docs/your-parts.md", REPOSITORY / "docs/your-data.md"}
"""Pages that tests of their own execute, since their commands need modules or data sets."""
PAGES = [REPOSITORY / "README.md", *sorted({*REPOSITORY.glob("docs/*.md")} - OTHERS)]
WITH_OPTIONS = ("configuration.md", "data.md", "sweeps.md", "wandb.md")
"""The pages whose tables show overrides of ``seglab train``."""


def text_of(page: Path) -> str:
    """Return a page without the tables that are generated from conf/."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"<!-- tables: begin.*<!-- tables: end", "", text, flags=re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(page), flags=re.DOTALL)


def commands() -> list[str]:
    """Return every ``seglab`` line that is shown, once, in the order of the pages."""
    lines = []
    for page in PAGES:
        shown = [line for block in blocks(page, "sh") for line in block.splitlines()]
        lines += [line for line in shown if line.startswith("seglab ")]
        lines += re.findall(r"^\| `(seglab [^`]+)` \|", text_of(page), flags=re.MULTILINE)
    return list(dict.fromkeys(lines))


def options() -> list[str]:
    """Return every override that is shown in a table; capitals stand for a value of one's own."""
    shown = []
    for page in PAGES:
        if page.name in WITH_OPTIONS:
            rows = "\n".join(line for line in text_of(page).splitlines() if line[:1] == "|")
            shown += [text for text in re.findall(r"`([^`]+)`", rows) if "=" in text]
    return [text for text in dict.fromkeys(shown) if not re.search(r"=(DIR|NAME)|^wandb", text)]


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """Put synthetic data where the pages have real data: VOCdevkit/, DIR/ of three classes."""
    write_tree(tmp_path / "VOCdevkit", SyntheticSpec(train=8, val=4, width=64, height=48))
    import seglab

    (tmp_path / "maps").mkdir()
    shutil.copytree(tmp_path / "VOCdevkit/VOC2007", tmp_path / "DIR")
    for split in ("train", "val"):
        for sample in seglab.VOCSegmentation(tmp_path / "VOCdevkit", 2007, split):
            name, labels = f"{sample.id}.png", sample.class_map.numpy()
            save_class_map(labels % 255, tmp_path / "maps" / name)
            save_class_map(labels % 3, tmp_path / "DIR/SegmentationClass" / name)
    return tmp_path


def test_the_python_examples_run(stand_in: Path) -> None:
    # Those have examples of their own: tests/report/test_formats.py, tests/export.
    others = [page for page in PAGES if page.name not in ("comparing.md", "export.md")]
    (example,) = {block for page in others for block in blocks(page, "python")}
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=stand_in, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("000004 torch.Size([3, ")
    assert any(line.startswith("epoch 3/3") for line in lines)  # what fit shows
    assert 0 <= float(lines[-2]) <= 1
    assert "background" in lines[-1]


def test_the_options_exist(seglab_cli: Callable[..., Any], stand_in: Path) -> None:
    shown = options()
    assert len(shown) >= 35
    for text in shown:
        arguments = shlex.split(text)
        if "backbone" in text:  # a dry run builds the net: layers by name are those of a backbone
            arguments = ["model=fcn8s", "model.net.backbone=mobilenet_v2", *arguments]
        if "class_weights" in text:
            arguments += ["data=folder", "data.root=DIR", "data.classes=[a,b,c,d,e]"]
        if "voc2007" in text and text.startswith("experiments"):
            # Nothing is downloaded here; the weights are tested over the loopback interface.
            arguments += ["-m", "data.root=VOCdevkit", "model.weights=null"]
        answer = seglab_cli("train", *arguments, "--dry-run")
        assert answer.code == 0, f"{text}: {answer.err}"


def test_the_commands_work(seglab_cli: Callable[..., Any], stand_in: Path, tiny: list[str]) -> None:
    shown = commands()
    assert len(shown) >= 20
    small = [override for override in tiny if not override.startswith("data.synth")]
    small += ["trainer.max_epochs=1", "optimizer.lr=1e-3"]
    for number, line in enumerate(shown):
        command, *arguments = shlex.split(line)[1:]
        if "download" in arguments or command == "workspace":
            continue  # tested against a server on the loopback interface
        if "SRC" in arguments:
            continue  # data of one's own: test_import.py
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
        elif command == "soup":
            content = read_checkpoint(stand_in / "run/checkpoints/last.ckpt")
            for path in arguments[:2]:
                torch.save(content, stand_in / path)
                for value in content["state_dict"].values():
                    value.copy_(value * 1.5)
            Path("soup.ckpt").unlink(missing_ok=True)
        elif command == "compare":
            arguments[0] = "."  # the runs are here rather than in runs/
        answer = seglab_cli(command, *arguments)
        assert answer.code == 0, f"{line}: {answer.err}"
