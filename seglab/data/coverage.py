"""Checks across files and splits: missing classes, equal images. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from seglab.data.classes import VOID
from seglab.data.layouts.lists import comparable
from seglab.data.store.digests import Record
from seglab.errors import DataError
from seglab.schema import DataConfig

EXAMPLE = "data.mask_values={0: background, 255: person}"


def check_foreground(config: DataConfig, classes: Sequence[str], train: Record) -> None:
    """Check that some pixel of the training split is not of the first class.

    Raises:
        DataError: there is none; lists the mask values with their shares, and the fix.
    """
    counts = train.counts or []
    if any(counts[1 : len(classes)]):
        return
    values = [value for value, count in enumerate(counts) if count]
    names = {VOID: "void", **dict(enumerate(classes))}
    shares = ", ".join(
        f"{names[value] if config.mask_values else value} ({counts[value] / sum(counts):.1%})"
        for value in values
    )
    example = EXAMPLE
    if len(values) == len(classes):
        pairs = ", ".join(f"{value}: {name}" for value, name in zip(values, classes, strict=True))
        example = f"data.mask_values={{{pairs}}}"
    remedy = "see data.mask_values" if config.mask_values else f"name their values: '{example}'"
    if config.dataset is not None:
        remedy = f"{VOID} is void; data.dataset has to give 1, 2, … for the other classes"
    raise DataError(
        f"data.train_split={config.train_split}: no pixel of a class other than {classes[0]}; the "
        f"masks contain {shares}; {remedy}"
    )


def absent_classes(config: DataConfig, classes: Sequence[str], train: Record) -> list[str]:
    """Return one line that names all classes without a pixel in the training split, if any."""
    absent = [name for name, count in zip(classes, train.counts or [], strict=False) if not count]
    if not absent:
        return []
    return [f"data.train_split={config.train_split}: no pixel of {', '.join(absent)}"]


def equal_images(
    train_ids: Sequence[str], train: Record, val_ids: Sequence[str], val: Record
) -> list[tuple[str, str]]:
    """Return the validation images whose file a training image of another id has, each with one.

    Equal means the same first 16 hex digits of SHA-256. One of its twins: of thousands of blank
    images there would be millions of pairs.
    """
    train_digests, val_digests = train.digests(0), val.digests(0)
    shared = set(train_digests).intersection(val_digests)
    if not shared:
        return []
    twins: dict[str, list[str]] = {digest: [] for digest in shared}
    for name, digest in zip(train_ids, train_digests, strict=True):
        if digest in shared:
            twins[digest].append(name)
    pairs = []
    for name, digest in zip(val_ids, val_digests, strict=True):
        others = (x for x in twins.get(digest, ()) if comparable(x) != comparable(name))
        pairs += [(twin, name) for twin in islice(others, 1)]
    return pairs
