"""``data.ignore_classes`` and ``data.merge_classes``: other classes from the same masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from seglab.data.classes import VOID
from seglab.errors import ConfigError


def merge_classes(
    names: Sequence[str], ignore: Sequence[str] | None, merge: Mapping[str, Sequence[str]] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Return the classes that remain, and the new label of each of ``names``.

    The order stays: a merged class takes the position of its first member. A new name that is
    already a class is one of its own members.

    Args:
        names: the classes in the order of the labels.
        ignore: classes that become void.
        merge: new names, each with its members.

    Raises:
        ConfigError: a name that is not a class or is used twice; fewer than two classes remain.
    """
    becomes: dict[str, str | None] = {}
    groups: list[tuple[str | None, Sequence[str]]] = [(None, ignore or ()), *(merge or {}).items()]
    for new, members in groups:
        key = "data.ignore_classes" if new is None else f"data.merge_classes.{new}"
        own = [new] if new in names and new is not None and new not in members else []
        for name in (*own, *members):
            if name not in names:
                near = get_close_matches(name, names, n=3, cutoff=0.5) or names
                raise ConfigError(
                    f"{key}: {name!r} is not a class; the classes are {', '.join(near)}"
                )
            if name in becomes:
                raise ConfigError(f"{key}: {name!r} is ignored or merged already")
            becomes[name] = new
    remaining = [becomes.get(name, name) for name in names]
    classes = tuple(dict.fromkeys(name for name in remaining if name is not None))
    if len(classes) < 2:
        raise ConfigError(
            f"data.ignore_classes and data.merge_classes leave {len(classes)} of {len(names)} "
            "classes; at least two are needed"
        )
    return classes, [VOID if name is None else classes.index(name) for name in remaining]
