"""Builds what a configuration names by ``_target_``; a wrong argument is the user's, not ours."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_object, instantiate

from seglab.errors import ConfigError


def build(node: dict[str, Any], key: str, *arguments: Any) -> Any:
    """Call ``node["_target_"]`` with the node's other entries; ``key`` names it in errors.

    Raises:
        ConfigError: no such target, an argument that it does not take, or a value it refuses.
    """
    target = node.get("_target_")
    if not isinstance(target, str):
        raise ConfigError(f"{key}._target_ is not set: give the dotted name of a class or function")
    try:
        known = inspect.signature(get_object(target)).parameters
    except (HydraException, ImportError, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{key}._target_={target}: cannot be found: {reason}") from None
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    for name in node:
        if not name.startswith("_") and name not in known and not takes_any:
            close = difflib.get_close_matches(name, known, n=3) or list(known)
            raise ConfigError(
                f"{key}.{name}: {target} has no such argument; it has {', '.join(close)}"
            )
    try:
        return instantiate(node, *arguments, _convert_="all")
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError | TypeError):
            raise ConfigError(f"{key}: {' '.join(str(cause).split())}") from None
        raise
