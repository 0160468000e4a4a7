"""Exports a task: writes the file, runs it, and compares it with the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from seglab.export.checking import check_file
from seglab.export.plain import plain_net
from seglab.export.reading import ONNX, PROGRAM
from seglab.export.writing import onnx_bytes, program_bytes
from seglab.models.exported import ExportedNet, OnnxNet, OnnxObjects, ProgramNet
from seglab.runtime.files import atomic
from seglab.schema import TrainConfig
from seglab.tasks.base import Task
from seglab.tasks.instance import InstanceSegmentation

EXAMPLE = (96, 128)
"""Height and width of the image that is traced."""


def plain_config(config: TrainConfig) -> TrainConfig:
    """Return the configuration of the plain net: no flip, scales and tiles, float32, on the CPU."""
    return replace(
        config,
        evaluation=replace(config.evaluation, flip=False, scales=[1.0], tile=None),
        trainer=replace(
            config.trainer, precision="32-true", accelerator="cpu", devices=1, channels_last=False
        ),
    )


def export(task: Task, output: Path, metadata: Mapping[str, str]) -> int:
    """Write a task's plain net as one file, which appears only if it gives what the task gives.

    Args:
        task: built from :func:`plain_config`, with its weights, on the CPU.
        output: the file, ``.onnx`` or ``.pt2``.
        metadata: texts by name.

    Returns:
        The number of objects compared; 0 for a semantic model.

    Raises:
        ConfigError: the model cannot be written in this format, or the extra is not installed.
        RunError: the file does not run, or its outputs differ.
        OSError: it cannot be written.
    """
    task.eval()
    net = plain_net(task)
    example = torch.zeros((1, task.mean.numel(), *EXAMPLE), dtype=torch.uint8)
    write = onnx_bytes if output.suffix == ONNX else program_bytes
    content = write(net, example, metadata)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic(output, binary=True) as file:
        file.write(content)
        file.flush()
        return check_file(_opened(file.name, output.suffix, task), task)


def _opened(path: str, suffix: str, task: Task) -> ExportedNet:
    if suffix == PROGRAM:
        return ProgramNet(path)
    return OnnxObjects(path) if isinstance(task, InstanceSegmentation) else OnnxNet(path)
