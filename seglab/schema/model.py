"""The net and its weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any

from seglab.errors import RunError
from seglab.schema.rules import Bound, Length, Name, OneOf

DEFAULT = "DEFAULT"
"""Stands for the best published weights of a net or, for an FCN, of its backbone."""

TIMM = "timm/"
"""Begins the names of timm's backbones and weights."""


WEIGHT_FILES = (".pth", ".pt", ".ckpt", ".safetensors")
"""Suffixes of files of weights: ``my_Weights.pth`` is none of torchvision's names."""


def is_published(weights: str) -> bool:
    """Return whether ``model.weights`` names weights of torchvision or timm, and not a file."""
    if weights == DEFAULT or weights.startswith(TIMM):
        return True
    if Path(weights).suffix in WEIGHT_FILES:
        return False
    return re.fullmatch(r"\w+_Weights\.\w+", weights) is not None


@dataclass(frozen=True)
class ModelConfig:
    """A net (anything that maps images to logits), its task and its weights."""

    name: Annotated[str, Name()]
    task: Annotated[str, OneOf("semantic", "instance")]
    net: dict[str, Any]
    weights: str | None
    frozen: list[str]
    frozen_norms: bool
    aux_weight: Annotated[float, Bound(0)]
    mean: Annotated[list[float] | None, Bound(0, 1), Length(1, inf)]
    std: Annotated[list[float] | None, Bound(above=0), Bound(high=1), Length(1, inf)]

    def check_weights_file(self) -> None:
        """Check that the file named by ``weights`` exists, without reading it.

        Raises:
            RunError: it is not.
        """
        if self.weights is None or is_published(self.weights):
            return
        if not Path(self.weights).is_file():
            raise RunError(f"model.weights={self.weights}: no such file")
