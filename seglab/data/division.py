"""Stratified split into training and validation: each class in training, in even proportions.

Iterative stratification (Sechidis et al., ECML PKDD 2011): the rarest class is assigned first, each
image to the part that lacks most of it. scikit-learn does not have it, and the packages that do
depend on scikit-learn. The result depends on ids, classes and seed alone, not on the order of
files.

What is divided are units: images, or groups of them. A million units have few kinds, which differ
in their number of images and in their classes.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from itertools import compress
from typing import NamedTuple

import numpy as np

from seglab.errors import ConfigError

TRAIN, VAL, WAITING = 0, 1, -1


class _Kind(NamedTuple):
    """Units that are alike: how many images each has, and how many of them have each class."""

    size: int
    counts: tuple[tuple[int, int], ...]

    @property
    def labels(self) -> set[int]:
        return {label for label, _ in self.counts}


def divide(
    present: Mapping[str, Set[int]], fraction: float, seed: int, group: str | None = None
) -> tuple[list[str], list[str]]:
    """Split ids into training and validation, each sorted.

    Args:
        present: the classes in the image of each id.
        fraction: the share of the images for validation.
        seed: of the division.
        group: a regular expression: ids with equal first groups, or equal whole matches where it
            has no group, stay together.

    Raises:
        ConfigError: fewer than two groups; ``group`` is not a valid expression, or an id does not
            match.
    """
    names = sorted(present)
    if group is None:
        units, unit_of = names, np.arange(len(names))
        classes = map(frozenset, map(present.__getitem__, names))
        alike = {labels: _Kind(1, tuple((x, 1) for x in labels)) for labels in {*classes}}
        kinds = [alike[frozenset(present[name])] for name in names]
    else:
        units, unit_of, kinds = _grouped(names, present, group)
    if len(units) < 2:
        key, what = (f"data.group={group}", "group") if group else ("data.val_fraction", "image")
        raise ConfigError(f"{key}: there is one {what}; at least two are needed to divide")
    places = {kind: place for place, kind in enumerate(dict.fromkeys(kinds))}
    kind_of = np.fromiter(map(places.__getitem__, kinds), np.intp, len(kinds))
    order = _shuffled(units, seed)
    part = _stratified(kind_of[order], [*places], fraction)
    _cover(kind_of[order], [*places], part)
    sides = np.empty_like(part)
    sides[order] = part
    trained = sides[unit_of] == TRAIN
    return [*compress(names, trained.tolist())], [*compress(names, (~trained).tolist())]


def _grouped(
    names: Sequence[str], present: Mapping[str, Set[int]], group: str
) -> tuple[list[str], np.ndarray, list[_Kind]]:
    """Return the groups, the group of each name, and the kind of each group."""
    places: dict[str, int] = {}
    unit_of = [places.setdefault(_unit(name, group), len(places)) for name in names]
    sizes = np.bincount(unit_of, minlength=1).tolist()
    counts: list[Counter[int]] = [Counter() for _ in places]
    for name, unit in zip(names, unit_of, strict=True):
        counts[unit].update(present[name])
    kinds = [
        _Kind(size, tuple(sorted(count.items()))) for size, count in zip(sizes, counts, strict=True)
    ]
    return [*places], np.array(unit_of), kinds


def _unit(name: str, group: str) -> str:
    try:
        match = re.search(group, name)
    except re.error as error:
        raise ConfigError(f"data.group={group}: no regular expression: {error}") from None
    key = match and (match[1] if match.re.groups else match[0])
    if key is None:
        raise ConfigError(f"data.group={group}: does not match the id {name!r}")
    return key


def _shuffled(units: Sequence[str], seed: int) -> np.ndarray:
    """Return the places of the units in the order of SHA-256 of seed and unit."""
    digests = b"".join([hashlib.sha256(f"{seed}|{unit}".encode()).digest() for unit in units])
    words = np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 4)
    return np.lexsort(words.T[::-1])  # by the first word, then the second, …


def _stratified(kind_of: np.ndarray, kinds: Sequence[_Kind], fraction: float) -> np.ndarray:
    """Return the part of each unit, ``(N,)`` int8.

    Args:
        kind_of: ``(N,)``, the place in ``kinds`` of each unit, in the order of their turns.
        kinds: of the units.
        fraction: the share of the images for validation.
    """
    shares = (1 - fraction, fraction)
    amounts = np.bincount(kind_of).tolist()
    totals: dict[int, int] = defaultdict(int)
    kinds_with: dict[int, list[int]] = defaultdict(list)
    for place, (kind, amount) in enumerate(zip(kinds, amounts, strict=True)):
        for label, count in kind.counts:
            totals[label] += count * amount
            kinds_with[label].append(place)
    lacks = {label: [share * total for share in shares] for label, total in totals.items()}
    images = sum(kind.size * amount for kind, amount in zip(kinds, amounts, strict=True))
    room = [share * images for share in shares]
    part = np.full(len(kind_of), WAITING, np.int8)

    def put(places: np.ndarray, wanted: Sequence[float]) -> None:
        """Put units where most is wanted, one after the other.

        The remaining units fit into the remaining room, so half a unit fits into some part.
        """
        sides = []
        for kind in map(kinds.__getitem__, kind_of[places].tolist()):
            half = kind.size / 2 - 1e-6
            first = (wanted[TRAIN], room[TRAIN]) >= (wanted[VAL], room[VAL])
            side = TRAIN if room[TRAIN] > half and (first or not room[VAL] > half) else VAL
            sides.append(side)
            room[side] -= kind.size
            for label, count in kind.counts:
                lacks[label][side] -= count
                totals[label] -= count
        part[places] = sides

    while remaining := [label for label, total in totals.items() if total]:
        rarest = min(remaining, key=lambda label: (totals[label], label))
        has = np.zeros(len(kinds), bool)
        has[kinds_with[rarest]] = True
        put(np.flatnonzero(has[kind_of] & (part == WAITING)), lacks[rarest])
    put(np.flatnonzero(part == WAITING), room)  # no class, only void
    return part


def _cover(kind_of: np.ndarray, kinds: Sequence[_Kind], part: np.ndarray) -> None:
    """Move units so that training contains every class and neither part is empty."""
    trained: set[int] = set()
    for place in np.unique(kind_of[part == TRAIN]).tolist():
        trained |= kinds[place].labels
    new = [not trained.issuperset(kind.labels) for kind in kinds]
    for unit in np.flatnonzero(np.array(new)[kind_of] & (part == VAL)).tolist():
        labels = kinds[kind_of[unit]].labels
        if not trained.issuperset(labels):
            part[unit] = TRAIN
            trained |= labels
    validated = int((part == VAL).sum())
    if validated in (0, len(part)):  # of few units: the other part gets the one missed least
        seen: Counter[int] = Counter()
        for place in kind_of.tolist():
            seen.update(kinds[place].labels)
        rarest = [min((seen[label] for label in kind.labels), default=0) for kind in kinds]
        part[np.argmax(np.array(rarest)[kind_of])] = TRAIN if validated else VAL
