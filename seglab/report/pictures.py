"""The samples of runs; a picture shared by several runs is embedded once."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seglab.report.record import UNREADABLE, RunRecord
from seglab.run.evaluation import sample_files
from seglab.run.paths import FIXED, WORST

PNG = b"\x89PNG"

BUDGET = 6_000_000
"""Bytes of pictures in a page: with their encoding and the curves of 500 runs less than 15 MB."""


class Pictures:
    """Collects picture files without duplicates, up to a budget in bytes."""

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.places: dict[bytes, int] = {}

    def add(self, paths: Sequence[Path]) -> list[int] | None:
        """Return the indices of a sample's pictures in :meth:`uris`; None beyond the budget."""
        contents = [path.read_bytes() for path in paths]
        size = sum(map(len, {*contents} - self.places.keys()))
        if size > self.left:
            return None
        self.left -= size
        return [self.places.setdefault(content, len(self.places)) for content in contents]

    def uris(self) -> list[str]:
        """Return the pictures as data URIs."""
        return [
            f"data:image/{'png' if content.startswith(PNG) else 'jpeg'};base64,"
            + base64.b64encode(content).decode()
            for content in self.places
        ]


def samples(
    runs: Sequence[RunRecord], budget: int = BUDGET
) -> tuple[list[dict[str, Any]], list[str], int]:
    """Gather the fixed samples of all runs, then the worst ones, until the page is full.

    Returns:
        For each run ``{"fixed": […], "worst": […]}`` of samples ``{"id", "miou", "at"}``, the worst
        first, where ``at`` has the indices of image, truth and prediction in the data URIs; the
        data URIs; and the number of samples beyond the budget.
    """
    pictures = Pictures(budget)
    left_out = 0
    result: list[dict[str, Any]] = [{"fixed": [], "worst": []} for _ in runs]
    for kind, where in (("fixed", FIXED), ("worst", WORST)):
        for run, entry in zip(runs, result, strict=True):
            if run.state == UNREADABLE:  # its folder may contain links
                continue
            mious = run.evaluation.mious() if run.evaluation else {}
            mious = {name.replace("/", "_"): value for name, value in mious.items()}
            kept: list[dict[str, Any]] = []
            for photo in sorted((run.folder / where).glob("*.jpg")):
                files = sample_files(run.folder / where, photo.stem)
                if not all(path.is_file() for path in files):
                    continue  # the run was killed between two files
                at = None if left_out else pictures.add(files)
                left_out += at is None
                if at is not None:
                    kept.append({"id": photo.stem, "miou": mious.get(photo.stem), "at": at})
            entry[kind] = sorted(kept, key=lambda sample: (_order(sample["miou"]), sample["id"]))
    return result, pictures.uris(), left_out


def _order(value: float | None) -> float:
    return math.inf if value is None or math.isnan(value) else value
