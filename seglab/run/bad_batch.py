"""Saves the batch at which a run stopped, in common file formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from seglab.drawing.pictures import save_class_map, viewable
from seglab.run.paths import FACTS
from seglab.runtime.files import write_json

_WRITTEN = re.compile(r"\d+_(image|class_map|instances)\.png")


def save_batch(batch: Any, facts: Mapping[str, Any], folder: Path) -> None:
    """Write a batch as lossless PNGs, and facts about it as JSON.

    ``N_image.png`` is RGB, ``N_class_map.png`` and ``N_instances.png`` have the palette of VOC. Of
    images of other channels, see :func:`seglab.drawing.pictures.viewable`.
    """
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():  # an earlier batch may have been larger
        if _WRITTEN.fullmatch(old.name):
            old.unlink()
    for number in range(len(batch.ids)):
        pixels = batch.image[number].permute(1, 2, 0).cpu().contiguous().numpy()
        Image.fromarray(viewable(pixels)).save(folder / f"{number}_image.png")
        for name, maps in (("class_map", batch.class_map), ("instances", batch.instance_map)):
            if maps is not None:
                save_class_map(maps[number].cpu().numpy(), folder / f"{number}_{name}.png")
    write_json(folder / FACTS, facts)
