"""Objects as pictures and as files: distinct colours with class and score, COCO's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seglab.data.classes import VOID
from seglab.data.instances import Detections, Instances
from seglab.drawing import INSTANCES, OBJECTS
from seglab.drawing.layout import Pixels, Tag, draw_tags, fit, lay_out
from seglab.drawing.pictures import instance_colours, overlay, save_class_map
from seglab.metrics.mask_ap import encode
from seglab.runtime.files import write_json


def object_overlay(
    image: Pixels, masks: np.ndarray, texts: Sequence[str], boxes: np.ndarray
) -> Image.Image:
    """Overlay objects on their image, each in its own colour, with a tag.

    Args:
        image: (H, W, 3) uint8.
        masks: (N, H, W) bool, the most important first: it lies on top.
        texts: N tags.
        boxes: (N, 4) x0, y0, x1, y1 in pixels; the tag is at the upper left corner.
    """
    colours = instance_colours()
    numbers = _painted(masks)
    photo = fit(np.asarray(overlay(image, numbers, colours=colours)), photo=True)
    scale = photo.width / image.shape[1]
    tags: list[Tag] = [
        (text, tuple(colours[1 + index % (VOID - 1)].tolist()), *(scale * box).tolist())
        for index, (text, box) in enumerate(zip(texts, boxes, strict=True))
    ]
    draw_tags(photo, tags)
    return photo


def object_panel(
    image: Pixels,
    truth: Instances | None,
    found: Detections,
    classes: Sequence[str],
    title: str = "",
) -> Image.Image:
    """Draw image, true objects and found ones side by side.

    Args:
        image: (H, W, 3) uint8.
        truth: None leaves its column out.
        found: the detections to show; their tags contain class and score.
        classes: the names of the classes 0..K-1.
        title: above the picture; wraps where it is long.
    """
    columns = [("image", fit(image, photo=True))]
    if truth is not None:
        names = [classes[label] for label in truth.labels.tolist()]
        drawn = object_overlay(image, truth.masks.cpu().numpy(), names, truth.boxes.cpu().numpy())
        columns.append((f"truth: {_objects(len(truth))}", drawn))
    scored = zip(found.labels.tolist(), found.scores.tolist(), strict=True)
    texts = [f"{classes[label]} {score:.2f}" for label, score in scored]
    drawn = object_overlay(image, found.masks.cpu().numpy(), texts, found.boxes.cpu().numpy())
    columns.append((f"prediction: {_objects(len(found))}", drawn))
    return lay_out(columns, [], title)


def _objects(count: int) -> str:
    return f"{count} object" if count == 1 else f"{count} objects"


def _painted(masks: np.ndarray) -> Pixels:
    """Return the 1-based index of the topmost object per pixel, 0 elsewhere."""
    numbers = np.zeros(masks.shape[1:], np.uint8)
    for index in reversed(range(len(masks))):
        numbers[masks[index]] = 1 + index % (VOID - 1)
    return numbers


Found = tuple[dict[str, Any], list[dict[str, Any]]]
"""An image and its objects, as COCO writes them, without ids."""


class ObjectFiles:
    """Writes the objects of photographs: a palette PNG per image, and one JSON of them all.

    ``folder/instances/ID.png`` numbers the objects above the score threshold from 1, by descending
    score, 0 elsewhere. ``folder/instances.json`` is a COCO data set with a score per annotation, so
    COCO's tools load its ``annotations`` as results; it contains all objects.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder, self.classes = folder, classes
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def draw(self, name: str, file: str, detections: Detections, sure: Detections) -> Found:
        """Write an image's PNG, and return its objects for :meth:`add`; any thread may call it.

        Args:
            name: the image's id.
            file: the name of its file.
            detections: all detections.
            sure: the detections above the threshold.
        """
        masks = detections.masks.cpu().numpy()
        (self.folder / INSTANCES).mkdir(exist_ok=True)
        numbers = _painted(sure.masks.cpu().numpy())
        save_class_map(numbers, self.folder / INSTANCES / f"{name}.png")
        rows = zip(
            detections.labels.tolist(),
            detections.scores.tolist(),
            detections.boxes.double().tolist(),
            masks.sum((1, 2)).tolist(),
            encode(detections.masks),
            strict=True,
        )
        height, width = masks.shape[1:]
        objects = [
            {
                "category_id": label,
                "score": score,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": area,
                "iscrowd": 0,
                "segmentation": {"size": [height, width], "counts": code.decode("ascii")},
            }
            for label, score, (x0, y0, x1, y1), area, code in rows
        ]
        return {"file_name": file, "height": height, "width": width}, objects

    def add(self, found: Found) -> None:
        """Keep an image's objects for the JSON, numbered in the order of the calls."""
        image, objects = found
        self.images.append({"id": len(self.images) + 1, **image})
        for each in objects:
            ids = {"id": len(self.annotations) + 1, "image_id": len(self.images)}
            self.annotations.append({**ids, **each})

    def write(self) -> Path:
        """Write the JSON and return its path."""
        named: Sequence[Mapping[str, Any]] = [
            {"id": value, "name": name} for value, name in enumerate(self.classes) if value
        ]
        path = self.folder / OBJECTS
        write_json(
            path,
            {"images": self.images, "categories": named, "annotations": self.annotations},
        )
        return path
