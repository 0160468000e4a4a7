"""Instantiates ``_target_`` nodes; a wrong argument is reported as a configuration error."""

from __future__ import annotations

import inspect
from pkgutil import resolve_name
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate

from seglab.errors import ConfigError, one_line, options

REFUSALS = (ValueError, TypeError, RuntimeError, ImportError, AssertionError, OSError)
"""What a target raises for arguments that it refuses; without a cause, Hydra refused the target."""


EXTRAS = {
    "segmentation_models_pytorch": "smp",
    "TensorBoardLogger": "tensorboard",
    "MLFlowLogger": "mlflow",
}
"""Which extra of seglab a target needs, by a part of its name."""


def build(node: dict[str, Any], key: str, *arguments: Any, **offered: Any) -> Any:
    """Call ``node["_target_"]`` with the node's other entries; ``key`` names it in errors.

    Arguments in ``offered`` are passed if the target accepts them and the node does not set them.

    Raises:
        ConfigError: no such target, a target blocked by Hydra's policy, an unknown argument, or a
            rejected value.
    """
    target = node.get("_target_") if isinstance(node, dict) else None
    if not isinstance(target, str):
        raise ConfigError(f"{key}._target_ is not set: give the dotted name of a class or function")
    try:
        parameters = inspect.signature(resolve_name(target)).parameters
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        _check_extra(target, key, error)
        raise ConfigError(f"{key}._target_={target}: cannot be called: {one_line(error)}") from None
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    wrong = [name for name in node if not name.startswith("_") and name not in parameters]
    if wrong and not takes_any:
        keys = ", ".join(f"{key}.{name}" for name in wrong)
        every = f"available: {', '.join(parameters) or 'none'}"
        near = options(wrong[0], parameters) if len(wrong) == 1 else every
        raise ConfigError(f"{keys}: {target} has no such argument; {near}")
    node = {**{name: offered[name] for name in offered if name in parameters}, **node}
    try:
        return instantiate(node, *arguments, _convert_="all")
    except HydraException as error:
        cause = error.__cause__
        if cause is not None and not isinstance(cause, REFUSALS):
            raise  # a bug in the target, not a wrong argument
        _check_extra(target, key, cause)
        raise ConfigError(f"{key}: {one_line(cause or error)}") from None


def _check_extra(target: str, key: str, error: BaseException | None) -> None:
    name = next((extra for part, extra in EXTRAS.items() if part in target), None)
    if name is not None and isinstance(error, ImportError):
        raise ConfigError(f"{key}._target_={target}: needs pip install 'seglab[{name}]'") from None
