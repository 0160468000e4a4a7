"""The user's own modules behind a configuration, found without importing them. Imports no torch.

A run with a net, loss or transform of the user's depends on its source as it depends on the data.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.machinery import PathFinder
from importlib.util import find_spec, resolve_name
from modulefinder import ModuleFinder
from pathlib import Path
from types import CodeType
from typing import Any

from seglab.errors import RunError

OWN_CODE = "own_code/"
"""The beginning of the names of the user's modules among the digests of a run's files."""

INSTALLED = {"site-packages", "dist-packages"}
"""Folders of installed packages, whose code is not the user's own."""

STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))


def own_modules(config: Mapping[str, Any]) -> dict[str, Path]:
    """Return the files of the user's modules that a configuration names by ``_target_``.

    The modules that these import are included, but for installed ones and Python's own. What is
    imported by a text or after a change of ``sys.path`` is not found, nor are files that are read.

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


def own_code_digests(modules: Mapping[str, Path]) -> dict[str, str]:
    """Return the hex SHA-256 of each file of :func:`own_modules`, as ``own_code/NAME``.

    Raises:
        RunError: a file cannot be read.
    """
    return {f"{OWN_CODE}{name}": sha256(_read(file)).hexdigest() for name, file in modules.items()}


def only_own_code(digests: Any) -> dict[str, str]:
    """Return the entries of the user's modules among recorded digests, which are untrusted."""
    items = digests.items() if isinstance(digests, Mapping) else ()
    return {str(name): str(value) for name, value in items if str(name).startswith(OWN_CODE)}


def short_code(digests: Any) -> str:
    """Return eight hex digits of the modules among a run's digests; empty where there are none."""
    own = sorted(only_own_code(digests).items())
    return sha256(repr(own).encode()).hexdigest()[:8] if own else ""


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
    locations = [*((spec and spec.submodule_search_locations) or ())]
    while spec is not None and not _is_installed(spec.origin, locations):
        if spec.origin is not None and Path(spec.origin).is_file():
            yield name, Path(spec.origin)
        if not parts or not locations:
            return
        part = parts.pop(0)
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(part, locations)  # by its last part: no parent is asked for
        if spec is not None and spec.origin is None:
            # A namespace package asks for its imported parent, and nothing is imported here.
            locations = [str(Path(folder, part)) for folder in locations]
        elif spec is not None:
            locations = [*(spec.submodule_search_locations or ())]


def _is_installed(origin: str | None, locations: Sequence[str]) -> bool:
    paths = [Path(path) for path in ([origin] if origin else locations)]
    return any(INSTALLED & {*path.parts} or STANDARD_LIBRARY in path.parents for path in paths)


def _last_parts(name: str, file: Path) -> tuple[str, ...]:
    last = name.rpartition(".")[2]
    return (last, file.name) if file.stem == "__init__" else (f"{last}{file.suffix}",)


def _imports(file: Path, package: str) -> Iterator[str]:
    """Yield the dotted names that a source file imports, within functions too."""
    if file.suffix != ".py":
        return
    try:
        # No ast.parse: in Python 3.11 its state is shared by threads, and one that runs at the same
        # time makes it fail (https://github.com/python/cpython/issues/106905).
        waiting = [compile(_read(file), str(file), "exec", dont_inherit=True)]
    except (SyntaxError, ValueError, RecursionError):  # importing it says what is wrong
        return
    while waiting:
        code = waiting.pop()
        waiting += [const for const in code.co_consts if isinstance(const, CodeType)]
        for kind, details in ModuleFinder().scan_opcodes(code):
            if kind == "store":
                continue
            *levels, names, base = details
            if levels:
                try:
                    base = resolve_name("." * levels[0] + base, package)
                except ImportError:  # beyond the top-level package
                    continue
            yield from (f"{base}.{name}" for name in names) if names else (base,)
