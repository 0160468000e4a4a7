"""How the names of masks differ from those of their images. Imports no torch."""

from __future__ import annotations

import re

MASKS = (
    *("masks", "mask", "labels", "label", "annotations"),
    *("segmentationclass", "gt", "seg", "targets"),
)
"""What folders of class maps, and ends of their names, are called, in lower case."""

SUFFIX = re.compile(r"[_\-. ][^\W\d_]+$")
"""A word at the end of a name, such as _mask."""


def name_ends(images: set[str], masks: set[str], mixed: bool) -> tuple[str, str] | None:
    """Return the differing ends of image and mask names; None: the names do not match.

    Args:
        images: the names in the image folder.
        masks: the names in the mask folder.
        mixed: both are in one folder, where mask names end in a word for masks.
    """
    ends = {match[0] for name in masks if (match := SUFFIX.search(name))}
    others = [end for end in ends if end[1:].lower() in MASKS] if mixed else _common_ends(masks)
    for other in sorted(others):
        right = {name for name in masks if name.endswith(other)}
        left = images - right if mixed else images
        for own in _common_ends(left):
            if {n.removesuffix(own) for n in left} == {n.removesuffix(other) for n in right}:
                return own, other
    return None


def _common_ends(names: set[str]) -> list[str]:
    """Return the empty end and, if all names end in one word, that word; none without names."""
    ends = {match[0] if (match := SUFFIX.search(name)) else "" for name in names}
    return sorted({"", *ends}) if len(ends) == 1 else [""] * bool(names)
