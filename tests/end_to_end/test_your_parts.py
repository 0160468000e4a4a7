"""Parts of the user's own: what docs/your-parts.md shows, on several processes, and untrusted."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.warm import command

PAGE = Path(__file__).parents[2] / "docs/your-parts.md"
TEXT = PAGE.read_text(encoding="utf-8")
SHOWN = [
    line
    for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)
    for line in block.splitlines()
    if not re.search("seglab init|debug=", line)  # test_own_folder.py, test_overfit.py
]
MODULES = dict(re.findall(r'```python title="(.*?)"\n(.*?)```', TEXT, flags=re.DOTALL))


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write the modules that the page shows where Python finds them."""
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


def own(line: str, tiny: list[str]) -> list[str]:
    """Return a shown line with small data, and without the keys of the net that it removes."""
    arguments = shlex.split(line)[1:]
    net = [one for one in tiny if one.startswith("model.net.")]
    return [*arguments, *(one for one in tiny if "mine.Net" not in line or one not in net)]


@pytest.mark.parametrize("line", SHOWN, ids=lambda line: line.removeprefix("seglab train "))
def test_a_command_of_the_page_trains(
    line: str, mine: Path, tiny: list[str], seglab_cli: Callable[..., Any]
) -> None:
    if "smp" in line:
        pytest.importorskip("segmentation_models_pytorch")
    answer = seglab_cli(*own(line, tiny), "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    with (mine / "run/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len([row for row in rows if row["val/mIoU"]]) == 2
    assert all(float(row["train/loss"]) > 0 for row in rows if row["train/loss"])
    metrics = json.loads((mine / "run/metrics.json").read_text())
    for name in re.findall(r"metrics[.=](kappa|f1)\b", line)[:1]:
        assert -1 < metrics[f"val/{name}"] < 1
        assert f"val/{name}" in answer.out
        assert rows[-1][f"val/{name}"]


def test_the_page_shows_every_part_and_its_python_runs(mine: Path) -> None:
    shown = "\n".join(SHOWN)
    for part in ("model.net", "loss", "metrics", "schedule", "logger"):
        assert re.search(rf"\b{part}[.=]", shown), part
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "bare.py"], cwd=mine, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "`max_steps=2` reached" in done.stderr


def test_another_logger_gets_what_metrics_csv_gets(
    tiny: list[str], tmp_path: Path, seglab_cli: Callable[..., Any]
) -> None:
    target = "+logger._target_=lightning.pytorch.loggers.CSVLogger"
    answer = seglab_cli("train", *tiny, target, "logger.name=more", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    tables = []
    for path in ("metrics.csv", "more/version_0/metrics.csv"):
        with (tmp_path / "run" / path).open() as file:
            rows = list(csv.DictReader(file))
        tables.append([row["val/mIoU"] for row in rows if row["val/mIoU"]])
    assert len(tables[0]) == 2
    assert [float(text) for text in tables[1][:2]] == [float(text) for text in tables[0]]
    hyperparameters = (tmp_path / "run/more/version_0/hparams.yaml").read_text()
    assert "optimizer.lr: 0.003" in hyperparameters


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_logger_of_an_extra_logs_or_is_one_line_that_names_the_extra(
    name: str, tiny: list[str], tmp_path: Path, seglab_cli: Callable[..., Any]
) -> None:
    answer = seglab_cli("train", *tiny, f"logger={name}", "hydra.run.dir=run")
    if answer.code == 2:
        assert answer.last_line.endswith(f"needs pip install 'seglab[{name}]'")
        assert answer.last_line.startswith("seglab: error: logger._target_=lightning")
        assert not (tmp_path / "run").exists()
        pytest.skip(f"{name} is not installed")
    assert answer.code == 0, answer.err
    assert (tmp_path / "run/metrics.csv").is_file()
    assert list(tmp_path.rglob("events.out.tfevents.*" if name == "tensorboard" else "mlruns/*"))


@pytest.mark.slow
def test_a_foreign_loss_and_metric_are_equal_to_the_bit_on_one_and_two_processes(
    tiny: list[str], tmp_path: Path, seglab_cli: Callable[..., Any]
) -> None:
    smp = "loss=smp_dice"
    pytest.importorskip("segmentation_models_pytorch")
    parts = [smp, "metrics=f1", "data.synth.val=7"]
    assert seglab_cli("train", *tiny, *parts, "hydra.run.dir=run").code == 0
    evaluate = ["evaluate", "checkpoint=run/checkpoints/last.ckpt", "logger=csv"]
    assert seglab_cli(*evaluate, "hydra.run.dir=one").code == 0
    for batch in (2, 7):  # the second process gets nothing of one batch of 7
        two = [*evaluate, "trainer.devices=2", f"data.eval_batch_size={batch}"]
        done = command(tmp_path, *two, f"hydra.run.dir=two{batch}")
        assert done.returncode == 0, done.stderr
        one, two = ((tmp_path / f / "metrics.json").read_text() for f in ("one", f"two{batch}"))
        assert two == one
    assert {"val/f1", "val/loss"} < {*json.loads(one)}


def test_the_target_of_the_command_line_drops_the_keys_of_an_experiments_part(
    mine: Path, voc_root: Path, seglab_cli: Callable[..., Any]
) -> None:
    del mine
    recipe = ["experiments=padded_cnn_voc2007", f"data.root={voc_root}", "--dry-run"]
    assert seglab_cli("train", *recipe, "loss._target_=mine.Focal").code == 0
    assert seglab_cli("train", *recipe, "loss=smp_dice", "~loss.class_weights").code == 0
