"""A data set of the user's own, as docs/your-data.md shows it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs/your-data.md"
TEXT = PAGE.read_text(encoding="utf-8")
MODULE = re.findall(r'```python title="slides.py"\n(.*?)```', TEXT, flags=re.DOTALL)[0]
GIVEN = ["data=dataset", "data.dataset._target_=slides.Slides", "data.root=slides"]
CLASSES = "data.classes=[background,cell]"


class Folder:
    def __init__(self, path: Path, call: Callable[..., Any], tiny: list[str]) -> None:
        self.path, self.call = path, call
        self.small = [one for one in tiny if not one.startswith("data.")]
        self.small += ["data.crop_size=16", "data.batch_size=4", CLASSES, *GIVEN]
        (path / "slides").mkdir()
        self.write("train", 12)
        self.write("val", 5)
        self.module(MODULE)

    def write(self, split: str, count: int, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, count])
        maps = rng.integers(0, 2, (count, 24, 20), np.uint8)
        images = np.repeat(maps[..., None] * 150, 3, -1) + rng.integers(0, 90, (count, 24, 20, 3))
        np.savez(self.path / f"slides/{split}.npz", images=images.astype(np.uint8), maps=maps)

    def module(self, text: str) -> None:
        (self.path / "slides.py").write_text(text)
        sys.modules.pop("slides", None)

    def run(self, *arguments: str) -> Any:
        sys.modules.pop("slides", None)
        return self.call(*arguments)

    def status(self, run: str) -> dict[str, Any]:
        status: dict[str, Any] = json.loads((self.path / run / "status.json").read_text())
        return status


@pytest.fixture
def folder(
    tmp_path: Path, tiny: list[str], seglab_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Folder]:
    monkeypatch.syspath_prepend(tmp_path)
    yield Folder(tmp_path, seglab_cli, tiny)
    sys.modules.pop("slides", None)


def test_it_is_trained_evaluated_and_checked(folder: Folder, tmp_path: Path) -> None:
    answer = folder.run("train", *folder.small, "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    assert list((tmp_path / "run/predictions").glob("*.png"))
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {"val/IoU/background", "val/IoU/cell"} <= {*metrics}
    (copy,) = (tmp_path / "run/code").glob("*/slides.py")
    assert copy.read_text() == MODULE

    checkpoint = "checkpoint=run/checkpoints/last.ckpt"
    refused = folder.run("evaluate", checkpoint)
    assert refused.code == 2
    assert "data.dataset._target_=slides.Slides: not one of the targets" in refused.last_line
    assert folder.run("evaluate", checkpoint, "trust=true", "hydra.run.dir=e").code == 0
    again = json.loads((tmp_path / "e/metrics.json").read_text())
    assert again["val/mIoU"] == metrics["val/mIoU"]
    assert folder.status("e")["data"]["val"] == folder.status("run")["data"]["val"]

    data = [*GIVEN, CLASSES]
    for command in (["check"], ["stats", "output=stats.html"], ["show", "output=show.png"]):
        done = folder.run("data", *command, *data)
        assert done.code == 0, (command, done.out, done.err)
    assert "data:image/jpeg" in (tmp_path / "stats.html").read_text()


def test_its_identity_is_of_the_samples_and_nothing_else(folder: Folder, tmp_path: Path) -> None:
    assert folder.run("train", *folder.small, "hydra.run.dir=run").code == 0
    first = folder.status("run")["data"]
    more = [*folder.small, "hydra.run.dir=run", "resume=true"]
    (tmp_path / "slides").rename(tmp_path / "moved")
    moved = folder.run("train", *more, "data.root=moved")
    assert "finished before" in moved.out
    (tmp_path / "moved").rename(tmp_path / "slides")
    folder.write("val", 5, seed=1)
    other = folder.run("train", *more)
    assert other.code == 2
    assert "this run is of other data" in other.last_line
    folder.write("val", 5)
    folder.module(MODULE.replace("self.images[index]", "255 - self.images[index]"))
    changed = folder.run("train", *folder.small, "hydra.run.dir=changed")
    assert changed.code == 0, changed.err
    second = folder.status("changed")["data"]
    name = "own_code/slides.py"
    assert (second["train"] != first["train"], second[name] != first[name]) == (True, True)


def test_without_a_store_on_two_processes_and_divided(folder: Folder, tmp_path: Path) -> None:
    runs = {
        "stored": [],
        "read": ["data.store.enabled=false"],
        "workers": ["data.store.enabled=false", "data.num_workers=2"],
    }
    for name, more in runs.items():
        answer = folder.run("train", *folder.small, *more, f"hydra.run.dir={name}")
        assert answer.code == 0, answer.err
    texts = {(tmp_path / name / "metrics.json").read_text() for name in runs}
    assert len(texts) == 1
    divided = ["data.val_fraction=0.25", "hydra.run.dir=divided"]
    answer = folder.run("train", *folder.small, *divided)
    assert answer.code == 0, answer.err
    assert len((tmp_path / "divided/splits/val.txt").read_text().split()) == 3


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("self.ids =", "self.names =", "data.dataset._target_=slides.Slides: has no ids"),
        ("self.paths =", "self.files =", "data.dataset._target_=slides.Slides: has no paths"),
        ("self.images[index]", "self.images[index] / 2", "image is (24, 20, 3) float64"),
        (
            "self.maps[index]",
            "self.images[index]",
            "class map is (24, 20, 3) uint8; must be",
        ),
        ("self.maps[index]", "self.maps[index] + 2", "label 2 at row "),
        ("self.maps[index]", "self.maps[index][1:]", "20x23 pixels, but its image has 20x24"),
        ("self.maps[index]", "self.maps[index] * 0 + 255", "255 is void; data.dataset has to give"),
        ("str(index)", "'same'", "slides.Slides: ids of train have 'trainsame' twice"),
        ("split + str(index)", "index", "ids of train must be texts; 0 is int"),
        ("range(len(self.images))", "()", "ids of train must not be empty"),
        ("[path]", "path", "data.dataset._target_=slides.Slides: paths must be a list"),
        ("self.images[index]", "{}['a']", "'train0' of train: KeyError: 'a' (slides.py, line "),
        ("path = root", "path = {}['a']", "slides.Slides: train: KeyError: 'a' (slides.py, line "),
        (", self.maps[index]", ",", "1 arrays; must be image and class map"),
        ("f'{split}.npz'", "'none.npz'", "none.npz"),
    ],
)
def test_what_is_no_data_set_is_one_line(folder: Folder, old: str, new: str, line: str) -> None:
    text = MODULE.replace('"', "'")
    assert old in text
    folder.module(text.replace(old, new))
    answer = folder.run("train", *folder.small, "hydra.run.dir=run")
    assert answer.code in (1, 2)
    assert line in answer.last_line
    assert "Traceback" not in answer.err


def test_the_commands_of_data_find_the_class_in_the_current_folder(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(folder.path)])
    done = folder.run("data", "check", *GIVEN, CLASSES)
    assert done.code == 0, done.err


def test_classes_and_the_class_have_to_be_given(folder: Folder) -> None:
    without = [one for one in folder.small if one != CLASSES]
    assert "data.classes is not set: give data.classes=" in folder.run("train", *without).last_line
    nameless = [one for one in folder.small if "_target_" not in one]
    answer = folder.run("train", *nameless)
    assert answer.code == 2
    assert "data.dataset._target_ is not set: give data.dataset._target_=" in answer.last_line
    unknown = folder.run("train", *folder.small, "+data.dataset.colour=1")
    assert "data.dataset.colour: slides.Slides has no such argument" in unknown.last_line
