"""Pictures of class maps: palette, overlay, panels with a legend. Takes arrays."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from seglab.data.classes import VOID, flat_palette
from seglab.drawing import WRITER
from seglab.drawing.layout import INK, PALETTE, PAPER, Pixels, Tag, draw_tags, fit, lay_out
from seglab.runtime.files import atomic

if TYPE_CHECKING:
    from seglab.data.dataset import Sample

STRIP = 256
"""Rows that are drawn at once."""

Box = tuple[str, float, float, float, float]
"""A class name and the edges x0, y0, x1, y1 in pixels from the image's top left corner."""


def viewable(pixels: Pixels) -> Pixels:
    """Return ``(H, W, C)`` uint8 as RGB to look at: the first three channels, or the first as grey.

    The same array if C is 3.
    """
    channels = pixels.shape[-1]
    if channels == 3:
        return pixels
    return pixels[..., :3] if channels > 3 else np.repeat(pixels[..., :1], 3, -1)


def colourise(class_map: Pixels) -> Pixels:
    """Return a class map (H, W) uint8 in VOC's colours, (H, W, 3) uint8."""
    return PALETTE[class_map]


def overlay(
    image: Pixels, class_map: Pixels, alpha: float = 0.5, colours: Pixels = PALETTE
) -> Image.Image:
    """Lay a class map over its image: objects tinted and outlined, void hatched in cream.

    Args:
        image: (H, W, 3) uint8. Pixels of class 0, the background, are left as they are.
        class_map: (H, W) uint8.
        alpha: how much of the class's colour an object's inside takes, 0 to 1.
        colours: (256, 3) uint8, of the values of the class map.
    """
    down, across = np.ogrid[: class_map.shape[0], : class_map.shape[1]]
    hatch = (down + across) // max(2, min(class_map.shape) // 128) % 2 == 0
    edge = _edges(class_map, width=max(1, round(min(class_map.shape) / 200)))
    mixed = image.copy()
    for top in range(0, len(class_map), STRIP):  # the floats of a large image would take gigabytes
        rows = slice(top, top + STRIP)
        drawn = class_map[rows] != 0
        values, pixels = class_map[rows][drawn], image[rows][drawn]
        strength = np.where(edge[rows][drawn], 1.0, alpha)
        void = values == VOID
        strength[void] = np.where(hatch[rows][drawn][void], 0.9, alpha / 2)
        change = strength[:, None] * (colours[values] - pixels.astype(np.float64))
        mixed[rows][drawn] = np.rint(pixels + change).astype(np.uint8)
    return Image.fromarray(mixed)


def _edges(class_map: Pixels, width: int) -> npt.NDArray[np.bool_]:
    """Return where, within ``width`` pixels along a row or a column, the class changes."""
    edge = np.zeros(class_map.shape, bool)
    for step in range(1, width + 1):
        down = class_map[step:] != class_map[:-step]
        right = class_map[:, step:] != class_map[:, :-step]
        edge[step:] |= down
        edge[:-step] |= down
        edge[:, step:] |= right
        edge[:, :-step] |= right
    return edge


def legend(classes: Sequence[str], *class_maps: Pixels) -> list[tuple[int, str]]:
    """Return (value, name) of what occurs in the class maps, by value; 255 is ``void``.

    A value that has no name in ``classes`` is named by its number.
    """
    values = np.unique(np.concatenate([np.unique(class_map) for class_map in class_maps])).tolist()
    names = {**{v: str(v) for v in values}, **dict(enumerate(classes)), VOID: "void"}
    return [(value, names[value]) for value in values]


def panel(
    image: Pixels,
    truth: Pixels | None,
    prediction: Pixels,
    classes: Sequence[str],
    title: str = "",
) -> Image.Image:
    """Draw image, truth and prediction side by side, with a legend of the classes that occur.

    Args:
        image: (H, W, 3) uint8. Small images are enlarged by a whole factor, very large ones shrunk.
        truth: class map (H, W) uint8; None leaves its column out.
        prediction: class map (H, W) uint8.
        classes: the names of the classes 0..K-1.
        title: above the picture, such as the sample's id and mIoU; wraps where it is long.
    """
    maps = (
        {"prediction": prediction} if truth is None else {"truth": truth, "prediction": prediction}
    )
    columns = [("image", fit(image, photo=True))]
    columns += [(heading, fit(colourise(class_map))) for heading, class_map in maps.items()]
    return lay_out(columns, legend(classes, *maps.values()), title)


def prediction_sheet(
    image: Pixels, prediction: Pixels, classes: Sequence[str], title: str = ""
) -> Image.Image:
    """Draw an image beside the prediction laid over it, with a legend; see :func:`panel`."""
    mixed = np.asarray(overlay(image, prediction))
    columns = [("image", fit(image, photo=True)), ("prediction", fit(mixed, photo=True))]
    return lay_out(columns, legend(classes, prediction), title)


def sample_sheet(
    image: Pixels,
    class_map: Pixels,
    instance_map: Pixels | None,
    classes: Sequence[str],
    boxes: Sequence[Box] = (),
    title: str = "",
) -> Image.Image:
    """Draw a sample: the image with its boxes, the class map, and the instances if there are any.

    Args:
        image: (H, W, 3) uint8.
        class_map: (H, W) uint8.
        instance_map: (H, W) uint8, 0 where no instance is and 255 for void; each id in a colour of
            its own.
        classes: the names of the classes 0..K-1.
        boxes: drawn on the image in the colour of their class (see ``Box``).
        title: above the picture, such as the sample's id; wraps where it is long.
    """
    photo = fit(image, photo=True)
    _draw_boxes(photo, boxes, classes, photo.width / image.shape[1])
    columns = [("image", photo), ("class map", fit(colourise(class_map)))]
    if instance_map is not None:
        count = len(set(np.unique(instance_map).tolist()) - {0, VOID})
        heading = f"{count} instance" if count == 1 else f"{count} instances"
        columns.append((heading, fit(instance_colours()[instance_map])))
    return lay_out(columns, legend(classes, class_map), title)


def draw_sample(sample: Sample, title: str = "") -> Image.Image:
    """Draw a sample of a data set; see :func:`sample_sheet`."""
    instances = None if sample.instance_map is None else sample.instance_map.numpy()
    boxes = [(box.name, box.x0, box.y0, box.x1, box.y1) for box in sample.boxes]
    image = viewable(sample.image.permute(1, 2, 0).numpy())
    return sample_sheet(image, sample.class_map.numpy(), instances, sample.classes, boxes, title)


def save_class_map(class_map: Pixels, path: Path, writer: str | None = None) -> None:
    """Write a class map (H, W) uint8 as a palette PNG whose pixel values are the class ids.

    The file appears whole or not at all. ``writer`` is kept in it, for :func:`written_by`.

    Raises:
        OSError: the folder does not exist or cannot be written.
    """
    picture = Image.fromarray(class_map)
    picture.putpalette(flat_palette())
    texts = PngInfo()
    if writer is not None:
        texts.add_text(WRITER, writer)
    with atomic(path, binary=True, durable=False) as file:
        picture.save(file, format="PNG", pnginfo=texts)


def written_by(writer: str, path: Path) -> bool:
    """Return whether a file is a PNG that :func:`save_class_map` wrote for ``writer``."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return bool(picture.info.get(WRITER) == writer)
    except (OSError, ValueError, SyntaxError):  # of Pillow, for files that are no PNGs
        return False


@cache
def instance_colours() -> Pixels:
    """Return 256 colours of which neighbours differ: hues a golden angle apart (0, 255 as VOC)."""
    colours = PALETTE.copy()
    for index in range(1, VOID):
        hue, light = index * 0.618034 % 1, (0.55, 0.7, 0.42)[index % 3]
        colours[index] = np.rint(255 * np.array(colorsys.hls_to_rgb(hue, light, 0.7)))
    return colours


def _draw_boxes(
    photo: Image.Image, boxes: Sequence[Box], classes: Sequence[str], scale: float
) -> None:
    """Draw boxes in the colours of their classes, and a tag above each where one has room."""
    draw = ImageDraw.Draw(photo)
    tags: list[Tag] = []
    for name, *edges in boxes:
        left, right = (round(scale * x) for x in sorted(edges[0::2]))
        top, bottom = (round(scale * y) for y in sorted(edges[1::2]))
        red, green, blue = PALETTE[classes.index(name)].tolist() if name in classes else INK
        right, bottom = max(right - 1, left + 3), max(bottom - 1, top + 3)
        draw.rectangle((left, top, right, bottom), outline=PAPER, width=4)
        inside = (left + 1, top + 1, right - 1, bottom - 1)
        draw.rectangle(inside, outline=(red, green, blue), width=2)
        tags.append((name, (red, green, blue), left, top, right, bottom))
    draw_tags(photo, tags)
