"""The rules of the house, proved from the source: one assembly, no half-built objects."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sources import ROOT, TREES, is_own, last_name, nodes

TORCH_FLAGS = {
    ("seglab/runtime/process.py", "torch.backends.cudnn.deterministic"),
    ("seglab/runtime/process.py", "torch.backends.cudnn.benchmark"),
    ("seglab/runtime/process.py", "torch.utils.deterministic.fill_uninitialized_memory"),
}
"""torch documents these assignments: docs.pytorch.org/docs/stable/notes/randomness.html."""

SAVED_VIEW = {
    ("seglab/loggers/wandb/workspace.py", f"{name}.{attribute}")
    for name, attributes in {
        "view": ("sections", "settings", "runset_settings"),
        "report": ("description", "width", "blocks"),
    }.items()
    for attribute in attributes
}
"""wandb-workspaces documents these assignments, the only way to change what was saved before:
docs.wandb.ai/guides/track/workspaces and docs.wandb.ai/guides/reports/edit-a-report."""

ONNX_OPTIONS = {
    ("seglab/models/exported.py", "options.intra_op_num_threads"),
    ("seglab/models/exported.py", "options.log_severity_level"),
}
"""onnxruntime's options have no other way in: onnxruntime.ai/docs/performance/tune-performance."""

MODULES_OUTSIDE_ROOMS = 11


def calls_of(name: str) -> list[str]:
    """Return where a class, or one derived from it, or a function is called."""
    names = {name}
    for _ in range(3):  # classes may be derived from derived ones
        for _, node in nodes(ast.ClassDef):
            assert isinstance(node, ast.ClassDef)
            if names & {last_name(base) for base in node.bases}:
                names.add(node.name)
    return [
        f"{path}:{node.lineno}"
        for path, node in nodes(ast.Call)
        if isinstance(node, ast.Call) and last_name(node.func) in names
    ]


@pytest.mark.parametrize("name", ["Trainer", "LightningDataModule", "build_task"])
def test_a_run_is_assembled_at_one_place(name: str) -> None:
    places = calls_of(name)
    assert len(places) == 1, places
    assert places[0].startswith("seglab/session/")


def test_a_task_is_made_by_the_factory_alone() -> None:
    assert calls_of("LightningModule") == []  # the factory looks its class up in TASKS
    tables = [
        path
        for path, node in nodes(ast.Call)
        if isinstance(node, ast.Call) and "TASKS" in ast.unparse(node.func)
    ]
    assert tables == ["seglab/tasks/factories.py"]


def test_nothing_is_assigned_to_an_attribute_of_another_object() -> None:
    assigned = {
        (path, ast.unparse(node))
        for path, node in nodes(ast.Attribute)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store | ast.Del)
        and not is_own(node.value)
    }
    assert assigned == TORCH_FLAGS | SAVED_VIEW | ONNX_OPTIONS
    set_by_name = [
        f"{path}:{node.lineno}"
        for path, node in nodes(ast.Call)
        if isinstance(node, ast.Call)
        and last_name(node.func) in ("setattr", "delattr", "__setattr__", "__delattr__")
        and not is_own(node.args[0])
    ]
    assert set_by_name == []


def test_the_dataclasses_of_the_schema_are_frozen() -> None:
    files = [tree for path, tree in TREES.items() if path.startswith("seglab/schema/")]
    classes = [node for tree in files for node in tree.body if isinstance(node, ast.ClassDef)]
    decorators = {
        node.name: [ast.unparse(decorator) for decorator in node.decorator_list]
        for node in classes
        if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    }
    assert len(decorators) >= 15
    for name, given in decorators.items():
        assert any("frozen=True" in decorator for decorator in given), name


def test_few_modules_are_outside_a_room() -> None:
    modules = sorted(path.name for path in ROOT.glob("*.py"))
    assert len(modules) <= MODULES_OUTSIDE_ROOMS, modules


RUN_PATHS, SWEEP_PATHS = "seglab/run/paths.py", "seglab/sweep/jobs.py"

OTHER_LOCKS = {"seglab/data/store/decode.py", "seglab/data/synthetic.py", SWEEP_PATHS}
"""Lock files of their own, whose names end like that of a run."""


def texts(path: str) -> Iterator[tuple[ast.Constant, ast.AST]]:
    """Yield the strings of a module, docstrings aside, each with the node that it is part of."""
    for parent in ast.walk(TREES[path]):
        for node in ast.iter_child_nodes(parent):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and not isinstance(parent, ast.Expr):
                yield node, parent


def file_names(path: str) -> set[str]:
    """Return the parts of the paths that a module's upper-case constants name."""
    values = vars(importlib.import_module(path.removesuffix(".py").replace("/", ".")))
    return {
        part
        for node in TREES[path].body
        if isinstance(node, ast.Assign)
        for name in ast.walk(node.targets[0])
        if isinstance(name, ast.Name) and name.id.isupper()
        if isinstance(values[name.id], str | Path)
        for part in Path(values[name.id]).parts
    }


def named_files(path: str, names: set[str]) -> Iterator[str]:
    """Yield where a module names a file: one with an extension in any text, a folder in a path."""
    for node, parent in texts(path):
        words = {word.strip(".") for word in re.split(r"[^\w.]", node.value)} | {node.value}
        in_path = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Div)
        in_path |= isinstance(parent, ast.Call) and last_name(parent.func) in PATH_CALLS
        for name in names & (words | set(node.value.split("/"))):
            if "." in name or in_path:
                yield f"{path}:{node.lineno}: {name}"


PATH_CALLS = ("Path", "joinpath", "with_name", "glob", "rglob")


def test_a_run_folders_files_are_named_in_the_room_of_the_run_alone() -> None:
    names = file_names(RUN_PATHS)
    assert {"status.json", "checkpoints", "last.ckpt", ".hydra", "predictions", ".lock"} <= names
    assert list(named_files(RUN_PATHS, {"status.json"})), "a literal is noticed"
    places = [
        place
        for path in TREES
        if path != RUN_PATHS
        for place in named_files(path, names - ({".lock"} if path in OTHER_LOCKS else set()))
    ]
    assert places == []


def test_a_sweeps_own_files_are_named_at_one_place() -> None:
    names = file_names(SWEEP_PATHS)
    assert {"sweep.csv", "slurm"} <= names
    others = [path for path in TREES if not path.startswith("seglab/sweep/")]
    places = [place for path in others for place in named_files(path, names - {".lock"})]
    assert places == []
