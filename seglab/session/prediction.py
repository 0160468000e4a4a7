"""Prediction of photographs without truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.utils.data import DataLoader

from seglab.callbacks.failures import Failures
from seglab.callbacks.predictions import WritePredictions
from seglab.callbacks.progress import Progress
from seglab.data.images import ImageBatches, ImagesAhead
from seglab.runtime.process import computing
from seglab.session.session import ACTIVITY, Session


def predict(
    session: Session,
    batches: ImageBatches,
    own: Mapping[str, Any],
    report: Callable[[WritePredictions], None],
    overlays: bool = True,
) -> None:
    """Write the class maps of photographs into the folder.

    Photographs are decoded and predictions written a few at a time, on all cores.

    Args:
        batches: the photographs.
        own: the command's own settings, which are recorded too.
        report: called at the end; an error that it raises marks the W&B run as failed.
        overlays: whether to draw overlays.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
    """
    with computing(session.threads):
        workers = session.config.data.num_workers
        loader: Iterable[Any] = ImagesAhead(batches)
        if workers:
            loader = DataLoader(batches, batch_size=None, num_workers=workers)
        writing = WritePredictions(session.folder, session.task.classes, overlays)
        session.tracking.prepare(session.folder, session.task.classes, batches.readable)
        failures = Failures(session.config, ACTIVITY[session.kind])
        progress = Progress(session.console, "predicting", batches.readable)
        trainer = session.trainer([failures, writing, progress])
        shapes = {path.name: size for path, size in batches.sizes.items()}
        session.check_memory(trainer, shapes)
        with writing, session.running(trainer, failures, {}, own):
            trainer.predict(session.task, loader, return_predictions=False, weights_only=True)
            session.tracking.results({})
            report(writing)
