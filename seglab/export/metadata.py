"""The metadata of an exported file: texts for any reader, and what seglab needs to run it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from seglab.errors import RunError, one_line
from seglab.metrics.counts import jackknife_interval
from seglab.models.backbones import mean_and_std
from seglab.models.exported import read_onnx
from seglab.run.checkpoints import DIGEST, KEY
from seglab.run.evaluation import read_evaluation
from seglab.run.folder import read_metrics
from seglab.run.paths import LAST
from seglab.run.provenance import version
from seglab.run.untrusted import MAX_BYTES, parse_json
from seglab.runtime.files import nan_to_null
from seglab.schema import TrainConfig, is_published

EXTRA = "extra/"
"""Where torch.export keeps further files in its archive."""


def metadata(
    config: TrainConfig, source: Mapping[str, Any], metrics: Mapping[str, float]
) -> dict[str, str]:
    """Return the metadata, JSON by name: what any program may use, and :data:`KEY` for seglab.

    Args:
        config: of the exported model.
        source: of its checkpoint, from :func:`seglab.run.checkpoints.origin`.
        metrics: measured on the checkpoint; empty if unknown.
    """
    mean, std = mean_and_std(config.model)
    own = {"version": version(), "config": asdict(published(config)), "checkpoint": source}
    values = {
        "classes": config.data.classes,
        "mean": list(mean),
        "std": list(std),
        "metrics": metrics,
        KEY: own,
    }
    return {name: json.dumps(nan_to_null(value)) for name, value in values.items()}


def published(config: TrainConfig) -> TrainConfig:
    """Return a configuration without the paths of this machine, which nobody else can use.

    Files are named without their folder; whoever evaluates the model gives ``data.root``.
    """
    weights, data = config.model.weights, config.data
    if weights is not None and not is_published(weights):
        weights = Path(weights).name
    return replace(
        config,
        model=replace(config.model, weights=weights),
        data=replace(
            data,
            root=None if data.root is None else Path(data.root).resolve().name,
            splits=None,
            store=replace(data.store, dir=None),
        ),
    )


def measured(checkpoint: Path) -> dict[str, float]:
    """Return the metrics of a run's ``last.ckpt``, with an interval of mIoU over the images.

    Empty where the run folder is not there, or for another checkpoint, which was not measured.

    Raises:
        RunError: they are damaged.
    """
    folder = checkpoint.parent.parent
    metrics = read_metrics(folder) if checkpoint.name == LAST and folder.is_dir() else {}
    kept = read_evaluation(folder) if metrics else None
    if kept is not None:
        low, high = jackknife_interval(kept.counts)
        metrics |= {"val/mIoU_low": low, "val/mIoU_high": high}
    return metrics


def read_exported(path: Path) -> dict[str, Any]:
    """Read what an exported file says of itself, in the form of a checkpoint without weights.

    Raises:
        ConfigError: the extra ``onnx`` is not installed.
        RunError: no such file, damaged, refused, or not written by seglab.
    """
    if not path.is_file():
        raise RunError(f"checkpoint={path}: no such file")
    text = _onnx_text(path) if path.suffix == ".onnx" else _program_text(path)
    if text is None:
        raise RunError(f"checkpoint={path}: not written by seglab export: it has no metadata of it")
    own = parse_json(text, path)
    source = own.get("checkpoint")
    if not isinstance(own.get("config"), dict) or not isinstance(source, dict):
        raise RunError(f"checkpoint={path}: damaged: its metadata has no configuration")
    data, step = source.get("data"), source.get("step")
    digests = data.items() if isinstance(data, dict) else ()
    return {
        KEY: {
            "config": own["config"],
            "data": {name: value for name, value in digests if DIGEST.fullmatch(str(value))},
        },
        "global_step": step if isinstance(step, int) else None,
    }


def _onnx_text(path: Path) -> bytes | None:
    properties = read_onnx(path).metadata_props
    return next((entry.value.encode() for entry in properties if entry.key == KEY), None)


def _program_text(path: Path) -> bytes | None:
    """Return the metadata in an archive of torch.export, of which nothing else is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(EXTRA + KEY):
                    with archive.open(name) as file:
                        return file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise RunError(
            f"checkpoint={path}: damaged, or no model of torch.export: {one_line(error)}"
        ) from None
    return None
