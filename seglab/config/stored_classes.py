"""Whether data has the classes that a checkpoint was trained on. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from seglab.errors import ConfigError


def check_classes(trained: Sequence[str], now: Sequence[str], given: str) -> None:
    """Check that data has as many classes as a checkpoint, and none at another place.

    Args:
        trained: the classes of the checkpoint, in the order of the values.
        now: those of the data.
        given: the overrides that chose the data.

    Raises:
        ConfigError: it has not; names the classes.
    """
    if len(trained) != len(now):
        raise ConfigError(
            f"{given}: {_count(now)}, but the checkpoint was trained on {_count(trained)}"
        )
    places = {name: number for number, name in enumerate(trained)}
    for number, name in enumerate(now):
        if places.get(name, number) != number:
            raise ConfigError(
                f"{given}: {name} is class {number} there and class {places[name]} of the "
                f"checkpoint; the order must be the checkpoint's: {', '.join(trained)}"
            )


def renamed_classes(trained: Sequence[str], now: Sequence[str]) -> str | None:
    """Return a warning if classes of a checkpoint have other names in the data; else None."""
    # Those of a damaged checkpoint are unknown: then there are none.
    pairs = [f"{old} as {new}" for old, new in zip(trained, now, strict=False) if old != new]
    if not pairs:
        return None
    more = f", and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    return (
        f"the data has other classes than the checkpoint: it measures {', '.join(pairs[:_SHOWN])}"
        f"{more}"
    )


_SHOWN = 4
"""How many classes a line lists."""


def _count(classes: Sequence[str]) -> str:
    more = ", …" if len(classes) > _SHOWN else ""
    return f"{len(classes)} classes ({', '.join(classes[:_SHOWN])}{more})"
