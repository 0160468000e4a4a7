"""The notebook of the docs runs from top to bottom."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import seglab
from seglab.config.compose import compose
from seglab.schema import TrainConfig

NOTEBOOK = Path(__file__).parents[2] / "docs/notebook.ipynb"


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_kept_without_outputs(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


def test_the_names_and_overrides_of_the_notebook_exist(notebook: nbformat.NotebookNode) -> None:
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    nodes = list(ast.walk(ast.parse(code)))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("seglab"):
            module = import_module(str(node.module))
            assert all(hasattr(module, name.name) for name in node.names), node.module
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "seglab" or hasattr(seglab, node.attr), node.attr
    calls = [n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "seglab.fit"]
    assert len(calls) == 3
    (common,) = (
        n.value for n in nodes if isinstance(n, ast.Assign) and ast.unparse(n.targets) == "common"
    )
    for call in calls:
        own = [item for item in call.args if isinstance(item, ast.Constant)]
        overrides = [*ast.literal_eval(common), *(item.value for item in own)]
        compose("train", TrainConfig, overrides)


@pytest.mark.slow
def test_the_notebook_runs(
    notebook: nbformat.NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    here = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=here).execute()
    text = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "FCN-8s: (1, 7, 96, 128)" in text
    assert "val/mask_AP50" in text
