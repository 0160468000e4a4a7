"""Stratified split into training and validation: each class in training, in even proportions.

Iterative stratification (Sechidis et al., ECML PKDD 2011): the rarest class is assigned first, each
image to the part that lacks most of it. scikit-learn does not have it, and the packages that do
depend on scikit-learn. The result depends on ids, classes and seed alone, not on the order of
files.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set

from seglab.errors import ConfigError

TRAIN, VAL = 0, 1


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
    members: dict[str, list[str]] = defaultdict(list)
    for name in sorted(present):
        members[_unit(name, group)].append(name)
    if len(members) < 2:
        key, what = (f"data.group={group}", "group") if group else ("data.val_fraction", "image")
        raise ConfigError(f"{key}: there is one {what}; at least two are needed to divide")
    # Shared by images of equal classes: a million sets would slow the garbage collector.
    alone = {labels: dict.fromkeys(labels, 1) for labels in {*map(frozenset, present.values())}}
    counts: dict[str, Mapping[int, int]] = {
        unit: alone[frozenset(present[names[0]])]
        if len(names) == 1
        else Counter(label for name in names for label in present[name])
        for unit, names in members.items()
    }
    order = sorted(members, key=lambda unit: hashlib.sha256(f"{seed}|{unit}".encode()).digest())
    part = _stratified(
        order, {unit: len(names) for unit, names in members.items()}, counts, fraction
    )
    _cover(order, counts, part)
    sides: tuple[list[str], list[str]] = ([], [])
    for unit, names in members.items():
        sides[part[unit]].extend(names)
    return sorted(sides[TRAIN]), sorted(sides[VAL])


def _unit(name: str, group: str | None) -> str:
    if group is None:
        return name
    try:
        match = re.search(group, name)
    except re.error as error:
        raise ConfigError(f"data.group={group}: no regular expression: {error}") from None
    key = match and (match[1] if match.re.groups else match[0])
    if key is None:
        raise ConfigError(f"data.group={group}: does not match the id {name!r}")
    return key


def _stratified(
    order: Sequence[str],
    sizes: Mapping[str, int],
    counts: Mapping[str, Mapping[int, int]],
    fraction: float,
) -> dict[str, int]:
    """Return the part of each unit."""
    shares = (1 - fraction, fraction)
    totals: dict[int, int] = defaultdict(int)
    waiting: dict[int, list[str]] = defaultdict(list)
    for unit in order:
        for label, count in counts[unit].items():
            totals[label] += count
            waiting[label].append(unit)
    lacks = {label: [share * total for share in shares] for label, total in totals.items()}
    room = [share * sum(sizes.values()) for share in shares]
    part: dict[str, int] = {}

    # The remaining units fit into the remaining room, so half a unit fits into some part.
    def put(unit: str, wanted: Sequence[float]) -> None:
        fits = [space > sizes[unit] / 2 - 1e-6 for space in room]
        first = (wanted[TRAIN], room[TRAIN]) >= (wanted[VAL], room[VAL])
        side = TRAIN if fits[TRAIN] and (first or not fits[VAL]) else VAL
        part[unit] = side
        room[side] -= sizes[unit]
        for label, count in counts[unit].items():
            totals[label] -= count
            lacks[label][side] -= count

    while remaining := [label for label, total in totals.items() if total]:
        rarest = min(remaining, key=lambda label: (totals[label], label))
        for unit in waiting[rarest]:
            if unit not in part:
                put(unit, lacks[rarest])
    for unit in order:
        if unit not in part:  # no class, only void
            put(unit, room)
    return part


def _cover(
    order: Sequence[str], counts: Mapping[str, Mapping[int, int]], part: dict[str, int]
) -> None:
    """Move units so that training contains every class and neither part is empty."""
    kept = [unit for unit in order if part[unit] == VAL]
    trained = {label for unit in order if part[unit] == TRAIN for label in counts[unit]}
    for unit in list(kept):
        if not trained.issuperset(counts[unit]):
            part[unit] = TRAIN
            kept.remove(unit)
            trained.update(counts[unit])
    if len(kept) in (0, len(order)):  # of few units: the other part gets the one missed least
        seen = Counter(label for unit in order for label in counts[unit])
        rarest = {unit: min((seen[label] for label in counts[unit]), default=0) for unit in order}
        part[max(order, key=rarest.__getitem__)] = TRAIN if kept else VAL
