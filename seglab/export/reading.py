"""A model of any kind from its file: a checkpoint, or what ``seglab export`` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seglab.config.trust import received_config
from seglab.errors import ConfigError
from seglab.export.metadata import read_exported
from seglab.run.checkpoints import read_checkpoint, stored_config

ONNX, PROGRAM = ".onnx", ".pt2"

NETS = {
    (ONNX, "semantic"): "seglab.models.exported.OnnxNet",
    (ONNX, "instance"): "seglab.models.exported.OnnxObjects",
    (PROGRAM, "semantic"): "seglab.models.exported.ProgramNet",
}


def is_exported(path: Path) -> bool:
    """Return whether a file is an exported one, by its suffix."""
    return path.suffix in (ONNX, PROGRAM)


def read_model(path: Path) -> dict[str, Any]:
    """Read a checkpoint, or what an exported file has of one: all but the weights.

    Raises:
        ConfigError: the extra ``onnx`` is not installed.
        RunError: no such file, damaged, holding code, or not written by seglab.
    """
    return read_exported(path) if is_exported(path) else read_checkpoint(path)


def received_model(
    path: Path, trust: bool, overrides: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a model file, and return its content and a configuration that may be used.

    The net of an exported file is the file itself. An ONNX file is only computed with; one of
    torch.export is unpickled and evaluated by torch, so it is opened only if trusted.

    Raises:
        ConfigError: it needs ``trust=true``, or the extra ``onnx``.
        RunError: as :func:`read_model`.
    """
    content = read_model(path)
    stored = stored_config(content)
    if not is_exported(path):
        return content, received_config(stored, path, trust, overrides)
    if path.suffix == PROGRAM and not trust:
        raise ConfigError(
            f"checkpoint={path}: torch.export's files can run any code when they are opened "
            "(torch/export/pt2_archive); give trust=true if you know where it comes from, or "
            "export to .onnx"
        )
    model = stored.get("model")
    model = dict(model) if isinstance(model, dict) else {}
    net = model.get("net")
    config = received_config({**stored, "model": {**model, "net": {}}}, path, trust, overrides)
    target = NETS.get((path.suffix, str(model.get("task"))))
    if target is None:
        raise ConfigError(f"checkpoint={path}: its model.task={model.get('task')} is unknown")
    node: dict[str, Any] = {"_target_": target, "path": str(path)}
    limit = net.get("box_detections_per_img") if isinstance(net, dict) else None
    if target.endswith("OnnxObjects") and isinstance(limit, int):
        node["limit"] = limit
    # What the net did with its weights and layers was done before it was written.
    channels = config["data"].get("channels", 3)
    config["model"] |= {
        "net": node,
        "weights": None,
        "frozen": [],
        "frozen_norms": False,
        "mean": [0.0] * channels,
        "std": [1 / 255] * channels,
    }
    return content, config
