"""The names in metrics.json, known before a run has any."""

from __future__ import annotations

from collections.abc import Sequence

from seglab.errors import ConfigError, options
from seglab.run.status import SPEED
from seglab.schema import TrainConfig

SEMANTIC = ("mIoU", "pixel_accuracy", "mean_accuracy", "fw_IoU")
INSTANCE = ("mask_AP", "mask_AP50")
BOUNDARY = "boundary_IoU"
INTERVAL = ("mIoU_low", "mIoU_high")

TAKEN = {"loss", *SEMANTIC, *INSTANCE, BOUNDARY, *INTERVAL}
"""Names of ``val/NAME`` that a metric of the user's own cannot have."""


def check_metrics(key: str, names: Sequence[str], config: TrainConfig) -> None:
    """Check that a run with this configuration will have these metrics.

    A metric of one's own, ``val/NAME``, may have more than one number: ``val/NAME…``.

    Raises:
        ConfigError: names the key and the nearest metrics.
    """
    known = metric_names(config)
    own = tuple(f"val/{name}" for name in config.metrics)
    for name in names:
        if name not in known and not name.startswith(own):
            raise ConfigError(f"{key}={name}: no run has this metric; {options(name, known)}")


def metric_names(config: TrainConfig) -> list[str]:
    """Return what seglab itself writes to metrics.json, and the speed in status.json."""
    classes = config.data.classes or []
    names = [
        *(f"val/{name}" for name in SEMANTIC),
        "train/loss",
        "best/val/mIoU",
        "best/epoch",
        SPEED,
    ]
    by_class = [f"val/IoU/{label}" for label in classes]
    if config.model.task == "instance":
        names += [f"val/{name}" for name in INSTANCE]
        by_class += [f"val/{name}/{label}" for name in INSTANCE for label in classes[1:]]
    else:
        names.append("val/loss")
    if config.evaluation.boundary:
        names.append(f"val/{BOUNDARY}")
        by_class += [f"val/{BOUNDARY}/{label}" for label in classes]
    return [*names, *by_class]
