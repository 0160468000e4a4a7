"""The layout of a picture: text, tags, and panels side by side with a legend. Takes arrays."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from seglab.data.classes import flat_palette

Pixels = npt.NDArray[np.uint8]

Tag = tuple[str, tuple[int, int, int], float, float, float, float]
"""A text, its colour, and the edges x0, y0, x1, y1 of what it belongs to, in pixels."""

LEAST, MOST = 320, 1000
"""Bounds of the longer side of a picture in a panel, in pixels."""

PAPER, INK, FAINT, LINE = (255, 255, 255), (32, 36, 42), (104, 112, 122), (196, 201, 207)

PALETTE: Pixels = np.array(flat_palette(), np.uint8).reshape(256, 3)


def fit(pixels: Pixels, photo: bool = False) -> Image.Image:
    """Enlarge by a whole factor, or shrink, until the longer side is within LEAST and MOST."""
    picture = Image.fromarray(pixels)
    longer = max(picture.size)
    scale = ceil(LEAST / longer) if longer <= MOST else MOST / longer
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    shrink = Image.Resampling.LANCZOS if photo and scale < 1 else Image.Resampling.NEAREST
    return picture.resize(size, shrink)


def _font(size: float) -> ImageFont.FreeTypeFont:
    """Return Pillow's own TrueType font, so that pictures look the same on every machine."""
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow is always built with FreeType
    return font


def _line(text: str) -> str:
    """Return text drawable on one line: without line breaks and lone surrogates."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


def draw_tags(photo: Image.Image, tags: Sequence[Tag]) -> None:
    """Draw each tag above the upper left corner of its box, unless it would cover another."""
    draw, font = ImageDraw.Draw(photo), _font(max(11, photo.width // 36))
    written: list[tuple[int, int, int]] = []
    for text, colour, left, top, _, _ in tags:
        width, height = ceil(font.getlength(_line(text))) + 8, sum(font.getmetrics()) + 2
        x, y = max(0, min(round(left), photo.width - width)), max(0, min(round(top), photo.height))
        y = max(0, y - height)
        taken = any(x < u + w and u < x + width and abs(y - v) < height for u, v, w in written)
        if not taken and width <= photo.width:
            written.append((x, y, width))
            draw.rectangle((x, y, x + width - 1, y + height - 1), colour)
            red, green, blue = colour
            ink = INK if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else PAPER
            draw.text((x + 4, y + 1), _line(text), fill=ink, font=font)


def lay_out(
    columns: Sequence[tuple[str, Image.Image]], entries: Sequence[tuple[int, str]], title: str
) -> Image.Image:
    """Compose a title, pictures of equal height under their headings, and a legend on white.

    The legend lists ``entries``; without entries there is no legend.
    """
    unit = min(40, max(15, columns[0][1].width // 24))  # the size of text, and every distance
    font, large = _font(unit), _font(round(unit * 1.25))
    leading, title_leading = sum(font.getmetrics()), sum(large.getmetrics())
    widths = [max(picture.width, ceil(font.getlength(head))) for head, picture in columns]
    cells = [ceil(font.getlength(_line(name))) + unit * 3 // 2 for _, name in entries]
    words = [(word, ceil(large.getlength(word))) for word in _line(title).split()]
    inner = max(sum(widths) + unit * (len(columns) - 1), *cells, *(w for _, w in words), 16 * unit)

    lines: list[str] = []
    for word, _ in words:
        if lines and large.getlength(f"{lines[-1]} {word}") <= inner:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    per_row = len(cells)
    while sum(max(cells[i::per_row]) + 2 * unit for i in range(per_row)) > inner + 2 * unit:
        per_row -= 1

    top = unit + len(lines) * title_leading + (unit // 2 if lines else 0)
    pictures_top, row_height = top + leading + unit // 3, leading + unit // 3
    foot = pictures_top + columns[0][1].height + unit
    rows = ceil(len(cells) / per_row) if cells else 0
    height = foot + rows * row_height + unit * 2 // 3
    sheet = Image.new("RGB", (inner + 2 * unit, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        draw.text((unit, unit + row * title_leading), line, fill=INK, font=large)
    x = unit
    for (head, picture), width in zip(columns, widths, strict=True):
        draw.text((x, top), head, fill=FAINT, font=font)
        sheet.paste(picture, (x, pictures_top))
        x += width + unit
    x = unit
    for column in range(per_row):
        for row, (value, name) in enumerate(entries[column::per_row]):
            y = foot + row * row_height
            swatch = (x, y + (leading - unit) // 2, x + unit, y + (leading + unit) // 2)
            draw.rectangle(swatch, fill=tuple(PALETTE[value].tolist()), outline=LINE)
            draw.text((x + unit * 3 // 2, y), _line(name), fill=INK, font=font)
        x += max(cells[column::per_row]) + 2 * unit
    return sheet
