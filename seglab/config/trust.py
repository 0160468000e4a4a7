"""Which targets a configuration from an untrusted checkpoint may name. Imports no torch.

A configuration is code: a ``_target_`` names what is imported and called. Without ``trust=true``
only targets that seglab ships in ``conf/`` and nets of segmentation_models_pytorch are built, with
arguments that neither read a file nor download anything. With or without it, paths in a checkpoint
are only read, never written to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from seglab.config.overrides import home
from seglab.config.trusted_data import check_in_root
from seglab.errors import ConfigError, RunError
from seglab.run.untrusted import MAX_DEPTH
from seglab.schema import TIMM

_SMP = tuple(
    f"segmentation_models_pytorch.{name}"
    for name in (
        *("DPT", "DeepLabV3", "DeepLabV3Plus", "FPN", "Linknet", "MAnet", "PAN", "PSPNet"),
        *("Segformer", "UPerNet", "Unet", "UnetPlusPlus"),
    )
)

_TORCHVISION = ("Compose", "RandomHorizontalFlip", "RandomAffine", "ColorJitter")
_ALBUMENTATIONS = ("HorizontalFlip", "Affine", "RandomBrightnessContrast")

TARGETS: Mapping[str, tuple[str, ...]] = {
    "seglab.callbacks.EMA": (),
    "seglab.models.FCN": (),
    "seglab.models.MaskRCNN": (),
    "seglab.models.PadToMultiple": (),
    "seglab.models.PaddedCNN": (),
    "seglab.models.PaddedHead": (),
    "lightning.pytorch.callbacks.EarlyStopping": (),
    "torch.optim.AdamW": (),
    "torch.optim.SGD": (),
    "torch.optim.lr_scheduler.MultiStepLR": (),
    "torchmetrics.classification.MulticlassF1Score": (),
    "lightning.pytorch.loggers.MLFlowLogger": (),
    "lightning.pytorch.loggers.TensorBoardLogger": (),
    "seglab.losses.SegmentationLoss": (),
    "seglab.schedules.warmup_decay": (),
    "segmentation_models_pytorch.losses.DiceLoss": (),
    "torchvision.models.segmentation.deeplabv3_resnet50": ("weights", "weights_backbone"),
    "torchvision.models.segmentation.fcn_resnet50": ("weights", "weights_backbone"),
    "torchvision.models.segmentation.fcn_resnet101": ("weights", "weights_backbone"),
    "torchvision.models.segmentation.lraspp_mobilenet_v3_large": ("weights", "weights_backbone"),
    "torchvision.models.detection.maskrcnn_resnet50_fpn": ("weights", "weights_backbone"),
    "torchvision.models.detection.maskrcnn_resnet50_fpn_v2": ("weights", "weights_backbone"),
    "seglab.transforms.Albumentations": (),
    "seglab.transforms.JointTransform": (),
    "seglab.transforms.void_fill": (),
    **{f"torchvision.transforms.v2.{name}": () for name in _TORCHVISION},
    **{f"albumentations.{name}": () for name in _ALBUMENTATIONS},
    **dict.fromkeys(_SMP, ("encoder_weights",)),
}
"""What may be built, and which of its arguments must be null: left out, they fetch weights."""

SMP_ARGUMENTS = re.compile(
    r"(encoder|decoder|psp)_\w+|in_channels|classes|activation|upsampling|aux_params"
)
"""Arguments of segmentation_models_pytorch's nets; others go to timm, which can read files."""

WORD = re.compile(r"[\w.+-]*", re.ASCII)
"""What a string among a part's arguments may be: no path, no URL, no ``hf-hub:NAME``.

After ``timm/``, which only takes names in timm's registry.
"""

WORDS_ONLY = ("loss", "metrics", "schedule")
"""The groups, beside the net, whose strings must be such words."""

OWN = {
    "data": (("data", "base"), ("store", "num_workers", "splits")),
    "trainer": (("trainer", "default"), ("devices", "num_nodes", "strategy")),
}
"""Keys that no checkpoint sets: they decide what is written and started here, and no number."""

MAX_SYNTHETIC_PIXELS = 2**30
"""Of the built-in data that a checkpoint may ask for: 5,000 pictures of 500 x 400 pixels."""


def received_config(
    stored: Any, path: Path, trust: bool, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a copy of the configuration in a checkpoint, if it may be used.

    It must be plain, resolved data, because ``${oc.env:…}`` would read this machine's environment.
    The paths of the store and the built-in data set, the logger, and the number and start of
    processes come from the command line or the defaults instead. ``trainer.threads`` and
    ``trainer.accelerator`` stay, because the result depends on them.

    Args:
        stored: the configuration in the checkpoint.
        path: the checkpoint, for errors.
        trust: whether it may name any target.
        overrides: from the command line; a path that they name may be anywhere.

    Raises:
        RunError: no configuration, or not plain data.
        ConfigError: it names a target, or an argument, that only ``trust=true`` allows, or a file
            outside ``data.root``.
    """
    try:
        for key, value in _leaves(stored):
            if isinstance(value, str) and "${" in value:
                raise RunError(
                    f"checkpoint={path}: refused: its {key} contains an interpolation: {value}"
                )
    except ValueError as error:
        raise RunError(f"checkpoint={path}: refused: its configuration {error}") from None
    config: dict[str, Any] = deepcopy(stored) if isinstance(stored, dict) else {}
    for group in ("trainer", "data"):
        if not isinstance(config.get(group), dict):
            raise RunError(f"checkpoint={path}: its configuration has no {group}")
    if "threads" not in config["trainer"]:
        raise RunError(f"checkpoint={path}: its configuration has no trainer.threads")
    for problem in () if trust else _problems(config):
        raise ConfigError(
            f"checkpoint={path}: {problem}; it is built only with trust=true, which lets the "
            "checkpoint run any code"
        )
    if not trust:
        check_in_root(config["data"], path, overrides)
    _read_only(config)
    return config


def _problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the entries that only a trusted configuration may contain."""
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
            if target in _SMP and not (name == "_target_" or SMP_ARGUMENTS.fullmatch(name)):
                yield f"{key}.{name}: an argument that may read files"
        if re.fullmatch(r"(loss|schedule|metrics\.[^.]+)[.[].*", key):
            yield f"{key}._target_={target}: a target within another"
        for name in TARGETS[target]:
            if node.get(name, "not null") is not None:
                yield f"{key}.{name}={node.get(name, '(not set)')}: must be null, or it is fetched"
    pixels = _synthetic_pixels(config["data"].get("synth"))
    if pixels > MAX_SYNTHETIC_PIXELS:
        yield f"data.synth: {pixels:,} pixels, of which {MAX_SYNTHETIC_PIXELS:,} are allowed"
    model = config.get("model")
    net = model.get("net") if isinstance(model, dict) else None
    built = {"model.net": net, **{group: config.get(group) for group in WORDS_ONLY}}
    for key, value in (leaf for group, node in built.items() for leaf in _leaves(node, group)):
        if isinstance(value, str) and not WORD.fullmatch(value.removeprefix(TIMM)):
            yield f"{key}={value}: may be a path or an address"


def _read_only(config: dict[str, Any]) -> None:
    """Remove keys that set where something is written or logged, or which processes are started."""
    config["logger"] = {"name": "csv"}
    for group, (file, keys) in OWN.items():
        text = (home() / "conf" / Path(*file)).with_suffix(".yaml").read_text(encoding="utf-8")
        defaults = yaml.safe_load(text)
        config[group].update({key: defaults[key] for key in keys})
    data = config["data"]
    root = data.get("root")
    if data.get("synth") is not None and isinstance(root, str):
        # The built-in data is created if missing: only in the user's cache folder.
        data["root"] = root if _is_there(Path(root)) else None


def _synthetic_pixels(synth: Any) -> int:
    """Return the number of pixels of the configured built-in data; 0 if it is malformed."""
    try:
        train, val, width, height = (int(synth[key]) for key in ("train", "val", "width", "height"))
    except (TypeError, KeyError, ValueError, OverflowError):  # the schema refuses it
        return 0
    return (train + val) * width * height


def _is_there(root: Path) -> bool:
    try:
        return (root / "VOC2007").is_dir()
    except (OSError, ValueError):  # the name is too long or contains a null byte
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
        ValueError: not plain data, or nested too deep.
    """
    if depth > MAX_DEPTH:
        raise ValueError("is nested too deep")
    if type(value) not in (dict, list, str, int, float, bool, type(None)):
        raise ValueError(f"holds a {type(value).__name__} in {key or 'place of keys'}")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise ValueError(f"has the key {name!r}, which is not a string")
            yield from _leaves(inner, f"{key}.{name}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{index}]", depth + 1)
    else:
        yield key, value
