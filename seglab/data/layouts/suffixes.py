"""Suffixes that tell the names of masks from those of their images. Imports no torch."""

from __future__ import annotations

import re

MASKS = (
    *("masks", "mask", "labels", "label", "annotations"),
    *("segmentationclass", "gt", "seg", "targets"),
)
"""What folders of class maps, and ends of their names, are called, in lower case."""

SUFFIX = re.compile(r"[_\-. ][^\W\d_]+$")
"""A word at the end of a name, such as _mask."""


def matching_suffixes(images: set[str], masks: set[str], mixed: bool) -> tuple[str, str] | None:
    """Return the differing suffixes of image and mask names; None: the names do not match.

    Args:
        images: the names in the image folder.
        masks: the names in the mask folder.
        mixed: both are in one folder, where mask names end in a word for masks.
    """
    words = {match[0] for name in masks if (match := SUFFIX.search(name))}
    candidates = [word for word in words if word[1:].lower() in MASKS]
    for mask_suffix in sorted(candidates if mixed else _common_suffixes(masks)):
        mask_names = {name for name in masks if name.endswith(mask_suffix)}
        image_names = images - mask_names if mixed else images
        mask_stems = {name.removesuffix(mask_suffix) for name in mask_names}
        for image_suffix in _common_suffixes(image_names):
            if {name.removesuffix(image_suffix) for name in image_names} == mask_stems:
                return image_suffix, mask_suffix
    return None


def _common_suffixes(names: set[str]) -> list[str]:
    """Return the empty suffix and, if all names end in one word, that; none without names."""
    suffixes = {match[0] if (match := SUFFIX.search(name)) else "" for name in names}
    return sorted({"", *suffixes}) if len(suffixes) == 1 else [""] * bool(names)
