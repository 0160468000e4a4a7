"""Draws the pictures of the built-in data set: textured shapes on textured grounds.

Shapes overlap and extend beyond the picture. Outline and texture determine the class. All classes
share one colour distribution and grounds have a paler one, so colour hints at *whether* there is an
object, never at *which*.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seglab.data.classes import SYNTHETIC_CLASSES, VOID

GROUND_VIVIDNESS, OBJECT_VIVIDNESS = 0.4, 1.6
"""How far colours stand from grey. Made equal, a small CNN hardly finds the objects at all."""

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]


def void_radius(width: int, height: int) -> float:
    """Return half the width of the void band: VOC's 5 pixels, less where images are very small."""
    return min(2.5, min(width, height) / 40)


def draw(
    seed: int, index: int, width: int, height: int
) -> tuple[Bytes, Bytes, list[tuple[int, bool]]]:
    """Draw image ``index``: RGB ``(H, W, 3)``, instance ids ``(H, W)``, (label, truncated) each.

    Its random stream is a function of (seed, index), so adding images changes no others. One image
    in four differs from ``width`` by ``height``.
    """
    rng = np.random.default_rng([seed, index])
    radius = void_radius(width, height)
    sizes = [(width, height), (height, width), (width, height * 8 // 9)]
    width, height = sizes[rng.choice(3, p=[0.75, 0.15, 0.1])]
    image = _ground(rng, height, width)
    owner = np.zeros((height, width), np.uint8)  # the topmost object of a pixel
    band = np.zeros((height, width), bool)
    objects: list[tuple[int, bool]] = []
    areas: list[float] = []  # of whole outlines, hidden parts included
    # Every six images contain each class twice, so splits of any length are balanced.
    block, position = divmod(index, 6)
    shuffle = np.random.default_rng([seed, block, 1])
    counts = shuffle.permutation([1, 1, 1, 2, 3, 4])
    labels = np.concatenate([shuffle.permutation(6), shuffle.permutation(6)]) + 1
    first = int(counts[:position].sum())
    for label in labels[first : first + int(counts[position])].tolist():
        for _ in range(30):  # positions; try the next if too little of an object is visible
            distance, area = _shape(rng, label, height, width)
            inside = distance < 0
            next_owner = np.where(inside, np.uint8(len(areas) + 1), owner)
            next_band = (band & ~inside) | (np.abs(distance) < radius)
            visible = np.bincount(next_owner[~next_band], minlength=len(areas) + 2)[1:]
            if np.all(visible > 0.3 * np.array([*areas, area])):
                break
        else:
            continue
        owner, band = next_owner, next_band
        edge = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
        objects.append((label, any(bool(side.any()) for side in edge)))
        areas.append(area)
        ground = image[inside].mean(0)
        for _ in range(8):
            texture = _surface(rng, label, height, width)
            if np.linalg.norm(texture[inside].mean(0) - ground) > 70:
                break
        image *= 1 - 0.3 * np.exp(-np.maximum(distance, 0) / 3)[..., None]  # a soft shadow
        cover = np.clip(0.5 - distance, 0, 1)[..., None]
        image = image * (1 - cover) + texture * cover
    image += rng.normal(0, 3, image.shape)
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return pixels, np.where(band, np.uint8(VOID), owner), objects


def _shape(rng: np.random.Generator, label: int, height: int, width: int) -> tuple[Floats, float]:
    """Place one object: signed distances ``(H, W)`` to its outline, negative inside; its area.

    Distances and area are in pixels. Sizes differ by class so that visible areas are equal.
    """
    name = SYNTHETIC_CLASSES[label]
    growth = {"circle": 0.85, "square": 1.0, "ring": 1.05, "cross": 1.15, "star": 1.4}.get(
        name, 1.25
    )
    radius = min(height, width) * rng.uniform(0.2, 0.315) * growth
    x = np.arange(width) + 0.5 - width * rng.uniform(0.08, 0.92)
    y = np.arange(height)[:, None] + 0.5 - height * rng.uniform(0.08, 0.92)
    thin = rng.uniform(0.42, 0.52)  # a ring's hole, a star's inner corners, a cross's arms
    turn = radius * np.exp(1j * rng.uniform(0, 2 * np.pi))
    if name == "circle":
        return np.hypot(x, y) - radius, np.pi * radius**2
    if name == "ring":
        middle, half = radius * (1 + thin) / 2, radius * (1 - thin) / 2
        return np.abs(np.hypot(x, y) - middle) - half, 4 * np.pi * middle * half
    if name == "cross":
        arm = thin * 0.75
        quarter = np.array([1 - 1j * arm, 1 + 1j * arm, arm + 1j * arm])
        corners = np.concatenate([quarter * 1j**k for k in range(4)])
    else:
        count = {"square": 4, "triangle": 3, "star": 10}[name]
        corners = np.exp(2j * np.pi * np.arange(count) / count)
        if name == "star":
            corners[1::2] *= thin
    corners = corners * turn
    point = x + 1j * y
    nearest, winding = np.full(point.shape, np.inf), np.zeros(point.shape)
    for start, end in zip(corners, np.roll(corners, -1), strict=True):
        edge, offset = end - start, point - start
        along = np.clip((offset * edge.conjugate()).real / abs(edge) ** 2, 0, 1)
        nearest = np.minimum(nearest, np.abs(offset - along * edge))
        winding += np.angle((end - point) * offset.conjugate() * -1)
    area = 0.5 * float((corners.conj() * np.roll(corners, -1)).imag.sum())
    return np.where(np.abs(winding) > np.pi, -nearest, nearest), area


def _ground(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return ``(H, W, 3)`` colours of a background: clouds, broad waves or a slope."""
    clouds, across = _clouds(rng, height, width), _across(rng, height, width)
    kind = rng.integers(3)
    if kind == 0:
        field = 0.6 * clouds
    elif kind == 1:
        field = np.tanh(2 * np.sin(2 * np.pi * across / rng.uniform(25, 60) + 0.5 * clouds))
    else:
        field = 2.5 * (across - across.mean()) / np.hypot(height, width) + 0.25 * clouds
    return _coloured(rng, field, rng.uniform(6, 22), GROUND_VIVIDNESS)


def _surface(rng: np.random.Generator, label: int, height: int, width: int) -> Floats:
    """Return ``(H, W, 3)`` colours of an object: its class's pattern, rotated and scaled."""
    angle, period = rng.uniform(-0.4, 0.4), rng.uniform(6, 8)
    u, v = (
        2 * np.pi * _across(rng, height, width, turn) / period for turn in (angle, angle + 1.57)
    )
    field = {
        "circle": np.tanh(3 * (np.cos(u) + np.cos(v) - 0.7)),  # dots
        "square": np.tanh(3 * np.sin(u) * np.sin(v)),  # a chequerboard
        "triangle": np.tanh(2.5 * np.sin(u)),  # stripes
        "ring": 0.4 * _clouds(rng, height, width),  # smooth
        "star": np.repeat(np.repeat(rng.normal(size=(height, width)), 2, 0), 2, 1)[:height, :width],
        "cross": np.tanh(4 * (np.maximum(np.cos(u), np.cos(v)) - 0.75)),  # a grid of lines
    }[SYNTHETIC_CLASSES[label]]
    return _coloured(rng, field, rng.uniform(30, 45), OBJECT_VIVIDNESS)


def _clouds(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return smooth noise ``(H, W)`` of three octaves, about -2..2."""
    clouds = np.zeros((height, width))
    size = rng.uniform(20, 60)
    for octave in range(3):
        cell = size / 2**octave
        coarse = rng.normal(size=(int(height / cell) + 2, int(width / cell) + 2))
        smooth = Image.fromarray(coarse.astype(np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        clouds += np.asarray(smooth, np.float64) * 0.5**octave
    return clouds


def _across(
    rng: np.random.Generator, height: int, width: int, angle: float | None = None
) -> Floats:
    """Return how far each pixel ``(H, W)`` lies along a direction, from a random origin."""
    angle = rng.uniform(0, 2 * np.pi) if angle is None else angle
    x, y = np.arange(width), np.arange(height)[:, None]
    distance: Floats = x * np.cos(angle) + y * np.sin(angle) + rng.uniform(0, 60)
    return distance


def _coloured(rng: np.random.Generator, field: Floats, contrast: float, vividness: float) -> Floats:
    """Spread a field ``(H, W)`` between two random tones: ``(H, W, 3)``, about 0..255."""
    direction = 1 + rng.normal(0, 0.4, 3)  # mostly light and shade
    colours = rng.uniform(60, 195, 3) + field[..., None] * direction * contrast
    grey: Floats = colours.mean(2, keepdims=True)
    return grey + (colours - grey) * vividness
