"""Checkpoints as W&B model artifacts: uploaded after a run, downloaded to evaluate and predict."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seglab.errors import ConfigError, RunError, one_line
from seglab.loggers.wandb.connection import KEY_HINT, missing_key
from seglab.run.paths import ARTIFACT, BEST, LAST
from seglab.runtime.private_folders import cache_folder

if TYPE_CHECKING:
    from wandb.sdk.artifacts.artifact import Artifact
    from wandb.sdk.wandb_run import Run


def upload_checkpoints(
    run: Run, name: str, folder: Path, last: Mapping[str, Any], best: Mapping[str, Any]
) -> Artifact:
    """Log ``last.ckpt`` and ``best.ckpt`` as versions of one artifact; return that of the best.

    Where only the last one was kept, it is not called the best.

    Args:
        run: the W&B run that wrote them.
        name: of the artifact; letters, digits, ``-``, ``_`` and ``.``.
        folder: contains the checkpoints.
        last, best: their metadata, such as epoch and mIoU.
    """
    import wandb

    paths = folder / BEST, folder / LAST
    versions = [(paths[0], ["best"], best), (paths[1], ["last"], last)]
    if not paths[0].is_file():
        versions = versions[1:]
    elif filecmp.cmp(*paths, shallow=False):
        versions = [(paths[1], ["best", "last"], last)]
    logged = []
    for path, aliases, metadata in versions:
        artifact = wandb.Artifact(name, type="model", metadata=dict(metadata))
        # The file stays in the run folder; a copy would only waste space.
        artifact.add_file(str(path), name="model.ckpt", policy="immutable")
        logged.append(run.log_artifact(artifact, aliases=aliases))
    return logged[0]


def local_checkpoint(reference: str) -> Path:
    """Return the path of a checkpoint: ``reference`` itself, or its downloaded artifact.

    Args:
        reference: a file, or ``wandb:ENTITY/PROJECT/ARTIFACT:ALIAS``. An artifact is downloaded
            once and cached by its digest in the user's cache folder.

    Raises:
        ConfigError: not of this form, or no key for the server.
        RunError: no such artifact, or one without a checkpoint.
    """
    if not reference.startswith(ARTIFACT):
        return Path(reference)
    name = reference.removeprefix(ARTIFACT)
    if not re.fullmatch(r"[^/:\s]+/[^/:\s]+/[^/:\s]+:[^/:\s]+", name):
        raise ConfigError(
            f"checkpoint={reference}: must be wandb:ENTITY/PROJECT/ARTIFACT:ALIAS, where ALIAS is "
            "best, last or a version such as v0"
        )
    if missing := missing_key():
        raise ConfigError(f"checkpoint={reference}: {missing}: {KEY_HINT}")
    import wandb

    try:
        artifact = wandb.Api(timeout=30).artifact(name, type="model")
        folder = cache_folder() / "artifacts" / artifact.digest
        found = sorted(Path(artifact.download(root=str(folder))).glob("*.ckpt"))
    except Exception as error:  # the client has no common base class for server and network errors
        raise RunError(f"checkpoint={reference}: cannot be loaded: {one_line(error)}") from None
    if len(found) != 1:
        raise RunError(f"checkpoint={reference}: holds {len(found)} .ckpt files; must be one")
    return found[0]
