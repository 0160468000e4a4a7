"""Frozen layers and the optimiser's parameter groups."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from seglab.errors import ConfigError
from seglab.schema import OptimizerConfig

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
NORMS = (
    *BATCH_NORMS,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
)


def freeze(net: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Freeze the named layers of a net and return them.

    Raises:
        ConfigError: it has no layer of that name.
    """
    parts = dict(net.named_modules())
    for name in names:
        if name not in parts or not name:
            close = difflib.get_close_matches(name, parts, n=3)
            outermost = ", ".join(child for child, _ in net.named_children())
            near = f"nearest: {', '.join(close)}" if close else f"its outermost are {outermost}"
            raise ConfigError(f"model.frozen: the net has no layer {name!r}; {near}")
        parts[name].requires_grad_(False)
    return [parts[name] for name in names]


def freeze_norms(net: nn.Module) -> list[nn.Module]:
    """Freeze the batch norms of the backbone, or of the whole net if it has none.

    Returns them: their parameters take no gradient any more, their statistics are the caller's.
    """
    everywhere = not hasattr(net, "backbone")
    norms: list[nn.Module] = [
        module
        for name, module in net.named_modules()
        if isinstance(module, BATCH_NORMS) and (everywhere or in_backbone(name))
    ]
    for norm in norms:
        norm.requires_grad_(False)
    return norms


def in_backbone(name: str) -> bool:
    """Return whether a layer or parameter belongs to the backbone, without its feature pyramid."""
    return name.startswith("backbone.") and not name.startswith("backbone.fpn.")


def parameter_groups(net: nn.Module, config: OptimizerConfig) -> Iterator[dict[str, Any]]:
    """Yield optimiser groups: the backbone apart from the rest, norms and biases apart from both.

    The backbone is the child module of that name, less its ``fpn``; its rate is
    ``backbone_lr_factor`` times lr.
    """
    plain_ids = {
        id(parameter)
        for module in net.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if isinstance(module, NORMS) or name == "bias"
    }
    for part in ("backbone", "head"):
        for plain in (False, True):
            parameters = [
                parameter
                for name, parameter in net.named_parameters()
                if in_backbone(name) == (part == "backbone")
                and (id(parameter) in plain_ids and not config.decay_norms_and_biases) == plain
                and parameter.requires_grad
            ]
            if parameters:
                yield {
                    "name": f"{part}_no_decay" if plain else part,
                    "params": parameters,
                    "lr": config.lr * (config.backbone_lr_factor if part == "backbone" else 1),
                    "weight_decay": 0.0 if plain else config.weight_decay,
                }
