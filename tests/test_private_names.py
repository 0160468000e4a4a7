"""The private names of libraries that seglab uses are few, and each has its reason."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest
from helpers.sources import TREES, is_own, last_name, nodes

USES = 6


class Private(NamedTuple):
    """A private name of a library: where it is used, and which it is."""

    path: str
    name: str


PRIVATE_NAMES = {
    # The step that Lightning logs by, whose public count has moved on by one within training.
    Private("seglab/tasks/base.py", "_batches_that_stepped"): (
        "https://github.com/Lightning-AI/pytorch-lightning/blob/master/"
        "src/lightning/pytorch/loops/training_epoch_loop.py"
    ),
    # torchmetrics sends an empty list state as float32, whatever the others' rows are.
    Private("seglab/metrics/confusion.py", "_sync_dist"): (
        "https://github.com/Lightning-AI/torchmetrics/pull/2468"
    ),
    # Lightning's signal handlers cannot be left out by an argument.
    Private("seglab/session/trainer.py", "_SignalConnector"): (
        "https://github.com/Lightning-AI/pytorch-lightning/blob/master/"
        "src/lightning/pytorch/trainer/connectors/signal_connector.py"
    ),
    Private("seglab/session/trainer.py", "_signal_connector"): (
        "https://github.com/Lightning-AI/pytorch-lightning/blob/master/"
        "src/lightning/pytorch/trainer/trainer.py"
    ),
}
"""Private names of libraries, and where each is defined or discussed."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


OWN = {
    node.attr
    for _, node in nodes(ast.Attribute)
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value)
} | {node.name for _, node in nodes(ast.FunctionDef) if isinstance(node, ast.FunctionDef)}
"""Attributes and methods that classes of seglab define."""


def private_names(tree: ast.Module) -> Iterator[str]:
    """Yield private names that a module takes from a library: imported, read, or by a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if "._" in name.name)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if any(map(is_private, module.split("."))):
                yield module
            yield from (name.name for name in node.names if is_private(name.name))
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            documented = ast.unparse(node) == "os._exit"
            if not documented and not (is_own(node.value) and node.attr in OWN):
                yield node.attr
        elif isinstance(node, ast.Call) and last_name(node.func).endswith(("attr", "attrgetter")):
            texts = [part.value for part in node.args if isinstance(part, ast.Constant)]
            yield from (text for text in texts if isinstance(text, str) and is_private(text))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = node.value.split(".")  # such as torch._dynamo
            named = all(map(str.isidentifier, parts)) and not is_private(parts[0])
            if named and "_target_" not in parts and any(map(is_private, parts)):
                yield node.value


@cache
def attributes_set_in(module: str) -> frozenset[str]:
    """Return the attributes that the classes of a library's module set on themselves."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    return frozenset(
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and is_own(node.value)
    )


def overridden(path: str) -> Iterator[str]:
    """Yield private names of its libraries' classes that a module's own classes define or set."""
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    for node in ast.walk(TREES[path]):
        own = getattr(module, node.name, None) if isinstance(node, ast.ClassDef) else None
        if not isinstance(own, type):
            continue
        bases = [base for base in own.__mro__ if not base.__module__.startswith("seglab")]
        theirs = {name for base in bases for name in vars(base)}
        for base in bases:
            if base.__module__.partition(".")[0] in LIBRARIES:
                theirs |= attributes_set_in(base.__module__)
        for part in ast.walk(node):
            if isinstance(part, ast.FunctionDef):
                name = part.name
            elif isinstance(part, ast.Attribute) and is_own(part.value):
                name = part.attr
            else:
                continue
            if is_private(name) and name in theirs:
                yield name


LIBRARIES = {"torch", "lightning", "torchmetrics", "hydra", "omegaconf", "optuna", "rich"}

SEARCH = ("pruners", "ranges", "storage", "study")
OPTIONAL = {
    *("seglab/sweep/ray.py", "seglab/sweep/slurm.py"),
    *(f"seglab/sweep/search/{name}.py" for name in SEARCH),
}
"""Import an extra, and derive from none of its classes."""


def test_private_names_of_libraries_are_few_and_each_has_its_reason() -> None:
    names = {Private(path, name) for path, tree in TREES.items() for name in private_names(tree)}
    for path in TREES.keys() - OPTIONAL:
        if path.startswith("seglab/") and not path.endswith("__init__.py"):
            names |= {Private(path, name) for name in overridden(path)}
    assert names == PRIVATE_NAMES.keys()
    assert len(names) <= USES
    assert all(link.startswith("https://") for link in PRIVATE_NAMES.values())


@pytest.mark.parametrize(
    "code",
    [
        "import torch._dynamo",
        "from hydra._internal import core",
        "from torch.nn.modules.batchnorm import _NormBase",
        "trainer._results",
        "self._results",
        "getattr(trainer, '_results')",
        "PRELOADED = ['torch._dynamo']",
    ],
)
def test_a_private_name_is_noticed_however_it_is_written(code: str) -> None:
    assert list(private_names(ast.parse(code)))
