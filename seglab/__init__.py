"""seglab: image segmentation experiments whose numbers can be trusted.

>>> import seglab
>>> data = seglab.VOCSegmentation("VOCdevkit", year=2007, split="train")  # doctest: +SKIP
>>> run = seglab.fit("experiments=smoke")  # doctest: +SKIP
>>> seglab.load(run.folder / "checkpoints/last.ckpt").predict(data[3].image)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seglab.api import Predictor, fit, load
    from seglab.data.dataset import Sample, VOCSegmentation
    from seglab.report.listing import runs

__all__ = ["Predictor", "Sample", "VOCSegmentation", "fit", "load", "runs"]

_HOMES = {
    "Predictor": "seglab.api",
    "Sample": "seglab.data.dataset",
    "VOCSegmentation": "seglab.data.dataset",
    "fit": "seglab.api",
    "load": "seglab.api",
    "runs": "seglab.report.listing",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: ``seglab --help`` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'seglab' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names, and neither submodules nor helpers."""
    return sorted(__all__)
