"""Files of a run folder that are not what seglab wrote: one line that names the file, no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def trained(own_cache: Path, tiny: list[str]) -> Path:
    """Return a finished run of a tiny net; it is trained once and only read."""
    from seglab.cli import main

    folder = own_cache / "damaged-records" / "run"
    if not folder.is_dir():
        assert main(["train", *tiny, "trainer.max_epochs=1", f"hydra.run.dir={folder}"]) == 0
    return folder


def copy(trained: Path, folder: Path, state: str) -> Path:
    """Copy the run, with another status."""
    for path in trained.rglob("*"):
        if path.is_file():
            (folder / path.relative_to(trained)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(trained)).write_bytes(path.read_bytes())
    entry = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**entry, "status": state}))
    return folder


@pytest.mark.parametrize("depth", [40, 3_000, 200_000])  # PyYAML 6.0.4 refuses 1,000 itself
def test_a_deep_configuration_costs_compare_one_line_and_resume_one_line(
    made_run: Callable[..., Path], tmp_path: Path, depth: int
) -> None:
    bad = made_run(tmp_path / "runs/bad")
    made_run(tmp_path / "runs/good", seed=1)
    (bad / ".hydra/config.yaml").write_text("a: " + "[" * depth + "]" * depth)
    environment = {**os.environ, "COLUMNS": "400"}
    for command, code in (
        (["compare", "runs"], 0),
        (["train", "hydra.run.dir=runs/bad", "resume=true"], 1),
    ):
        # In a process of its own, which used to die.
        done = subprocess.run(
            [sys.executable, "-m", "seglab.cli", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        lines = (done.stdout + done.stderr).splitlines()
        said = [line for line in lines if "bad/.hydra/config.yaml: damaged" in line]
        assert len(said) == 1
        assert "more than 32 levels" in said[0] or "maximum nesting depth" in said[0]
        assert "Traceback" not in done.stderr
    assert "good" in (tmp_path / "compare.csv").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1",
        "a: &x [1]\nb: *x",
        "a: 2001-01-01",
        "a: [\n",
        "- 1",
        "",
        "!!python/object/apply:os.system ['id']",
        "a: " + "x" * 2**21,
        "seed: 0x" + "F" * 5000,
        "seed: 0x" + "F" * 50,
        "seed: " + "1:" * 400_000 + "1",
    ],
)
def test_a_configuration_that_is_no_plain_data_is_refused_by_name(
    seglab_cli: Callable[..., Any], trained: Path, tmp_path: Path, tiny: list[str], text: str
) -> None:
    run = copy(trained, tmp_path / "run", "interrupted")
    (run / ".hydra/config.yaml").write_text(text)
    arguments = [*tiny, "trainer.max_epochs=1", "hydra.run.dir=run", "resume=true"]
    answer = seglab_cli("train", *arguments)
    assert answer.code == 1
    assert "run/.hydra/config.yaml: damaged" in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert seglab_cli("compare", "run").code == 0


@pytest.mark.parametrize(
    ("state", "name", "content"),
    [
        ("finished", "metrics.json", b"[1]"),
        ("finished", "metrics.json", b'{"val/mIoU":'),
        ("finished", "metrics.json", b'{"val/mIoU": "x"}'),
        ("finished", "metrics.json", b'{"val/mIoU": ' + b"9" * 400 + b"}"),
        ("finished", "metrics.json", b"[" * 200_000),
        ("interrupted", "status.json", b'{"status": ' + b"[" * 200_000),
        ("interrupted", "status.json", b"[1]"),
        ("interrupted", "status.json", b"\xff\xfe"),
        ("interrupted", "metrics.csv", b"\xff\xfe,step\n1,2\n"),
        ("interrupted", "metrics.csv", b"a,b\n1,2\n"),
    ],
)
def test_a_damaged_record_is_named_in_one_line_and_nothing_is_written(
    seglab_cli: Callable[..., Any],
    trained: Path,
    tmp_path: Path,
    tiny: list[str],
    state: str,
    name: str,
    content: bytes,
) -> None:
    run = copy(trained, tmp_path / "run", state)
    (run / name).write_bytes(content)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.name != ".lock"
              and path.is_file() and path.name != "report.html"}  # fmt: skip
    arguments = [*tiny, "trainer.max_epochs=1", "hydra.run.dir=run", "resume=true"]
    answer = seglab_cli("train", *arguments)
    assert answer.code == 1, answer.err
    assert f"run/{name}: damaged" in answer.last_line
    assert "Traceback" not in answer.err
    assert before == {path: path.read_bytes() for path in before}
    answer = seglab_cli("compare", "run")
    assert answer.code == 0, answer.err
    assert name in answer.out


def test_a_damaged_result_fails_its_job_of_a_sweep_alone(
    seglab_cli: Callable[..., Any], tmp_path: Path, tiny: list[str]
) -> None:
    sweep = ["-m", *tiny, "trainer.max_epochs=1", "trainer.threads=1", "sweep.name=s", "seed=0,1"]
    assert seglab_cli("train", *sweep).code == 0
    first, _ = sorted((tmp_path / "sweeps/s").glob("seed_*"))
    texts = {name: (first / name).read_text() for name in ("metrics.json", "status.json")}
    for name, text in (("metrics.json", '{"val/mIoU": "x"}'), ("metrics.json", "[" * 200_000)):
        (first / name).write_text(text)
        answer = seglab_cli("train", *sweep)
        assert answer.code == 1, answer.err
        assert "1 of 2 jobs did not finish" in answer.last_line
        assert "Traceback" not in answer.err
        assert f"{first.name}/metrics.json: damaged" in (
            (tmp_path / "sweeps/s/sweep.csv").read_text()
        )
        (first / name).write_text(texts[name])
    entry = json.loads(texts["status.json"])
    for damaged in ({**entry, "ended": "x"}, {k: v for k, v in entry.items() if k != "started"}):
        (first / "status.json").write_text(json.dumps(damaged))
        answer = seglab_cli("train", *sweep)
        assert answer.code == 0, answer.err


@pytest.mark.slow
def test_other_weights_under_the_same_name_are_another_job(
    seglab_cli: Callable[..., Any], trained: Path, tmp_path: Path, tiny: list[str]
) -> None:
    import torch

    weights = tmp_path / "w.ckpt"
    weights.write_bytes((trained / "checkpoints/last.ckpt").read_bytes())
    new = ["trainer.max_epochs=1", "trainer.threads=1", f"model.weights={weights}"]
    sweep = ["-m", *tiny, *new, "sweep.name=s", "seed=0"]
    assert seglab_cli("train", *sweep).code == 0
    assert seglab_cli("train", *tiny, *new, "hydra.run.dir=run").code == 0
    (first,) = (tmp_path / "sweeps/s").glob("run-*/")
    result = (first / "metrics.json").read_text()
    original = weights.read_bytes()

    checkpoint = torch.load(weights, weights_only=True)
    checkpoint["state_dict"] = {
        name: value + 1 if value.is_floating_point() else value
        for name, value in checkpoint["state_dict"].items()
    }
    torch.save(checkpoint, weights)
    answer = seglab_cli("train", *sweep)
    assert answer.code == 0, answer.err
    assert answer.out.count("started from other weights") == 1
    assert f"model.weights={weights} has " in answer.out
    assert (first / "metrics.json").read_text() == result
    (second,) = (tmp_path / "sweeps/s").glob(f"{first.name}-*/")
    assert (second / "metrics.json").read_text() != result
    answer = seglab_cli("train", *tiny, *new, "hydra.run.dir=run", "resume=true")
    assert answer.code == 2
    assert "hydra.run.dir=run: this run is of other weights" in answer.last_line

    weights.write_bytes(original)
    answer = seglab_cli("train", *sweep)
    assert "other weights" not in answer.out
    weights.unlink()
    answer = seglab_cli("train", *tiny, *new, "hydra.run.dir=run", "resume=true")
    assert answer.code == 0, "a finished run needs no weights to start from"


@pytest.mark.parametrize(
    ("then", "now", "code"),
    [("null", "1.0", 0), ("1.0", "null", 0), ("1", "1.0", 2), ("1", "null", 2)],
)
def test_a_limit_of_all_batches_is_no_limit_and_one_batch_is(
    seglab_cli: Callable[..., Any],
    trained: Path,
    tmp_path: Path,
    tiny: list[str],
    then: str,
    now: str,
    code: int,
) -> None:
    run = copy(trained, tmp_path / "run", "finished")
    text = (run / ".hydra/config.yaml").read_text()
    assert "limit_train_batches: null" in text
    (run / ".hydra/config.yaml").write_text(
        text.replace("limit_train_batches: null", f"limit_train_batches: {then}")
    )
    arguments = [*tiny, "trainer.max_epochs=1", "hydra.run.dir=run", "resume=true"]
    answer = seglab_cli("train", *arguments, f"trainer.limit_train_batches={now}")
    assert answer.code == code, answer.err


def test_a_run_from_before_a_key_existed_has_its_default(
    seglab_cli: Callable[..., Any], trained: Path, tmp_path: Path, tiny: list[str]
) -> None:
    run = copy(trained, tmp_path / "run", "finished")
    text = (run / ".hydra/config.yaml").read_text()
    assert "  mask_values: null\n" in text
    (run / ".hydra/config.yaml").write_text(text.replace("  mask_values: null\n", ""))
    arguments = [*tiny, "trainer.max_epochs=1", "hydra.run.dir=run", "resume=true"]
    assert seglab_cli("train", *arguments).code == 0
    answer = seglab_cli("train", *arguments, "data.mask_values={0: background, 9: circle}")
    assert answer.code == 2
    assert "data.mask_values" in answer.last_line
