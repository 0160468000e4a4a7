"""A soup: the mean of the weights of several checkpoints of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seglab.errors import RunError
from seglab.run.checkpoints import KEY, origin, stored_config
from seglab.run.settings import flatten

MODEL = ("model.net.", "model.task", "model.mean", "model.std", "data.classes", "data.channels")
"""Settings in which the checkpoints must agree: they say what the weights compute."""


def soup(checkpoints: Mapping[Path, dict[str, Any]]) -> dict[str, Any]:
    """Average the weights of checkpoints, as in "uniform soup" of Wortsman et al., ICML 2022.

    The mean is computed in float64. Means and variances of batch norms are averaged as the weights
    are; integers, such as their counts, are the first one's.

    Args:
        checkpoints: what :func:`~seglab.run.checkpoints.read_checkpoint` returns, by path; two at
            least.

    Returns:
        A checkpoint without optimiser, with the configuration of the first. Its own entry names
        all of them as ``soup``, and the digests of the data in which they agree.

    Raises:
        RunError: they are not of one model; names the file and the setting or the tensor.
    """
    (first_path, first), *others = checkpoints.items()
    for path, other in others:
        _check_same(first_path, first, path, other)
    states = [one["state_dict"] for one in checkpoints.values()]
    sources = [origin(content, path) for path, content in checkpoints.items()]
    common = set.intersection(*({*one["data"].items()} for one in sources))
    steps = {one["step"] for one in sources}
    return {
        "state_dict": {name: _mean([one[name] for one in states]) for name in states[0]},
        "global_step": steps.pop() if len(steps) == 1 else None,
        KEY: {
            "config": stored_config(first),
            "data": dict(sorted(common)),
            "soup": [str(path) for path in checkpoints],
        },
    }


def _check_same(
    first_path: Path, first: Mapping[str, Any], path: Path, other: Mapping[str, Any]
) -> None:
    configs = [dict(flatten(one[KEY]["config"])) for one in (first, other)]
    names = [name for config in configs for name in config if name.startswith(MODEL)]
    for name in names:
        values = [config.get(name) for config in configs]
        if values[0] != values[1]:
            raise RunError(
                f"{path}: not of the model of {first_path}: {name} is {values[1]} here and "
                f"{values[0]} there"
            )
    shapes = [{k: tuple(v.shape) for k, v in one["state_dict"].items()} for one in (first, other)]
    for name in sorted({*shapes[0], *shapes[1]}):
        sizes = [one.get(name, "missing") for one in shapes]
        if sizes[0] != sizes[1]:
            raise RunError(
                f"{path}: not of the model of {first_path}: {name} is {sizes[1]} here and "
                f"{sizes[0]} there"
            )


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first
    return torch.stack([one.double() for one in tensors]).mean(0).to(first.dtype)


def trained_norms(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether the net has batch norms whose statistics were computed in training."""
    names = checkpoint["state_dict"]
    model = stored_config(dict(checkpoint)).get("model")
    frozen = isinstance(model, dict) and model.get("frozen_norms")
    return not frozen and any(name.endswith(".running_mean") for name in names)
