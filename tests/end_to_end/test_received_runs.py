"""seglab compare on run folders of strangers: nothing outside is read, nothing inside runs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from seglab.runtime.spreadsheet import read_table

SECRET = "-----BEGIN OPENSSH PRIVATE KEY-----"

LINKED = [
    "status.json",
    "metrics.json",
    "metrics.csv",
    "evaluation.npz",
    ".hydra/config.yaml",
    ".hydra/overrides.yaml",
    "samples/worst/image001.jpg",
    "samples/worst",
    "samples",
    ".hydra",
]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return a folder beside the runs with a file that nobody else is to see, by every name."""
    folder = tmp_path / "private"
    for name in LINKED[:7]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{SECRET}: {{}}\n")
    return folder


def compared(answer: Any, folder: Path) -> dict[str, Any]:
    """Return the runs of the page by name; the secret is nowhere."""
    assert answer.code == 0, answer.err
    written = [path.read_text(encoding="utf-8") for path in folder.glob("compare.*")]
    assert len(written) == 2
    for text in (answer.out, answer.err, *written):
        assert SECRET not in text
        assert "U1NIIFBSSVZBVEUg" not in text, "nor in base64"
    page = (folder / "compare.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found is not None
    return {run["name"]: run for run in json.loads(found[1])["runs"]}


@pytest.mark.parametrize("name", LINKED)
def test_a_link_in_a_run_is_not_followed(
    seglab_cli: Callable[..., Any],
    made_run: Callable[..., Path],
    secret: Path,
    tmp_path: Path,
    name: str,
) -> None:
    made_run(tmp_path / "runs/good", seed=1)
    path = made_run(tmp_path / "runs/bad") / name
    path.rename(tmp_path / "was")
    path.symlink_to(secret / name)
    runs = compared(seglab_cli("compare", "runs"), tmp_path)
    assert runs["good"]["state"] == "finished"
    assert runs["bad"]["state"] == "unreadable"
    assert f"bad/{name}: " in runs["bad"]["reason"]
    assert "link" in runs["bad"]["reason"]
    assert runs["bad"]["settings"] == runs["bad"]["metrics"] == {}
    assert runs["bad"]["worst"] == runs["bad"]["fixed"] == []


def test_a_run_that_is_a_link_is_listed_and_one_given_by_a_link_is_read(
    seglab_cli: Callable[..., Any], made_run: Callable[..., Path], tmp_path: Path
) -> None:
    made_run(tmp_path / "elsewhere/run")
    made_run(tmp_path / "runs/good", seed=1)
    (tmp_path / "runs/linked").symlink_to(tmp_path / "elsewhere/run")
    runs = compared(seglab_cli("compare", "runs"), tmp_path)
    assert runs["linked"]["state"] == "unreadable"
    assert "a link, which is not followed" in runs["linked"]["reason"]
    (tmp_path / "way").symlink_to(tmp_path / "elsewhere")
    runs = compared(seglab_cli("compare", "runs/good", "way", "way/run"), tmp_path)
    assert [run["state"] for run in runs.values()] == ["finished", "finished"]


def test_links_of_wandb_are_let_be(
    seglab_cli: Callable[..., Any], made_run: Callable[..., Path], secret: Path, tmp_path: Path
) -> None:
    run = made_run(tmp_path / "runs/good")
    (run / "wandb").mkdir()
    (run / "wandb/debug-core.log").symlink_to(secret / "status.json")
    assert compared(seglab_cli("compare", "runs"), tmp_path)["good"]["state"] == "finished"
    (run / "wandb/debug-core.log").unlink()
    (run / "wandb").rmdir()
    (run / "wandb").symlink_to(secret)
    assert compared(seglab_cli("compare", "runs"), tmp_path)["good"]["state"] == "unreadable"


@pytest.mark.parametrize("name", ["metrics.json", ".lock", "samples/worst/image001.jpg"])
def test_a_pipe_does_not_hang_the_comparison(
    seglab_cli: Callable[..., Any], made_run: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    path = made_run(tmp_path / "runs/bad", state="started") / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    runs = compared(seglab_cli("compare", "runs"), tmp_path)
    assert f"bad/{name}: " in runs["bad"]["reason"]
    assert "neither a file nor a folder" in runs["bad"]["reason"]


def test_a_configuration_is_plain_data(
    seglab_cli: Callable[..., Any],
    made_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is resolved or built from it: it is shown as it is written."""
    monkeypatch.setenv("SEGLAB_SECRET", SECRET)
    run = made_run(tmp_path / "runs/run")
    path = run / ".hydra/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["optimizer"] |= {
        "env": "${oc.env:SEGLAB_SECRET}",
        "call": {"_target_": "pathlib.Path.touch", "_args_": [str(tmp_path / "touched")]},
        "other": "${seed}",
    }
    path.write_text(yaml.safe_dump(config))
    (run / ".hydra/overrides.yaml").write_text("- optimizer.env=${oc.env:SEGLAB_SECRET}\n")
    shown = compared(seglab_cli("compare", "runs"), tmp_path)["run"]
    assert shown["settings"]["optimizer.env"] == "${oc.env:SEGLAB_SECRET}"
    assert shown["settings"]["optimizer.call._target_"] == "pathlib.Path.touch"
    assert shown["settings"]["optimizer.other"] == "${seed}"
    assert not (tmp_path / "touched").exists()


def test_no_cell_of_the_spreadsheet_is_a_formula(
    seglab_cli: Callable[..., Any], made_run: Callable[..., Path], tmp_path: Path
) -> None:
    for number, skill in enumerate((0.5, 0.6)):
        made_run(
            tmp_path / f"runs/=run{number}",
            skill=skill,
            settings={"optimizer": {"lr": -0.5 - number, "=key": f"@SUM({number})"}},
            overrides=[f"optimizer.lr={-0.5 - number}"],
        )
    made_run(tmp_path / "runs/-broken", state="failed", error="+1\x1b[2J")
    compared(seglab_cli("compare", "runs"), tmp_path)
    text = (tmp_path / "compare.csv").read_text(encoding="utf-8")
    assert not re.search(r'(^|[,"])[=+@]', text, re.MULTILINE)
    assert ",-1.5," in text, "a number is no formula"
    rows = {row["run"]: row for row in read_table(tmp_path / "compare.csv")}
    assert rows["=run1"]["optimizer.lr"] == "-1.5"
    assert rows["=run1"]["optimizer.=key"] == "@SUM(1)"
    assert rows["-broken"]["reason"] == "+1\x1b[2J"
