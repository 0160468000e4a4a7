"""A project's view and report: what is sent to a server, and that W&B's own model takes it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from helpers.wandb_server import Server, serving

PAGE = Path(__file__).parents[2] / "docs/wandb.md"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with two runs, which W&B is given a key for."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home/config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home/netrc"))
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef" * 2 + "01234567")
    wandb.teardown()
    with serving() as started:
        monkeypatch.setenv("WANDB_BASE_URL", started.url)
        for name, lr in (("a", 0.1), ("b", 0.001)):
            config = {"tuned": {"value": {"lr": lr, "weight_decay": 0.0}}}
            started.finished[name] = config, {"predictions/000007": {}, "val/mIoU": {"last": 0.5}}
        yield started
        wandb.teardown()


def sent(server: Server, kind: str) -> dict[str, Any]:
    (view,) = [one for one in server.views.values() if one["type"] == kind]
    return view


def panels_of(spec: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    sections = spec["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections}


def test_a_view_and_a_report_are_written_and_then_updated(
    server: Server, seglab_cli: Callable[..., Any]
) -> None:
    pytest.importorskip("wandb_workspaces")
    from wandb_workspaces.reports.v2.internal import ReportViewspec
    from wandb_workspaces.workspaces.internal import WorkspaceViewspec

    answer = seglab_cli("workspace", "logger.project=p", "logger.entity=team")
    assert answer.code == 0, answer.err
    assert f"{server.url}/team/p?nw=seglab" in answer.out
    assert f"{server.url}/team/p/reports/" in answer.out
    first = {number: (view["name"], view["type"]) for number, view in server.views.items()}
    assert sorted(kind for _, kind in first.values()) == ["project-view", "runs"]

    view = sent(server, "project-view")
    assert (view["displayName"], view["entityName"]) == ("seglab", "team")
    spec = json.loads(view["spec"])
    model = WorkspaceViewspec.model_validate(spec)
    assert json.loads(model.model_dump_json(by_alias=True, exclude_none=True)) == spec
    (runs,) = spec["section"]["runSets"]
    assert runs["grouping"] == [{"section": "config", "name": "recipe.value"}]
    (only,) = runs["filters"]["filters"]
    assert (only["key"]["name"], only["value"]) == ("jobType", "train")
    assert runs["sort"]["keys"][0]["key"] == {"section": "summary", "name": "val/mIoU.last"}
    assert {"config:recipe.value", "config:data.fingerprint.val.value"} <= {
        *runs["runFeed"]["columnPinned"]
    }

    panels = panels_of(spec)
    assert list(panels) == ["Results", "Curves", "Classes", "Masks", "Machine"]
    lines = [
        panel["config"]
        for section in panels.values()
        for panel in section
        if panel["viewType"] == "Run History Line Plot"
    ]
    assert len(lines) == 7
    for line in lines:  # seeds are a band around their mean
        assert line["xAxis"] == "step"
        bands = line["groupBy"], line["groupAgg"], line["groupArea"]
        assert bands == ("recipe.value", "mean", "minmax")
    assert {line.get("metricRegex") for line in lines} >= {"lr/.*", "val/IoU/.*"}
    (parallel,) = [one for one in panels["Results"] if one["viewType"].startswith("Parallel")]
    columns = {one["accessor"]: one.get("log") for one in parallel["config"]["columns"]}
    assert columns == {"config:tuned.value.lr": True, "summary:best/val/mIoU": None}
    (masks,) = [one for one in panels["Masks"] if one["viewType"] == "Media Browser"]
    assert masks["config"]["mediaKeys"] == ["predictions/000007"]

    report = sent(server, "runs")
    assert report["displayName"] == "seglab p"
    kinds = {**report, "user": None}
    blocks = ReportViewspec.model_validate(kinds).spec.blocks
    assert sum(type(block).__name__ == "PanelGrid" for block in blocks) == len(panels)

    server.finished["c"] = {"tuned": {"value": {"lr": 0.1, "weight_decay": 0.1}}}, {}
    answer = seglab_cli("workspace", "logger.project=p")
    assert answer.code == 0, answer.err
    again = {number: (view["name"], view["type"]) for number, view in server.views.items()}
    assert again.keys() == first.keys(), "updated, not duplicated"
    spec = json.loads(sent(server, "project-view")["spec"])
    (parallel,) = [
        one for one in panels_of(spec)["Results"] if one["viewType"].startswith("Parallel")
    ]
    assert len(parallel["config"]["columns"]) == 3, "weight_decay now differs"


def test_the_docs_show_each_panel(server: Server, seglab_cli: Callable[..., Any]) -> None:
    pytest.importorskip("wandb_workspaces")
    assert seglab_cli("workspace", "logger.project=p").code == 0
    text = PAGE.read_text(encoding="utf-8")
    for name, panels in panels_of(json.loads(sent(server, "project-view")["spec"])).items():
        row = next(line for line in text.splitlines() if line.startswith(f"| *{name}* |"))
        for panel in panels:
            config = panel["config"]
            titles = [config.get("chartTitle"), config.get("customChartTitle")]
            for title in filter(None, titles):
                assert title in row, (name, title)


def test_a_server_that_refuses_is_one_line(server: Server, seglab_cli: Callable[..., Any]) -> None:
    pytest.importorskip("wandb_workspaces")
    server.behaviour = "forbids"
    answer = seglab_cli("workspace", "logger.project=p", "logger.entity=team")
    assert answer.code == 1
    assert answer.last_line.startswith("seglab: error: logger.project=p: ")


def test_what_is_missing_is_named(
    seglab_cli: Callable[..., Any], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = seglab_cli("workspace", "logger.mode=offline")
    assert (answer.code, "leave logger.mode out" in answer.last_line) == (2, True)
    for name in [one for one in sys.modules if one.startswith("seglab.loggers.wandb.workspace")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("wandb_workspaces", "wandb_workspaces.reports.v2"):
        monkeypatch.setitem(sys.modules, name, None)
    answer = seglab_cli("workspace", "logger.project=p")
    assert answer.code == 2
    assert answer.last_line.endswith("pip install 'seglab[workspace]'")
