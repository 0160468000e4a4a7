"""What the value of a key may be, and what a change of it does to a result."""

from __future__ import annotations

from enum import Enum
from math import inf
from operator import le, lt
from typing import Any


class Bound:
    """A number, or each of a list, with ``low <= x <= high`` and ``x > above``."""

    def __init__(self, low: float = -inf, high: float = inf, *, above: float = -inf) -> None:
        self.low, self.high, self.above = low, high, above

    def allows(self, value: Any) -> bool:
        """Return whether ``value`` is within."""
        if isinstance(value, str):  # a key such as trainer.devices takes a number or a word
            return True
        return bool(self.low <= value <= self.high and value > self.above)

    def __str__(self) -> str:
        parts = [f"at least {self.low}"] if self.low > -inf else []
        parts += [f"greater than {self.above}"] if self.above > -inf else []
        parts += [f"at most {self.high}"] if self.high < inf else []
        return " and ".join(parts)


class Length:
    """A list with ``low`` to ``high`` items."""

    def __init__(self, low: int, high: float) -> None:
        self.low, self.high = low, high

    def allows(self, value: list[Any]) -> bool:
        """Return whether ``value`` has as many items."""
        return self.low <= len(value) <= self.high

    def __str__(self) -> str:
        return f"a list of {self.low}{'' if self.high == self.low else ' or more'}"


class Range:
    """Two numbers, of which the first is not the greater; with ``strict``, the smaller."""

    def __init__(self, *, strict: bool = False) -> None:
        self.ordered = lt if strict else le

    def allows(self, value: list[float]) -> bool:
        """Return whether ``value`` is such a pair."""
        return len(value) == 2 and bool(self.ordered(*value))

    def __str__(self) -> str:
        return "a list of 2, the lower one first"


class ZeroOr:
    """Zero, or a number from ``low`` to ``high``; each of a list."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def allows(self, value: Any) -> bool:
        """Return whether ``value`` is zero or within, or no number at all."""
        return not isinstance(value, int | float) or value == 0 or self.low <= value <= self.high

    def __str__(self) -> str:
        return f"0, or from {self.low:g} to {self.high:g}"


AUTO = "auto"
"""Stands for class weights that follow from the training split."""


class Numbers:
    """A list of numbers, or :data:`AUTO`."""

    def allows(self, value: Any) -> bool:
        """Return whether ``value`` is one of them."""
        if isinstance(value, list):
            return all(type(item) is float for item in value)
        return bool(value == AUTO)

    def __str__(self) -> str:
        return f"a list of numbers, {AUTO} or null"


class OneOf:
    """One of a few words."""

    def __init__(self, *choices: str | bool) -> None:
        self.choices = choices

    def allows(self, value: Any) -> bool:
        """Return whether ``value`` is one of the words."""
        return value in self.choices

    def __str__(self) -> str:
        return f"one of {', '.join(str(choice).lower() for choice in self.choices)}"


class Name:
    """A valid folder name, which cannot lead out of its parent folder."""

    def allows(self, value: str) -> bool:
        """Return whether ``value`` is such a name."""
        return value not in ("", ".", "..") and not {*value} & {"/", "\\", "\0"}

    def __str__(self) -> str:
        return "a name without slashes"


class Mark(Enum):
    """The effect of changing a key on the result; keys without a mark change it.

    On a group of keys it holds for all of them. A run may be resumed with other values of marked
    keys; a sweep and a comparison leave out what has no effect.
    """

    NO_EFFECT = "no effect"
    """Paths, what is saved, and logging: without effect on the result."""

    MACHINE = "machine"
    """What the run is computed on: another value may change the last digits."""
