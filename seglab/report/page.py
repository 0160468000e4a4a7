"""The page: one self-contained HTML file. A run's page is a comparison of one run.

The data are JSON in a non-executable element, and the page's scripts insert them with
``textContent`` only, so no name from a configuration or a data set can become markup. A content
security policy prevents the page from loading anything.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np

from seglab.data.classes import palette
from seglab.metrics.counts import UNRELIABLE
from seglab.printing import encodable
from seglab.report.comparison import Comparison, Pair
from seglab.report.curves import Curve, thin
from seglab.report.importance import MISSING
from seglab.report.pictures import samples
from seglab.report.record import RunRecord
from seglab.report.settings import setting
from seglab.report.table import p_text, repeated
from seglab.report.vega import bundle
from seglab.runtime.files import nan_to_null

SCRIPTS = (
    "dom",
    "table",
    "statistics",
    "plots",
    "curves",
    "charts",
    "sweep",
    "samples",
    "details",
    "main",
)

T = TypeVar("T")

RATE = "lr/"

POINTS = 25_000
"""Limit of points for all curves of one kind; the page draws fewer where they are many lines."""


def render(comparison: Comparison) -> str:
    """Return the page of a comparison."""
    static = files("seglab.report") / "static"
    read = {
        name: (static / name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", *(f"{name}.js" for name in SCRIPTS))
    }
    script = "\n".join(read[f"{name}.js"] for name in SCRIPTS)
    parts = {
        "title": html.escape(encodable(title(comparison))),
        "style": read["page.css"],
        "library": bundle(),
        "script": f'(() => {{\n"use strict";\n{script}\n}})();',
        "data": embedded(payload(comparison)),
    }
    page = read["page.html"]
    for name, text in parts.items():
        before, _, after = page.partition(f"<!-- {name} -->")
        page = before + text + after
    return page


def title(comparison: Comparison) -> str:
    """Return the title of the page and of the browser's tab."""
    runs = comparison.runs
    return f"Run {runs[0].name}" if len(runs) == 1 else f"Comparison of {len(runs)} runs"


def payload(comparison: Comparison) -> dict[str, Any]:
    """Return the content of a page as plain data."""
    runs = comparison.runs
    pictures, uris, left_out = samples(runs)
    rates, steps, common = equal_rates(runs), Steps(), common_settings(runs)
    front = {id(run) for run in comparison.front.runs} if comparison.front else set()
    places = {id(run): place for place, run in enumerate(runs)}
    most = max(50, min(2000, POINTS // len(runs)))
    content = {
        "title": title(comparison),
        "settings": common,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "columns": columns(runs),
        "differing": comparison.differing,
        "named": comparison.named,
        "colours": palette(),
        "runs": [
            {
                "name": run.name,
                "label": comparison.run_label(run),
                "folder": str(run.folder),
                "kind": run.kind,
                "state": run.state,
                "reason": run.reason,
                "started": run.started,
                "ended": run.ended,
                "metrics": run.metrics,
                "low": interval.low,
                "high": interval.high,
                "unreliable": interval.unreliable,
                "images": len(run.evaluation.ids) if run.evaluation else None,
                "differing": {key: setting(run, key) for key in comparison.differing},
                "settings": {k: setting(run, k) for k in run.settings if k not in common},
                "overrides": run.overrides,
                "curves": {
                    rates.get(name, name): steps.encode(thin(points, most))
                    for name, points in run.curves.items()
                    if rates.get(name, name).startswith(name)
                },
                "last": run.last_miou,
                "front": id(run) in front,
                "classes": classes(run),
                "confusion": run.evaluation.confusion.tolist() if run.evaluation else None,
                **shown,
            }
            for run, interval, shown in zip(runs, comparison.intervals, pictures, strict=True)
        ],
        "groups": [
            {
                "runs": [places[id(run)] for run in group.runs],
                "seeds": group.seeds,
                "mean": group.mean,
                "deviation": group.deviation,
                "low": group.interval.low,
                "high": group.interval.high,
                "unreliable": group.interval.unreliable,
                "label": comparison.group_label(group),
            }
            for group in comparison.groups
        ],
        "repeats": [repeated(repeat) for repeat in comparison.repeats],
        "pairs": _pairs(comparison.pairs, comparison.run_label),
        "groupPairs": _pairs(comparison.group_pairs, comparison.group_label),
        "objectives": list(comparison.front.objectives) if comparison.front else [],
        "forest": MISSING,
        "effects": None if comparison.effects is None else asdict(comparison.effects),
        "footnote": UNRELIABLE if comparison.unreliable else "",
        "uris": uris,
        "leftOut": left_out,
    }
    return {**content, "steps": list(steps.known)}


def _pairs(pairs: Sequence[Pair[T]], name: Callable[[T], str]) -> list[dict[str, Any]]:
    return [
        {
            "better": name(pair.better),
            "other": name(pair.other),
            "difference": pair.difference,
            "low": pair.interval.low,
            "high": pair.interval.high,
            "unreliable": pair.interval.unreliable,
            "p": p_text(pair.p_value),
            "images": pair.images,
        }
        for pair in pairs
    ]


def equal_rates(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Return the common name of learning rates that are equal in every run, for each of them."""
    alike: list[list[str]] = []
    for name in sorted({name for run in runs for name in run.curves if name.startswith(RATE)}):
        same = [names for names in alike if all(_equal(run, name, names[0]) for run in runs)]
        same[0].append(name) if same else alike.append([name])
    return {
        name: ", ".join([names[0], *(other.removeprefix(RATE) for other in names[1:])])
        for names in alike
        for name in names
    }


def _equal(run: RunRecord, one: str, other: str) -> bool:
    first, second = run.curves.get(one), run.curves.get(other)
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


class Steps:
    """Writes curves for a page: the steps of all curves once, the values with five digits."""

    def __init__(self) -> None:
        self.known: dict[tuple[float, ...], int] = {}

    def encode(self, points: Curve) -> dict[str, Any]:
        """Return the place of the steps among the known ones, and the values."""
        steps = tuple(points[:, 0].tolist())
        values = [float(f"{value:.5g}") for value in points[:, 1].tolist()]
        return {"steps": self.known.setdefault(steps, len(self.known)), "values": values}


def common_settings(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Return the settings that two runs or more have in common, as text."""
    first, *others = runs
    own = {"model.weights"}  # its text depends on the run
    return {
        key: setting(first, key)
        for key, value in first.settings.items()
        if others and key not in own
        if all(key in run.settings and run.settings[key] == value for run in others)
    }


def columns(runs: Iterable[RunRecord]) -> list[str]:
    """Return the metrics in the table of runs: all but those per class."""
    metrics = dict.fromkeys(name for run in runs for name in run.metrics)
    best = [name for name in metrics if name == "best/val/mIoU"]
    shown = [name for name in metrics if name.count("/") < 2]
    first = [name for name in shown if name.startswith("val/mask_AP")]
    elsewhere = {"val/mIoU", "val/mIoU_low", "val/mIoU_high", "best/epoch"}
    return [name for name in dict.fromkeys([*first, *shown, *best]) if name not in elsewhere]


def classes(run: RunRecord) -> list[str]:
    """Return the names of a run's classes, from its evaluation, settings or metrics."""
    if run.evaluation:
        return run.evaluation.classes
    given = run.settings.get("data.classes")
    if isinstance(given, list):
        return [str(name) for name in given]
    start = "val/IoU/"
    return [name.removeprefix(start) for name in run.metrics if name.startswith(start)]


def embedded(value: Any) -> str:
    """Return JSON that is safe inside a script element; NaN and infinity become null."""
    text = json.dumps(nan_to_null(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
