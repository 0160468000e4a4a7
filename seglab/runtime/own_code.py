"""The user's own modules behind a configuration, found without importing them. Imports no torch.

A run with a net, loss or transform of the user's depends on its source as it depends on the data.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from seglab.errors import RunError

OWN_CODE = "own_code"
"""The name of the digest of the user's modules among those of a run's files."""

INSTALLED = {"site-packages", "dist-packages"}
"""Folders of installed packages, whose code is not the user's own."""


def own_modules(config: Mapping[str, Any]) -> dict[str, Path]:
    """Return the files of the user's modules that a configuration names by ``_target_``.

    The modules that these import are included, but for installed ones and Python's own. What is
    imported under a name that is computed is not found, nor are files that the code reads.

    Args:
        config: the resolved configuration, as plain data.

    Returns:
        Files by their path relative to where Python finds them, such as ``mine/net.py``, sorted.

    Raises:
        RunError: a file cannot be read.
    """
    found: dict[str, Path] = {}
    waiting = [*_targets(config)]
    seen = set(waiting)
    while waiting:
        for name, file in _modules(waiting.pop()):
            key = str(Path(*name.split(".")[:-1], *_last_parts(name, file)))
            if key in found:
                continue
            found[key] = file
            package = name if file.stem == "__init__" else name.rpartition(".")[0]
            fresh = {*_imports(file, package)} - seen
            seen |= fresh
            waiting += fresh
    return dict(sorted(found.items()))


def own_code_digest(modules: Mapping[str, Path]) -> dict[str, str]:
    """Return the hex SHA-256 of :func:`own_modules`, under its name; empty where there are none.

    Raises:
        RunError: a file cannot be read.
    """
    if not modules:
        return {}
    total = sha256()
    for name, file in modules.items():
        total.update(f"{name}\0{sha256(_read(file)).hexdigest()}\n".encode())
    return {OWN_CODE: total.hexdigest()}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {error.strerror or error}") from None


def _targets(node: Any) -> Iterator[str]:
    """Yield the dotted names that instantiation imports."""
    if isinstance(node, Mapping):
        if isinstance(target := node.get("_target_"), str):
            yield target
            if target.startswith("hydra.utils.get_") and isinstance(node.get("path"), str):
                yield node["path"]
        node = [*node.values()]
    for inner in node if isinstance(node, list | tuple) else ():
        yield from _targets(inner)


def _modules(dotted: str) -> Iterator[tuple[str, Path]]:
    """Yield the user's modules on the way to a dotted name: packages, then the module."""
    top, *parts = dotted.split(".")
    if not top or top == "seglab" or top in sys.stdlib_module_names:
        return
    try:
        name, spec = top, find_spec(top)
    except ValueError:  # __main__, or a module made by hand
        return
    while spec is not None and not _is_installed(spec):
        if spec.origin is not None and Path(spec.origin).is_file():
            yield name, Path(spec.origin)
        if not parts or spec.submodule_search_locations is None:
            return
        name = f"{name}.{parts.pop(0)}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)


def _is_installed(spec: ModuleSpec) -> bool:
    paths = [spec.origin] if spec.origin else [*(spec.submodule_search_locations or ())]
    return any(INSTALLED & {*Path(path).parts} for path in paths)


def _last_parts(name: str, file: Path) -> tuple[str, ...]:
    last = name.rpartition(".")[2]
    return (last, file.name) if file.stem == "__init__" else (f"{last}{file.suffix}",)


def _imports(file: Path, package: str) -> Iterator[str]:
    """Yield the dotted names that a source file imports, within functions too."""
    if file.suffix != ".py":
        return
    try:
        tree = ast.parse(_read(file), str(file))
    except (SyntaxError, ValueError):  # importing it says what is wrong
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                try:
                    base = resolve_name("." * node.level + base, package)
                except ImportError:  # beyond the top-level package
                    continue
            yield from (f"{base}.{alias.name}" for alias in node.names)
