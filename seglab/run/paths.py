"""The names of a run folder's files: literals here, and nowhere else in seglab.

Paths are relative to the run folder; checkpoints to its :data:`CHECKPOINTS`. What a sweep adds is
named in ``seglab.sweep.jobs``, what ``seglab predict`` writes in ``seglab.drawing``.
"""

from __future__ import annotations

from pathlib import Path

LOCK = ".lock"
"""Held by the process that works on the run."""

STATUS = "status.json"

SETTINGS, OVERRIDES = Path(".hydra/config.yaml"), Path(".hydra/overrides.yaml")
"""The resolved configuration, and what the command line gave."""

ARTIFACT = "wandb:"
"""What the key ``checkpoint`` starts with if it names a W&B artifact rather than a file."""

HISTORY, METRICS = "metrics.csv", "metrics.json"
"""One row per step, and the final metrics."""

CHECKPOINTS = "checkpoints"

LAST, PREVIOUS, DAMAGED = "last.ckpt", "previous.ckpt", "damaged.ckpt"
"""The newest checkpoint, the one before it, and a damaged ``last.ckpt``, set aside on resume."""

BEST = "best.ckpt"
"""That of the epoch with the highest mIoU."""

PREDICTIONS = "predictions"

SPLITS = "splits"
"""The folder of the lists of a data set that the run divided."""

CODE = "code"
"""The folder of the user's own modules that a run was trained with; nothing is imported from it."""

EVALUATION = "evaluation.npz"

FIXED, WORST = Path("samples/fixed"), Path("samples/worst")

BAD_BATCH, FACTS = "bad_batch", "facts.json"
"""The folder of the batch that a run stopped at, and what is known of it."""

REPORT = "report.html"

OBJECTIVES = "objectives.json"
"""What a search optimises, each with its direction; beside the folders of its runs."""

PRUNE = "prune.txt"
"""Why a search stops the run; the run saves and stops when it finds the file."""

LOG = "log.txt"
"""What a job of a sweep printed."""

WRITTEN = (
    Path(),
    SETTINGS.parent,
    *map(Path, (CHECKPOINTS, PREDICTIONS, SPLITS, CODE, BAD_BATCH)),
    *(FIXED, WORST),
)
"""The folders in which a run writes files, each whole or not at all."""

SIGNS = {STATUS, METRICS, HISTORY, SETTINGS.parent.name}
"""A folder that contains one of these is a run folder."""
