"""The panels of a W&B project: what its saved view and its report show.

Seeds are bands: runs are grouped by ``recipe``, what they are named by without the seed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import wandb_workspaces.reports.v2 as reports

from seglab.loggers.wandb.facts import TUNED
from seglab.loggers.wandb.logger import STEP

COLUMNS = (
    "run:displayName",
    "config:recipe.value",
    "config:seed.value",
    "summary:val/mIoU.last",
    "summary:best/val/mIoU",
    "summary:val/loss.last",
    "config:code.value",
    "config:data.fingerprint.val.value",
    "run:state",
    "run:createdAt",
)
"""Of the runs table. Scores with different fingerprints cannot be compared."""

ORDER = "val/mIoU.last"

WIDE = 30
"""The factor between the highest and the lowest value from which on an axis is logarithmic."""

IMAGES = "predictions/"
"""Start of the keys of pictures with masks."""


def sections(keys: Iterable[str], tuned: Mapping[str, Collection[Any]]) -> dict[str, list[Any]]:
    """Return the panels of each section.

    Args:
        keys: that runs of the project have in their summary.
        tuned: the values of each entry of ``tuned`` in their configurations.
    """
    pictures = sorted(key for key in keys if key.startswith(IMAGES))
    return {
        "Results": [
            reports.BarPlot(
                title="val/mIoU of each recipe: mean over seeds, lowest to highest",
                metrics=["val/mIoU.last"],
                groupby=reports.Config("recipe"),
                groupby_aggfunc="mean",
                groupby_rangefunc="minmax",
            ),
            reports.ParallelCoordinatesPlot(
                title="What was tuned, and val/mIoU", columns=_axes(tuned)
            ),
            reports.RunComparer(diff_only="split"),
        ],
        "Curves": [
            _curve("val/mIoU"),
            _curve("val/loss"),
            _curve("train/loss", smoothing_type="exponential", smoothing_factor=0.6),
            _curve("learning rates", metric_regex="lr/.*"),
        ],
        "Classes": [
            _curve("IoU of each class", metric_regex="val/IoU/.*"),
            reports.CustomChart(
                query={"summaryTable": {"tableKey": "val/IoU_by_class_table"}},
                chart_name="wandb/bar/v0",
                chart_fields={"label": "class", "value": "IoU"},
                chart_strings={"title": "IoU of each class, at the end"},
            ),
        ],
        "Masks": [
            reports.MediaBrowser(
                title="Truth and prediction over the steps", media_keys=pictures, num_columns=3
            ),
            reports.WeavePanelSummaryTable(table_name="val/results"),
        ],
        "Machine": [_curve("speed/images_per_second"), _curve("gpu/peak_memory_gb")],
    }


def _curve(name: str, metric_regex: str | None = None, **options: Any) -> Any:
    """Return a plot over the steps, with the seeds of a recipe as a band around their mean."""
    return reports.LinePlot(
        title=name,
        x=STEP,
        y=[] if metric_regex else [name],
        metric_regex=metric_regex,
        groupby=reports.Config("recipe"),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        max_runs_to_show=50,
        **options,
    )


def _axes(tuned: Mapping[str, Collection[Any]]) -> list[Any]:
    """Return an axis per setting with several values, and one of mIoU."""
    column = reports.ParallelCoordinatesPlotColumn
    several = {name: values for name, values in tuned.items() if len(values) > 1}
    axes = [
        column(metric=reports.Config(f"tuned.{name}"), display_name=name, log=_is_wide(values))
        for name, values in (several or dict.fromkeys(BASIC, ())).items()
    ]
    return [*axes, column(metric=reports.SummaryMetric("best/val/mIoU"))]


BASIC = [key.rpartition(".")[2] for key in TUNED]


def _is_wide(values: Collection[Any]) -> bool:
    numbers = [value for value in values if type(value) in (int, float)]
    wide = len(numbers) == len(values) > 0 and 0 < WIDE * min(numbers) <= max(numbers)
    return bool(wide)
