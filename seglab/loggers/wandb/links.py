"""What a W&B run is linked to: its data, the checkpoint that it came from, a registry; alerts.

Links need the server, and are made at the end of a run. What a run that is logged offline would be
linked to is in its configuration: ``data.fingerprint.*`` and ``parent.*``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seglab.errors import DivergedError, one_line
from seglab.loggers.wandb.session import RUN_FOLDER
from seglab.run.paths import ARTIFACT

if TYPE_CHECKING:
    from wandb.sdk.artifacts.artifact import Artifact
    from wandb.sdk.wandb_run import Run


def parent(checkpoint: str | None) -> dict[str, str]:
    """Return which checkpoint a run evaluates or was fine-tuned from, and that one's W&B run.

    Args:
        checkpoint: a file, or an artifact as ``wandb:…``; anything else is no parent.
    """
    if checkpoint is None or not (checkpoint.startswith(ARTIFACT) or Path(checkpoint).is_file()):
        return {}
    folders = sorted((Path(checkpoint).parent.parent / "wandb").glob("*run-*"))
    ids = [named[1] for folder in folders if (named := RUN_FOLDER.fullmatch(folder.name))]
    return {"parent.checkpoint": checkpoint, **({"parent.run": ids[-1]} if ids else {})}


def link_inputs(
    run: Run, name: str, fingerprints: Mapping[str, str], checkpoint: str | None
) -> None:
    """Link a run to its data and, if that is an artifact, to its parent checkpoint.

    Args:
        run: a run that is logged online.
        name: of the data set.
        fingerprints: of each used split.
        checkpoint: as :func:`parent` takes it.
    """
    run.use_artifact(data_artifact(name, fingerprints))
    if checkpoint is not None and checkpoint.startswith(ARTIFACT):
        run.use_artifact(checkpoint.removeprefix(ARTIFACT))


def data_artifact(name: str, fingerprints: Mapping[str, str]) -> Artifact:
    """Return an artifact that stands for a data set: its fingerprints, and none of its files.

    The same data are the same version of it, on whatever machine they are.
    """
    import wandb

    kept = re.sub(r"[^\w.-]+", "-", f"data-{name}")
    artifact = wandb.Artifact(kept, type="dataset", metadata={"fingerprint": dict(fingerprints)})
    with artifact.new_file("fingerprint.json") as file:
        json.dump(dict(fingerprints), file, sort_keys=True)
    return artifact


def alert(run: Run, error: BaseException) -> None:
    """Tell those who have asked W&B for it that a run has failed."""
    diverged = isinstance(error, DivergedError)
    title = f"{run.name}: {'the loss is not finite' if diverged else 'failed'}"
    text = one_line(error)
    run.alert(title, text, "ERROR")


def link_best(run: Run, best: Any, registry: str) -> None:
    """Link the best checkpoint to a collection of a registry."""
    run.link_artifact(best, registry, aliases=["best"])
