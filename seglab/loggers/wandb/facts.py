"""The name of a W&B run, and its metadata beyond the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from seglab.data.store.digests import Record
from seglab.run import provenance
from seglab.runtime.environment import versions
from seglab.schema import Mark, has_mark

_UNNAMED = ("search", "split", "model", "data", "model.name", "data.name")
"""Keys besides those that the schema marks: they change no result, or the name has them."""

_LONGEST = 128
"""Characters that W&B takes for a name or a group."""


def run_name(model: str, data: str, overrides: Sequence[str]) -> str:
    """Return a readable name: model, data, and relevant overrides by the last part of their key.

    >>> run_name("fcn8s", "voc2007", ["experiments=fcn8s_voc2007", "optimizer.lr=0.1", "seed=1"])
    'fcn8s voc2007 lr=0.1 seed=1'
    >>> run_name("padded_cnn", "synthetic", ["experiments=smoke", "data.root=/far/away"])
    'padded_cnn synthetic smoke'
    """
    parts = [model, data]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        value = value.rsplit("/", 1)[-1].strip("'\"")
        if key in _UNNAMED or key.startswith("hydra") or any(has_mark(key, mark) for mark in Mark):
            continue
        if key == "experiments":
            parts += [value] if value != f"{model}_{data}" else []
        else:
            parts.append(f"{key.rsplit('.', 1)[-1]}={value}")
    name = " ".join(parts)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def recipe(model: str, data: str, overrides: Sequence[str]) -> str:
    """Return the name of a run without its seed: runs of one recipe are repetitions.

    >>> recipe("fcn8s", "voc2007", ["optimizer.lr=0.1", "seed=1"])
    'fcn8s voc2007 lr=0.1'
    """
    return run_name(model, data, [one for one in overrides if not one.startswith("seed=")])


TUNED = ("optimizer.lr", "optimizer.weight_decay", "data.batch_size", "data.crop_size")
"""Settings that every run tells among :func:`tuned`."""


def tuned(settings: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings that are usually tuned, and those that were given, by their last part.

    W&B's parallel coordinates find them: a key with dots in it they take for a nested one.

    Args:
        settings: of the run, under dotted names.
        overrides: of the command line.
    """
    given = [override.lstrip("+~").partition("=")[0] for override in overrides]
    return {
        key.rpartition(".")[2]: settings[key]
        for key in dict.fromkeys([*TUNED, *given])
        if key != "seed" and isinstance(settings.get(key), bool | int | float | str)
        if not any(has_mark(key, mark) for mark in Mark)
    }


def facts(net: nn.Module, device: torch.device, data: Mapping[str, Record]) -> dict[str, Any]:
    """Return metadata for filtering and comparing runs, under flat names.

    Args:
        net: its parameters are counted.
        device: where it runs.
        data: what is known of each split, by name.
    """
    on_gpu = device.type == "cuda"
    return {
        "code": provenance.version(),
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
        "model.parameters": sum(p.numel() for p in net.parameters()),
        "model.trained_parameters": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "versions.wandb": version("wandb"),
        **{f"versions.{name}": number for name, number in versions().items()},
        **{f"data.fingerprint.{name}": split.identity for name, split in data.items()},
    }
