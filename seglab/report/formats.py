"""A comparison as a table for papers, spreadsheets and programs. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from typing import Any

from seglab.metrics.counts import UNRELIABLE
from seglab.report.comparison import Comparison
from seglab.report.settings import setting
from seglab.report.table import between, kind, number, object_metrics, over_seeds
from seglab.run.status import FINISHED
from seglab.runtime.csv_cells import escape_cell
from seglab.runtime.files import nan_to_null


def rows(comparison: Comparison) -> list[list[str]]:
    """Return head and rows: the settings that differ, mIoU, its interval.

    Runs that differ only in their seed are one row, with mean, deviation and number of seeds.
    """
    keys = comparison.differing[: comparison.named]
    grouped = {id(run): group for group in comparison.groups for run in group.runs}
    if comparison.groups:
        keys = [key for key in keys if key != "seed"]
    objects = object_metrics(comparison)
    table = [["run", *keys, *objects, "val/mIoU", "95 % interval"]]
    done: set[int] = set()
    for run, interval in zip(comparison.runs, comparison.intervals, strict=True):
        group = grouped.get(id(run))
        settings = [setting(run, key) for key in keys]
        if group is not None:
            if id(group) not in done:
                done.add(id(group))
                score = f"{group.mean:.4f} ± {group.deviation:.4f}"
                precisions = [over_seeds(group, name) for name in objects]
                row = [f"{group.seeds} seeds", *settings, *precisions, score]
                table.append([*row, between(group.interval)])
            continue
        name = f"{run.name} ({kind(run)})" if kind(run) else run.name
        score = number(run.miou) if run.state == FINISHED else run.state
        precisions = [number(run.metrics.get(name, math.nan)) for name in objects]
        table.append([name, *settings, *precisions, score, between(interval)])
    return table


def markdown(comparison: Comparison) -> str:
    """Return a table of GitHub's Markdown."""
    head, *body = [[re.sub(r"([\\|])", r"\\\1", cell) for cell in row] for row in rows(comparison)]
    lines = [head, ["---"] * len(head), *body]
    table = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*table, *(["", rf"\{UNRELIABLE}"] if _is_starred(body) else [])])


def _is_starred(body: list[list[str]]) -> bool:
    return any(row[-1].endswith("*") for row in body)


def latex(comparison: Comparison) -> str:
    """Return a tabular of LaTeX, which needs the package booktabs."""
    head, *body = [[_escape(cell) for cell in row] for row in rows(comparison)]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{'l' * (len(head) - 2)}rr}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *(" & ".join(row) + r" \\" for row in body),
            r"\bottomrule",
            r"\end{tabular}",
            *(["", UNRELIABLE] if _is_starred(body) else []),
        ]
    )


_LATEX = {
    **{mark: rf"\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    "…": r"\ldots{}",
}


def _escape(text: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in text)


def spreadsheet(comparison: Comparison) -> str:
    """Return comma-separated values, of which a spreadsheet runs none."""
    file = io.StringIO(newline="")
    escaped = [[escape_cell(cell) for cell in row] for row in rows(comparison)]
    csv.writer(file, lineterminator="\n").writerows(escaped)
    return file.getvalue().rstrip("\n")


def objects(comparison: Comparison) -> str:
    """Return a JSON list with all settings and metrics of every run; NaN is null."""
    listed: list[dict[str, Any]] = [
        {
            "name": run.name,
            "folder": str(run.folder),
            "kind": run.kind,
            "status": run.state,
            "error": run.reason,
            "metrics": run.metrics,
            "interval": None if math.isnan(interval.low) else [interval.low, interval.high],
            "settings": run.settings,
            "data": run.data,
        }
        for run, interval in zip(comparison.runs, comparison.intervals, strict=True)
    ]
    return json.dumps(nan_to_null(listed), indent=2, allow_nan=False, default=str)


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": spreadsheet,
    "json": objects,
}
