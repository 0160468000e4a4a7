"""What a configuration that came with somebody's checkpoint may name. Knows no torch.

A configuration is code: a ``_target_`` names what is imported and called. Without ``trust=true``
only the targets that seglab ships in ``conf/`` are built, and segmentation_models_pytorch's nets,
with arguments that neither read a file nor fetch anything. With or without it, a path in a
checkpoint is only read from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from seglab.errors import ConfigError, RunError

_SMP = (
    *("DPT", "DeepLabV3", "DeepLabV3Plus", "FPN", "Linknet", "MAnet", "PAN", "PSPNet"),
    *("Segformer", "UPerNet", "Unet", "UnetPlusPlus"),
)

TARGETS: Mapping[str, tuple[str, ...]] = {
    "seglab.callbacks.EMA": (),
    "seglab.models.FCN": (),
    "seglab.models.MaskRCNN": (),
    "seglab.models.PaddedCNN": (),
    "lightning.pytorch.callbacks.EarlyStopping": (),
    "torch.optim.AdamW": (),
    "torch.optim.SGD": (),
    "torchvision.models.segmentation.deeplabv3_resnet50": ("weights", "weights_backbone"),
    "torchvision.models.segmentation.fcn_resnet50": ("weights", "weights_backbone"),
    "torchvision.models.segmentation.fcn_resnet101": ("weights", "weights_backbone"),
    "torchvision.models.detection.maskrcnn_resnet50_fpn": ("weights", "weights_backbone"),
    "torchvision.models.detection.maskrcnn_resnet50_fpn_v2": ("weights", "weights_backbone"),
    **{f"segmentation_models_pytorch.{name}": ("encoder_weights",) for name in _SMP},
}
"""What may be built, and which of its arguments must be null: left out, they fetch weights."""

SMP_ARGUMENTS = re.compile(
    r"(encoder|decoder|psp)_\w+|in_channels|classes|activation|upsampling|aux_params"
)
"""Arguments of segmentation_models_pytorch's nets; others go to timm, which can read files."""

WORD = re.compile(r"[\w.+-]*", re.ASCII)
"""What a string among a net's arguments may be: no path, no URL, no ``hf-hub:NAME``."""

MAX_DEPTH = 32
"""Levels of keys within keys; ours have five."""


def received_config(stored: Any, path: Path, trust: bool) -> dict[str, Any]:
    """Return a copy of the configuration that a checkpoint holds, if it may be used.

    It is plain data, and resolved: whoever wrote it is not to read this machine's environment by
    ``${oc.env:…}``. What would be written goes where the command line or the defaults say: the
    store, the built-in data set, and what is logged.

    Args:
        stored: the configuration in the checkpoint.
        path: the checkpoint, for errors.
        trust: whether it may name any target.

    Raises:
        RunError: no configuration, or one that is not plain.
        ConfigError: it names a target, or an argument, that only ``trust=true`` allows.
    """
    try:
        for key, value in _leaves(stored):
            if isinstance(value, str) and "${" in value:
                raise RunError(f"checkpoint={path}: refused: its {key} is to be resolved: {value}")
    except ValueError as error:
        raise RunError(f"checkpoint={path}: refused: its configuration {error}") from None
    config: dict[str, Any] = deepcopy(stored) if isinstance(stored, dict) else {}
    for group in ("trainer", "data"):
        if not isinstance(config.get(group), dict):
            raise RunError(f"checkpoint={path}: its configuration has no {group}")
    for problem in () if trust else _problems(config):
        raise ConfigError(
            f"checkpoint={path}: {problem}; it is built only with trust=true, which lets the "
            "checkpoint run any code"
        )
    _read_only(config)
    return config


def _problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what only a trusted configuration may hold."""
    for key, node in _groups(config):
        if "_target_" not in node:
            continue
        target = node["_target_"]
        if not isinstance(target, str) or target not in TARGETS:
            yield f"{key}._target_={target}: not one of the targets that seglab ships"
            return
        for name in node:
            if name.startswith("_") and name != "_target_":
                yield f"{key}.{name}: a special key"
            if target.startswith("segmentation_models_pytorch.") and not (
                name == "_target_" or SMP_ARGUMENTS.fullmatch(name)
            ):
                yield f"{key}.{name}: an argument that may read files"
        for name in TARGETS[target]:
            if node.get(name, "not null") is not None:
                yield f"{key}.{name}={node.get(name, '(not set)')}: must be null, or it is fetched"
    model = config.get("model")
    net = model.get("net") if isinstance(model, dict) else None
    for key, value in _leaves(net, "model.net"):
        if isinstance(value, str) and not WORD.fullmatch(value):
            yield f"{key}={value}: may be a path or an address"


def _read_only(config: dict[str, Any]) -> None:
    """Take out what says where something is written or logged."""
    config["logger"] = {"name": "csv"}
    data = config["data"]
    if isinstance(data.get("store"), dict):
        data["store"]["dir"] = None
    root = data.get("root")
    if data.get("synth") is not None and isinstance(root, str):
        # The built-in data is made where it is missing: only in this user's cache folder.
        data["root"] = root if _is_there(Path(root)) else None


def _is_there(root: Path) -> bool:
    try:
        return (root / "VOC2007").is_dir()
    except (OSError, ValueError):  # a name too long, or with a null byte
        return False


def _groups(value: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dotted name and the keys of every group."""
    if isinstance(value, dict):
        yield key, value
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in items:
        if isinstance(inner, dict | list):
            part = f"[{name}]" if isinstance(value, list) else f".{name}"
            yield from _groups(inner, f"{key}{part}".lstrip("."))


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
