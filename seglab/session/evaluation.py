"""Evaluation of a checkpoint on a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from seglab.callbacks.failures import Failures
from seglab.callbacks.progress import Progress
from seglab.data.store.digests import Record
from seglab.errors import ConfigError
from seglab.metrics.counts import unreliable
from seglab.printing import print_plain
from seglab.report import reported
from seglab.run.checkpoints import origin
from seglab.run.folder import Run
from seglab.run.identity import code_digest
from seglab.runtime.environment import environment
from seglab.runtime.process import computing
from seglab.session.session import ACTIVITY, Session
from seglab.tasks.batches import check_limits


class EvaluationResult(NamedTuple):
    """The result of an evaluation: scores, pictures, and whether the interval is unreliable."""

    scores: dict[str, float]
    pictures: list[Path]
    unreliable: bool


def validate(
    session: Session, checkpoint: dict[str, Any], path: Path, own: Mapping[str, Any]
) -> EvaluationResult:
    """Measure a checkpoint on the split.

    Args:
        checkpoint: from :func:`seglab.run.checkpoints.read_checkpoint`.
        path: of its file.
        own: the command's own settings, which are recorded too.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
    """
    with computing(session.threads):
        _ = session.tracking
        record = session.data.record(session.split)
        logged = {**own, **session.weigh_classes()}
        config = session.config
        _check_division(session, origin(checkpoint, path)["data"].get(session.named_split), record)
        for line in check_limits(config, session.data, session.split):
            print_plain(f"warning: {line}", session.console)
        for line in session.data.storage():
            print_plain(line, session.console)
        session.load(checkpoint, path)
        digests = {"val": record.identity, **code_digest(config)}
        facts = {"data": digests, "checkpoint": origin(checkpoint, path)}
        settings = {**asdict(config), **own}
        run = Run(session.folder, settings, session.overrides, resume=False, facts=facts)
        failures = Failures(config, ACTIVITY[session.kind])
        pictures, watching = session.watching(run, every_n_epochs=0)
        progress = Progress(session.console, "evaluating", len(session.data.split(session.split)))
        trainer = session.trainer([failures, watching, progress])
        run.facts["environment"] = environment(trainer.strategy.root_device)
        session.check_memory(trainer, session.sizes(session.split))
        with (
            reported(run, session.console),
            session.running(trainer, failures, {session.split: record}, logged),
        ):
            trainer.validate(session.task, session.data, verbose=False, weights_only=True)
            run.write_metrics(session.task.scores)
            session.tracking.results(session.task.scores)
        assert session.task.evaluation is not None, "a validation was completed"
        doubtful = unreliable(session.task.evaluation.counts.numpy())
        return EvaluationResult(session.task.scores, sorted(pictures.written), doubtful)


def _check_division(session: Session, recorded: str | None, record: Record) -> None:
    """Check that a part of divided data is the same as in training.

    Raises:
        ConfigError: it differs, and no list of the training images exists.
    """
    data = session.config.data
    if data.val_fraction is None or recorded in (None, record.identity):
        return
    changed = f"data.root={data.root}: the data has changed since training"
    if data.splits is None:
        raise ConfigError(
            f"{changed}, so that data.val_fraction divides it differently; give "
            "data.splits=DIR, the splits/ of the run folder"
        )
    print_plain(f"warning: {changed}; the images are those of {data.splits}", session.console)
