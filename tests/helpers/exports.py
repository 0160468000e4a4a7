"""A small data set of scenes, written as each labelling tool and format has it, by plain means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

CLASSES = ("background", "weed", "leaf", "stone")
"""Not in alphabetical order; the labels of :class:`Scene`."""

COLOURS = {"background": (0, 0, 0), "weed": (0, 90, 250), "leaf": (250, 90, 0), "stone": (9, 9, 9)}
"""Red and blue of weed and leaf are each other's: a wrong order of channels swaps them."""

INSTANCE_COLOURS = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
"""The first of VOC's palette, as CVAT colours objects."""


class Scene(NamedTuple):
    """An image and its truth: class map with 255 for void, and the number of each object."""

    name: str
    image: np.ndarray
    class_map: np.ndarray
    instance_map: np.ndarray


def scenes(count: int = 12, height: int = 36, width: int = 50) -> list[Scene]:
    """Return scenes of two to four boxes, which overlap; the smaller ones are on top."""
    made = []
    for number in range(count):
        rng = np.random.default_rng([7, number])
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        class_map, instance_map = np.zeros((2, height, width), np.uint8)
        for instance in range(1, 3 + number % 3):
            side = 26 - 5 * instance
            top, left = rng.integers(0, height - side), rng.integers(0, width - side)
            label = 1 + (number + instance) % 3
            where = np.s_[top : top + side, left : left + side]
            class_map[where], instance_map[where] = label, instance
            image[where] = np.array([60, 200, 120])[(np.arange(3) + label) % 3]
        made.append(Scene(f"field {number:02}", image, class_map, instance_map))
    return made


def save(pixels: np.ndarray, path: Path, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    if palette:
        picture.putpalette([value for colour in range(256) for value in (colour, 0, 255 - colour)])
    picture.save(path)


def in_colour(class_map: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    table[: len(CLASSES)] = [COLOURS[name] for name in CLASSES]
    return table[class_map]


def write_cvat(root: Path, made: list[Scene]) -> None:
    """Write CVAT's "Segmentation mask 1.1": one list, RGB masks, classes in an order of its own."""
    for scene in made:
        save(scene.image, root / f"JPEGImages/{scene.name}.png")
        save(in_colour(scene.class_map), root / f"SegmentationClass/{scene.name}.png")
        objects = np.array(INSTANCE_COLOURS, np.uint8)[scene.instance_map]
        save(objects, root / f"SegmentationObject/{scene.name}.png")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    names = "".join(f'"{scene.name}"\n' for scene in reversed(made))
    (root / "ImageSets/Segmentation/default.txt").write_text(names)
    order = ("background", "leaf", "stone", "weed")
    lines = [f"{name}:{','.join(map(str, COLOURS[name]))}::\n" for name in order]
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "".join(lines))


def write_labelme(root: Path, made: list[Scene]) -> None:
    """Write what labelme2voc does: no list, class_names.txt, arrays beside PNGs, -1 as 255."""
    for scene in made:
        save(scene.image, root / f"JPEGImages/{scene.name}.jpg")
        ignored = np.where(scene.class_map == 0, scene.class_map, scene.class_map)
        ignored[:2] = 255
        save(ignored, root / f"SegmentationClassPNG/{scene.name}.png", palette=True)
        save(scene.instance_map, root / f"SegmentationObjectPNG/{scene.name}.png", palette=True)
        for kind in ("Class", "Object"):
            (root / f"Segmentation{kind}").mkdir(exist_ok=True)
            np.save(root / f"Segmentation{kind}/{scene.name}.npy", scene.class_map.astype(np.int32))
    names = ["__ignore__", "_background_", *CLASSES[1:]]
    (root / "class_names.txt").write_text("\n".join(names))


def write_pairs(root: Path, made: list[Scene], masks: str = "colour") -> None:
    """Write TIFFs beside masks with the suffix ``_mask``, in sub-folders by field."""
    for number, scene in enumerate(made):
        name = f"north/{scene.name}" if number % 2 else scene.name
        save(scene.image, root / f"images/{name}.tif")
        mask = in_colour(scene.class_map) if masks == "colour" else scene.class_map
        save(mask, root / f"masks/{name}_mask.{'bmp' if masks == 'colour' else 'png'}")
        save(scene.instance_map, root / f"instances/{name}_mask.png")


def rle(mask: np.ndarray) -> list[int]:
    """Return COCO's uncompressed counts: columns first, beginning outside."""
    flat = [0, *mask.T.flatten().tolist(), -1]
    counts, last, start = [], 0, 1
    for place, value in enumerate(flat[1:], 1):
        if value != last:
            counts.append(place - start)
            last, start = value, place
    return counts


def coco(made: list[Scene], suffix: str = ".png", first: int = 1) -> dict[str, list[object]]:
    """Return COCO's JSON of scenes; the ids of categories are in yet another order."""
    ids = {"stone": 7, "weed": 3, "leaf": 90}
    images: list[object] = []
    annotations: list[object] = []
    for number, scene in enumerate(made, first):
        height, width = scene.class_map.shape
        images.append(
            {"id": number, "file_name": scene.name + suffix, "height": height, "width": width}
        )
        for instance in np.unique(scene.instance_map[scene.instance_map > 0]).tolist():
            mask = scene.instance_map == instance
            label = int(scene.class_map[mask][0])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": ids[CLASSES[label]],
                    "iscrowd": 0,
                    "area": int(mask.sum()),
                    "segmentation": {"size": [height, width], "counts": rle(mask.astype(int))},
                }
            )
    categories: list[object] = [{"id": key, "name": name} for name, key in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(root: Path, made: list[Scene], val: int = 4) -> None:
    """Write ``train.json`` and ``val.json``; their images have equal names."""
    for split, part in (("train", made[val:]), ("val", made[:val])):
        named = [scene._replace(name=f"{number}") for number, scene in enumerate(part)]
        for scene in named:
            save(scene.image, root / split / f"{scene.name}.png")
        (root / f"{split}.json").write_text(json.dumps(coco(named)))
