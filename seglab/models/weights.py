"""Pretrained weights: published ones, or a local file of a backbone, a net, or a checkpoint.

No pickle is loaded, and no tensor is skipped silently: see :class:`LoadReport`.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_weights, get_weight

from seglab.errors import ConfigError, RunError, one_line
from seglab.models.channels import RGB, adapt_channels, first_convolution
from seglab.schema import DEFAULT, TIMM, is_published

PREFIXES = (
    *("", "backbone.", "backbone.body."),
    *("backbone.net.", "backbone.body.net."),
    *("encoder.", "net.encoder.", "encoder.model.", "net.encoder.model."),
)
"""Of a backbone's names in a net: alone or below a feature pyramid; timm's; an encoder of
segmentation_models_pytorch, its own or timm's."""


@dataclass(frozen=True)
class LoadReport:
    """The fate of every tensor of the net and the source.

    Attributes:
        source: the file, or the name of published weights.
        loaded: names in the net that were filled.
        missing: names in the net that are not in the source; they stay as initialised.
        replaced: names in both with different shapes, such as a head for other classes; they stay
            as initialised too.
        unexpected: names that only the source has; they are not used.
        adapted: of ``loaded``, the weights of RGB that were adapted to other channels.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    replaced: tuple[str, ...]
    unexpected: tuple[str, ...]
    adapted: tuple[str, ...] = ()

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.replaced)
        lines = [f"weights {self.source}: {len(self.loaded)} of {total} tensors loaded"]
        for names, text in (
            (self.adapted, "adapted from RGB to the channels of the data, as timm does"),
            (self.replaced, "replaced, of another shape there"),
            (self.missing, "not in the file, so randomly initialised"),
            (self.unexpected, "not used, unknown to this net"),
        ):
            if names:
                lines.append(f"  {text}: {summary(names)}")
        return "\n".join(lines)


def summary(names: tuple[str, ...]) -> str:
    """Return the layers that ``names`` belong to, with the number of tensors of each."""
    layers = Counter(name.rpartition(".")[0] or name for name in names)
    shown = [f"{layer} ({count})" for layer, count in list(layers.items())[:8]]
    return ", ".join(shown + ([f"and {len(layers) - 8} layers more"] if len(layers) > 8 else []))


def load_pretrained(net: nn.Module, node: Mapping[str, Any], weights: str) -> LoadReport:
    """Fill a net from ``model.weights``.

    Args:
        net: filled in place.
        node: ``model.net``, which says what DEFAULT means.
        weights: DEFAULT, a name such as ``ResNet50_Weights.IMAGENET1K_V1`` or
            ``timm/resnet50.a1_in1k``, or a file.

    Raises:
        ConfigError: DEFAULT for a net that has none, or an unknown name.
        RunError: no such file, damaged, holding code, of another net altogether, or no network.
    """
    if (name := _timm_name(node, weights)) is not None:
        return load_matching(net, _timm_state(name, weights), name)
    chosen = _torchvision_weights(node, weights)
    if chosen is None:
        return load_matching(net, read_state(Path(weights)), weights)
    try:
        state = chosen.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except pickle.UnpicklingError:
        raise RunError(
            f"model.weights={weights}: {chosen.url} refused: holds more than tensors and plain "
            "data; give a local file: model.weights=FILE"
        ) from None
    except (OSError, RuntimeError) as error:  # no network, no space, wrong checksum
        raise RunError(
            f"model.weights={weights}: {chosen.url} cannot be downloaded ({error}); "
            "give a local file: model.weights=FILE"
        ) from None
    return load_matching(net, state, str(chosen))


def check_weights(net: nn.Module, node: Mapping[str, Any], weights: str) -> None:
    """Check ``weights`` as :func:`load_pretrained` does, without downloading.

    Raises:
        ConfigError, RunError: as :func:`load_pretrained`.
    """
    if _timm_name(node, weights) is None and _torchvision_weights(node, weights) is None:
        load_matching(net, read_state(Path(weights)), weights)


def _timm_name(node: Mapping[str, Any], weights: str) -> str | None:
    """Return the name of timm's weights without ``timm/``; None if ``weights`` are not timm's.

    Raises:
        ConfigError: timm has none of that name, or is not installed.
    """
    name = str(node.get("backbone")) if weights == DEFAULT else weights
    if not name.startswith(TIMM):
        return None
    if find_spec("timm") is None:
        raise ConfigError(f"model.weights={weights}: needs pip install 'seglab[timm]'")
    import timm

    timm_name = name.removeprefix(TIMM)
    net = timm_name.partition(".")[0]
    names = timm.list_pretrained(f"{net}.*")
    if not names or timm_name not in (net, *names):
        near = ", ".join(TIMM + one for one in names[:4]) or "none of that net"
        raise ConfigError(
            f"model.weights={weights}: timm has no weights {timm_name}; it has {near}"
        )
    return timm_name


def _timm_state(name: str, weights: str) -> dict[str, Tensor]:
    """Return the tensors of the whole net of that name, under timm's names.

    Raises:
        RunError: they cannot be downloaded, or are damaged.
    """
    import timm

    try:
        with torch.random.fork_rng(devices=[]):  # a file of the same weights gives the same run
            state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:  # no network, no space, damaged
        raise RunError(
            f"model.weights={weights}: timm/{name} cannot be downloaded ({one_line(error)}); "
            "give a local file: model.weights=FILE"
        ) from None
    return state


def _torchvision_weights(node: Mapping[str, Any], weights: str) -> WeightsEnum | None:
    """Return torchvision's weights of that name; None if ``weights`` is a file."""
    if weights == DEFAULT:
        name = node.get("backbone") or str(node["_target_"]).rpartition(".")[-1]
        try:
            return get_model_weights(name).DEFAULT
        except ValueError:
            raise ConfigError(
                f"model.weights=DEFAULT: torchvision has no weights for {name}; "
                "must be null or a file"
            ) from None
    if is_published(weights):
        try:
            return get_weight(weights)
        except (ValueError, AttributeError):
            raise ConfigError(f"model.weights={weights}: torchvision has no such weights") from None
    return None


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a state dict or of a checkpoint, refusing anything but plain data.

    Raises:
        RunError: no such file, damaged, holding code, or without tensors.
    """
    if not path.is_file():
        raise RunError(f"model.weights={path}: no such file")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RunError(
            f"model.weights={path}: refused: no weights, or more than tensors and plain data"
        ) from None
    except Exception as error:  # a damaged pickle may raise any of these
        raise RunError(f"model.weights={path}: damaged, or no weights: {one_line(error)}") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        # A Lightning checkpoint, ours included: the net is an attribute of the module.
        items = content["state_dict"].items()
        content = {str(name).removeprefix("net."): value for name, value in items}
    if (problem := state_problem(content)) is not None:
        raise RunError(f"model.weights={path}: holds no state dict: {problem}")
    state: dict[str, Tensor] = content
    return state


@torch.no_grad()
def load_matching(net: nn.Module, state: Mapping[str, Tensor], source: str) -> LoadReport:
    """Copy every tensor that fits into ``net`` and report on all of them.

    Names are those of the net, of its ``backbone``, of its ``backbone.body`` (below a feature
    pyramid), or of timm's ``net`` in one of these: whichever fit most, so that a classification net
    or another task's checkpoint fills a backbone. Fully connected weights fill a convolution of as
    many numbers (VGG's fc6 and fc7).

    Raises:
        RunError: not one tensor fits.
    """
    targets = net.state_dict()

    def ours(name: str, prefix: str) -> str:
        return prefix + name.removeprefix("backbone.").removeprefix("body.") if prefix else name

    def fits(prefix: str) -> int:
        pairs = ((value, targets.get(ours(name, prefix))) for name, value in state.items())
        return sum(_shaped(value, target) is not None for value, target in pairs)

    first = first_convolution(net)
    prefix = max(PREFIXES, key=fits)
    loaded, replaced, unexpected, changed = [], [], [], []
    for name, value in state.items():
        target = targets.get(ours(name, prefix))
        shaped = _shaped(value, target)
        if shaped is None and first is not None and ours(name, prefix) == f"{first[0]}.weight":
            shaped = _shaped(_adapt(value, first[1].in_channels), target)
            changed += [ours(name, prefix)] * (shaped is not None)
        if target is None:
            unexpected.append(name)
        elif shaped is None:
            replaced.append(ours(name, prefix))
        else:
            target.copy_(shaped)
            loaded.append(ours(name, prefix))
    if not loaded:
        theirs, here = next(iter(state)), next(iter(targets))
        raise RunError(
            f"model.weights={source}: of another net: not one tensor fits; it begins with "
            f"{theirs}, the configured net with {here}"
        )
    missing = [name for name in targets if name not in {*loaded, *replaced}]
    names = (loaded, missing, replaced, unexpected, changed)
    return LoadReport(source, *map(tuple, names))


def _adapt(value: Tensor, channels: int) -> Tensor:
    return adapt_channels(value, channels) if value.ndim == 4 and value.shape[1] == RGB else value


def _shaped(value: Tensor, target: Tensor | None) -> Tensor | None:
    if target is None:
        return None
    if value.shape == target.shape:
        return value
    dense = value.ndim == 2 and target.ndim == 4 and value.numel() == target.numel()
    return value.view_as(target) if dense and len(value) == len(target) else None


def state_problem(state: Any) -> str | None:
    """Return why ``state`` is no state dict of plain real tensors; None if it is one."""
    if not isinstance(state, dict) or not state:
        return "it holds no state dict"
    for name, value in state.items():
        if not isinstance(name, str):
            return f"its state dict has the key {name!r}, which is not a string"
        if not isinstance(value, torch.Tensor):
            return f"{name} is of type {type(value).__name__}, not a tensor"
        kinds = {
            "sparse": value.layout != torch.strided,
            "without data": value.is_meta,
            "complex": value.is_complex(),
            "quantized": value.is_quantized,
        }
        if wrong := [kind for kind, holds in kinds.items() if holds]:
            return f"{name} is {wrong[0]}, not a plain tensor of real numbers"
        if value.is_floating_point() and not bool(value.isfinite().all()):
            return f"{name} contains NaN or infinity"
    return None
