"""What a configuration that came with somebody's checkpoint may build.

A configuration is code: a ``_target_`` names what is imported and called, and Hydra's own policy
only forbids what is known to be bad. Here only what is known to be harmless passes: classes of the
kinds that a net is made of, and a few functions by name. Which packages a name begins with says
nothing: ``torch.hub.load`` runs what it downloads.
"""

from __future__ import annotations

import re
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seglab.errors import ConfigError, RunError

CLASSES = (nn.Module, Optimizer, LRScheduler)
"""Classes that may be built, with their subclasses; a torchmetrics Metric is an nn.Module.

Data sets are not among them: no key takes one, and torchvision's download to wherever they are
told.
"""

FUNCTIONS = frozenset(
    f"torchvision.models.{name}"
    for name in (
        "segmentation.fcn_resnet50",
        "segmentation.fcn_resnet101",
        "segmentation.deeplabv3_resnet50",
        "segmentation.deeplabv3_resnet101",
        "segmentation.deeplabv3_mobilenet_v3_large",
        "segmentation.lraspp_mobilenet_v3_large",
        "detection.maskrcnn_resnet50_fpn",
        "detection.maskrcnn_resnet50_fpn_v2",
    )
)
"""Functions that may be called: torchvision's builders of the nets that seglab trains."""

MAX_DEPTH = 32
"""Levels of keys within keys; ours have five."""


def received_config(stored: Any, path: Path, trust: bool) -> dict[str, Any]:
    """Return the configuration that a checkpoint holds, if it may be used.

    It is plain data, and resolved: whoever wrote it is not to read this machine's environment by
    ``${oc.env:…}``.

    Args:
        stored: what stands in the checkpoint.
        path: the checkpoint, for errors.
        trust: whether it may name any target.

    Raises:
        RunError: no configuration, or one that is not plain.
        ConfigError: it names a target that only ``trust=true`` allows.
    """
    try:
        for key, value in _leaves(stored):
            if isinstance(value, str) and "${" in value:
                raise RunError(f"checkpoint={path}: refused: its {key} is to be resolved: {value}")
            if f".{key}".endswith("._target_") and not trust:
                callback = key.startswith("callbacks.")
                if reason := objection(value, path.parent, callback=callback):
                    raise ConfigError(
                        f"checkpoint={path}: {key}={value}: {reason}; it is built only with "
                        "trust=true, which lets the checkpoint run any code"
                    )
    except ValueError as error:
        raise RunError(f"checkpoint={path}: refused: its configuration {error}") from None
    config: dict[str, Any] = stored if isinstance(stored, dict) else {}
    for group in ("trainer", "logger"):
        if not isinstance(config.get(group), dict):
            raise RunError(f"checkpoint={path}: its configuration has no {group}")
    return config


def objection(target: Any, beside: Path, *, callback: bool = False) -> str:
    """Say why a target is not built for a stranger; nothing if it may be.

    Args:
        target: a dotted name.
        beside: the checkpoint's folder; modules in it or in the current folder are not imported.
        callback: whether a callback is meant, which no command but train builds.
    """
    if not isinstance(target, str) or not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", target):
        return "not the dotted name of a class"
    if target in FUNCTIONS:
        return ""
    try:
        found = _locate(target, beside)
    except ImportError as error:
        return " ".join(str(error).split())
    classes = (*CLASSES, Callback) if callback else CLASSES
    if isinstance(found, type) and issubclass(found, classes):
        return ""
    return "neither a net, a part of one, or an optimiser, nor a function that is known to be safe"


def _locate(target: str, beside: Path) -> Any:
    """Find what a dotted name stands for as Hydra does, importing only what is installed.

    Raises:
        ImportError: there is no such thing, or it lies where anybody may have put it.
    """
    first, *rest = target.split(".")
    if first in sys.stdlib_module_names or any(part.startswith("__") for part in rest):
        raise ImportError("neither a net nor a part of one")
    name, found = first, _import(first, beside)
    for part in rest:
        name = f"{name}.{part}"
        if isinstance(found, ModuleType) and not hasattr(found, part):
            found = _import(name, beside)
        else:
            try:
                found = getattr(found, part)
            except AttributeError as error:
                raise ImportError(str(error)) from None
    return found


def _import(name: str, beside: Path) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    try:
        spec = find_spec(name)
    except (ImportError, ValueError) as error:
        raise ImportError(f"cannot be imported: {error}") from None
    if spec is None:
        raise ImportError(f"there is no module {name}")
    # A part of a package lies where the package does, unless that has no file of its own.
    package = sys.modules.get(name.rpartition(".")[0])
    if getattr(package, "__file__", None) is None and not _installed(spec, beside):
        raise ImportError(f"the module {name} is not installed, but lies in {_place(spec)}")
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # whatever the module's own lines raise
        raise ImportError(f"cannot be imported: {error}") from None


def _installed(spec: ModuleSpec, beside: Path) -> bool:
    """Tell a module that somebody installed from one that came with a download.

    Python looks for modules in the current folder too. A namespace package has no file of its own
    and may be any folder.
    """
    if spec.origin is None or not spec.has_location:
        return spec.origin == "built-in"
    file = Path(spec.origin).resolve()
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    packages |= {*site.getsitepackages(), site.getusersitepackages()}
    if any(file.is_relative_to(Path(folder).resolve()) for folder in packages):
        return True
    return not any(file.is_relative_to(folder.resolve()) for folder in (Path(), beside))


def _place(spec: ModuleSpec) -> str:
    return spec.origin or ", ".join(spec.submodule_search_locations or ())


def _leaves(value: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of plain data.

    Raises:
        ValueError: something else, or nested too deep.
    """
    if depth > MAX_DEPTH:
        raise ValueError("is nested too deep")
    if type(value) not in (dict, list, str, int, float, bool, type(None)):
        raise ValueError(f"holds a {type(value).__name__} in {key or 'place of keys'}")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise ValueError(f"has the key {name!r}, which is no name")
            yield from _leaves(inner, f"{key}.{name}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{place}]", depth + 1)
    else:
        yield key, value
