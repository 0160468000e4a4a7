"""A soup: the mean of the weights of several checkpoints of one model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seglab.errors import RunError
from seglab.run.checkpoints import KEY, SOUP, origin, stored_config
from seglab.run.settings import flatten

MODEL = (
    *("model.net.", "model.task", "model.mean", "model.std"),
    *("data.classes", "data.channels", "data.value_range"),
)
"""Settings in which the checkpoints must agree: they say what the weights compute."""


def soup(checkpoints: Mapping[Path, dict[str, Any]]) -> dict[str, Any]:
    """Average the weights of checkpoints, the "uniform soup" of Wortsman et al., ICML 2022.

    The mean is computed in float64. Means and variances of batch norms are averaged as the weights
    are; integers, such as their counts, are the first one's.

    Args:
        checkpoints: what :func:`~seglab.run.checkpoints.read_checkpoint` returns, by path; two at
            least.

    Returns:
        A checkpoint without optimiser, with the configuration of the first. Its own entry names
        all of them as ``soup``, and the digests of the data in which they agree.

    Raises:
        RunError: two are not of one model, or have the same weights; names the file, and the
            setting or the tensor.
    """
    for (path, content), (other_path, other) in itertools.combinations(checkpoints.items(), 2):
        if (difference := _difference(content, other)) is not None:
            raise RunError(f"{other_path}: not of the model of {path}: {difference}")
        states = content["state_dict"], other["state_dict"]
        if all(torch.equal(value, states[1][name]) for name, value in states[0].items()):
            raise RunError(f"{other_path}: has the same weights as {path}; give one of them")
    first, *others = checkpoints.values()
    sources = [origin(content, path) for path, content in checkpoints.items()]
    common = set.intersection(*({*one["data"].items()} for one in sources))
    step = first.get("global_step")
    return {
        "state_dict": {
            name: _mean([value, *(one["state_dict"][name] for one in others)])
            for name, value in first["state_dict"].items()
        },
        "global_step": step if all(one.get("global_step") == step for one in others) else None,
        KEY: {
            "config": stored_config(first),
            "data": dict(sorted(common)),
            SOUP: [str(path) for path in checkpoints],
        },
    }


def doubts(checkpoints: Mapping[Path, dict[str, Any]]) -> Iterator[str]:
    """Yield why the mean of checkpoints of one model may be a bad one."""
    starts = [dict(_model(one)).get("model.weights") for one in checkpoints.values()]
    if None in starts or any(start != starts[0] for start in starts):
        yield (
            "not all start from the same published weights (model.weights); nets that start apart "
            "have no meaningful mean"
        )
    first, *others = (one["state_dict"] for one in checkpoints.values())
    statistics = [name for name in first if name.endswith((".running_mean", ".running_var"))]
    if any(not torch.equal(first[name], one[name]) for name in statistics for one in others):
        yield (
            "the statistics of batch norms were trained (model.frozen_norms), and their mean may "
            "not fit the mean of the weights"
        )


def _model(checkpoint: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    config = checkpoint[KEY]["config"]
    return (
        (name, value) for name, value in flatten(config) if name.startswith(("model.", "data."))
    )


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Return in what two checkpoints are of different models, or None."""
    configs = [dict(_model(checkpoint)) for checkpoint in (one, other)]
    kinds = [
        {name: f"{tuple(value.shape)} {value.dtype}" for name, value in each["state_dict"].items()}
        for each in (one, other)
    ]
    names = [name for name in {**configs[0], **configs[1]} if name.startswith(MODEL)]
    pairs = [(name, *(repr(each.get(name)) for each in configs)) for name in names]
    tensors = {**kinds[0], **kinds[1]}
    pairs += [(name, *(each.get(name, "missing") for each in kinds)) for name in tensors]
    for name, there, here in pairs:
        if here != there:
            return f"{name} is {here} here and {there} there"
    return None


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first
    return torch.stack([one.double() for one in tensors]).mean(0).to(first.dtype)
