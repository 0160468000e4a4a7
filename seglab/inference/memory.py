"""How much memory an image takes that is not cut into tiles."""

from __future__ import annotations

FACTORS = {"prediction": 6.5, "evaluation": 10.0}
"""Peak memory by the size of the logits: of the padded CNN, the heaviest net of ``conf/model``, on
a CPU; an FCN-8s takes half of it. See docs/large-images.md."""

LEAST_PLANES = 21
"""Of the logits of fewer classes: what is within a net does not shrink with them. A Mask R-CNN with
thirty objects takes as much."""


def untiled_bytes(size: tuple[int, int], classes: int, doing: str) -> int:
    """Estimate the peak memory of one image, in bytes.

    Args:
        size: height and width in pixels.
        classes: K, of a semantic model; 0 for a Mask R-CNN.
        doing: ``prediction`` or ``evaluation``.
    """
    height, width = size
    logits = 4 * max(classes, LEAST_PLANES) * height * width
    return round(FACTORS[doing] * logits)
