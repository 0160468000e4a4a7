"""The page of ``seglab data stats``: tables and pictures in one file, without any script."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from html import escape
from importlib import resources
from io import BytesIO

import numpy as np

from seglab.data.classes import palette
from seglab.data.stats import SplitStats, equal_images
from seglab.drawing.layout import fit
from seglab.drawing.pictures import overlay, viewable
from seglab.errors import DataError
from seglab.printing import encodable

EACH = 4
"""Pictures of each kind and split."""

MOST = 50
"""Rows of a table whose length follows from what is wrong."""

SIDE = 480
"""The longer side of a picture, in pixels."""


def render(name: str, splits: Sequence[SplitStats]) -> str:
    """Return the page of a data set as HTML, which needs no network."""
    static = resources.files("seglab.report") / "static"
    page = (static / "dataset.html").read_text(encoding="utf-8")
    parts = {
        "style": (static / "page.css").read_text(encoding="utf-8"),
        "title": _text(f"Data set {name}"),
        "body": "\n".join(_body(splits)),
    }
    for part, text in parts.items():
        page = page.replace(f"<!-- {part} -->", text)
    return page


def _body(splits: Sequence[SplitStats]) -> Iterator[str]:
    yield '<section class="cards">'
    for split in splits:
        yield _card(f"{len(split.samples):,}", f"images in {split.files.split}")
    if any(split.has_objects for split in splits):
        yield _card(f"{sum(int(split.objects.sum()) for split in splits):,}", "objects")
    yield _card(str(len(splits[0].files.classes)), "classes")
    problems = [line for split in splits for line in split.problems]
    yield _card(f"{len(problems):,}", "problems") + "</section>"
    if problems:
        yield "<section><h2>Problems</h2>"
        yield "<p class=faint>seglab data check lists more kinds of problems.</p>"
        yield from _table(["file"], [[line] for line in problems[:MOST]], len(problems))
        yield "</section>"
    yield "<section><h2>Classes</h2>"
    yield from _classes(splits)
    weights = ",".join(f"{weight:.2f}" for weight in splits[0].weights)
    yield (
        "<p>The weights are what <code>loss.class_weights=auto</code> computes from "
        f"{_text(splits[0].files.split)}: (median frequency / frequency) to the power 0.5.</p>"
        f"<pre>loss.class_weights=[{weights}]</pre></section>"
    )
    yield "<section><h2>Pictures</h2>"
    for split in splits:
        yield from _pictures(split)
    yield "</section><section><h2>Values in the masks</h2>"
    yield from _values(splits)
    yield "</section><section><h2>Sizes</h2>"
    sizes = sum((split.sizes for split in splits), Counter[str]()).most_common()
    rows = [[size, *(split.sizes[size] for split in splits)] for size, _ in sizes[:MOST]]
    yield from _table(["width x height", *(s.files.split for s in splits)], rows, len(sizes))
    yield "</section>"
    if pairs := equal_images(splits):
        yield f"<section><h2>Equal images</h2><p>{len(pairs):,} files are in two splits.</p>"
        yield from _table(["image", "is also"], pairs[:MOST], len(pairs))
        yield "</section>"


def _values(splits: Sequence[SplitStats]) -> Iterator[str]:
    heads = ["value", "class"]
    rows: dict[str, list[object]] = {}
    for number, split in enumerate(splits):
        heads += [f"{split.files.split}: pixels", "images"]
        for value, name, *counts in split.values():
            row = rows.setdefault(value, [value, name or "no class", *[0] * (2 * len(splits))])
            row[2 + 2 * number : 4 + 2 * number] = counts
    ordered = sorted(rows.values(), key=lambda row: row[1] != "no class")
    yield from _table(heads, ordered[:MOST], len(rows))


def _classes(splits: Sequence[SplitStats]) -> Iterator[str]:
    heads = ["class", "weight"]
    for split in splits:
        title = split.files.split
        heads += [f"{title}: pixels", "images", *(["objects"] if split.has_objects else [])]
    rows = []
    for label, name in enumerate(splits[0].files.classes):
        row: list[object] = [name, splits[0].weights[label]]
        for split in splits:
            pixels = split.pixels
            row.append(float(pixels[:, label].sum() / max(1, pixels.sum())))
            row.append(int((pixels[:, label] > 0).sum()))
            row += [int(split.objects[:, label].sum())] if split.has_objects else []
        rows.append(row)
    yield from _table(heads, rows, len(rows), shares=True)


def _pictures(split: SplitStats) -> Iterator[str]:
    """Yield the most crowded, the emptiest and the oddest samples."""
    what = "objects" if split.has_objects else "classes"
    kinds = (
        ("most crowded", "most " + what, split.crowds, True, f"{{:.0f}} {what}"),
        (
            "emptiest",
            f"the smallest share of pixels that are not {split.files.classes[0]}",
            split.foreground,
            False,
            "{:.2%}",
        ),
        (
            "oddest",
            "classes in shares least like those of the split: their Kullback-Leibler divergence",
            split.oddness,
            True,
            "{:.2f} bits",
        ),
    )
    for title, measure, numbers, largest, form in kinds:
        known = np.flatnonzero(np.isfinite(numbers))
        order = known[np.argsort(-numbers[known] if largest else numbers[known], kind="stable")]
        yield f"<h3>{_text(split.files.split)}, the {title}</h3>"
        yield f'<p class="faint">Measure: {_text(measure)}.</p><div class="pictures">'
        for index in order[:EACH].tolist():
            uri = _uri(split, index)
            name = _text(split.files.ids[index])
            picture = f'<img src="{uri}" alt="{name}">' if uri else "<p>cannot be shown</p>"
            caption = f"{name} · {form.format(numbers[index])}"
            yield f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"
        yield "</div>"


def _uri(split: SplitStats, index: int) -> str:
    """Return an image as a data URI, with its class map over it if it fits; empty if unreadable."""
    files = split.files
    try:
        image = viewable(files.read_image(index)[0])
    except DataError:
        return ""
    with suppress(DataError):
        class_map = files.read_classes(index)[0]
        if class_map.shape == image.shape[:2]:
            image = np.asarray(overlay(image, class_map))
    picture = fit(image, photo=True)
    picture.thumbnail((SIDE, SIDE))
    file = BytesIO()
    picture.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _card(number: str, text: str) -> str:
    return f'<div class="card"><b>{_text(number)}</b><span>{_text(text)}</span></div>'


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    total: int,
    shares: bool = False,
) -> Iterator[str]:
    """Yield a table; with ``shares``, fractions are bars and rows have the colour of a class."""
    rows = list(rows)
    numbers = [isinstance(value, int | float) for value in rows[0]] if rows else []
    yield '<div class="scroll" tabindex="0"><table><thead><tr>'
    for head, number in zip(heads, numbers or [False] * len(heads), strict=True):
        yield f'<th scope="col"{_right(number)}>{_text(head)}</th>'
    yield "</tr></thead><tbody>"
    for place, (first, *others) in enumerate(rows):
        swatch = f'<i style="background: rgb{palette()[place]}"></i>' if shares else ""
        cells = [f'<th scope="row" class="swatch">{swatch}{_text(str(first))}</th>']
        for column, value in enumerate(others):
            if shares and column and isinstance(value, float):
                style = f' style="--part: {value:.2%}" class="number share"'
                cells.append(f"<td{style}>{value:.2%}</td>")
            else:
                text = f"{value:.2f}" if isinstance(value, float) else str(value)
                text = f"{value:,}" if isinstance(value, int) else text
                cells.append(f"<td{_right(isinstance(value, int | float))}>{_text(text)}</td>")
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"
    if total > len(rows):
        yield f'<p class="faint">and {total - len(rows):,} more</p>'


def _right(number: bool) -> str:
    return ' class="number"' if number else ""


def _text(text: str) -> str:
    return escape(encodable(text))
