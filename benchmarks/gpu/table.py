"""Results as a table in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

HEAD = (
    "| line | way | images per second: median (lowest to highest) | against | peak memory, GiB |\n"
    "|---|---|---|---|---|"
)


def rows(line: str, result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the rows of a line: one for each way, or one that says why there is none."""
    for word in ("failed", "skipped"):
        if word in result:
            yield row(line, f"**{word}**: {result[word]}")
            return
    base = result.get("base")
    for way, notes in result.get("ways", {}).items():
        rates = sorted(note["rate"] for note in notes)
        spread = f"{statistics.median(rates):.1f} ({rates[0]:.1f} to {rates[-1]:.1f})"
        peaks = [note["peak_gib"] for note in notes if note["peak_gib"] is not None]
        peak = f"{max(peaks):.1f}" if peaks else ""
        yield row(line, way, spread, against(result["ways"], way, base), peak)
    if "outcome" in result:
        yield row(line, result["outcome"])


def against(ways: Mapping[str, Any], way: str, base: str | None) -> str:
    """Return the median over the rounds of a way's rate over that of the base, and its spread."""
    if base is None or way == base:
        return ""
    ratios = sorted(
        one["rate"] / other["rate"] for one, other in zip(ways[way], ways[base], strict=True)
    )
    return f"{statistics.median(ratios):.2f} x {base} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def row(*cells: str) -> str:
    """Return a row of five cells, the missing ones empty."""
    texts = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    return f"| {' | '.join([*texts, *[''] * (5 - len(texts))])} |"


def table(machine: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page: the machine, and the rows of all lines."""
    lines = [one for name, result in results.items() for one in rows(name, result)]
    return "\n".join([machine, "", HEAD, *lines, ""])
