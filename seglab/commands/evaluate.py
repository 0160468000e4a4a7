"""``seglab evaluate``: the metrics of a checkpoint on a split, with an interval."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from seglab.config.compose import Composed, check_root, compose_own, override_stored
from seglab.runs.run import Follower, Run, check_folder
from seglab.schema import EvaluateConfig, TrainConfig


def main(overrides: list[str]) -> dict[str, float]:
    """Evaluate ``checkpoint=FILE`` on ``split=val`` and write ``metrics.json`` into a run folder.

    The checkpoint's own configuration is the base: what the run was trained and validated with.

    Raises:
        SeglabError: says which key or file is wrong, and what would be right.
    """
    composed, rest = compose_own("evaluate", EvaluateConfig, overrides)
    check_folder(composed.folder, resume=False)
    check_root(rest)
    # Here, because torch takes seconds to import, and a wrong key should be answered at once.
    from seglab.commands.tables import show_metrics, show_paths
    from seglab.config.trust import check_received_list, received_config
    from seglab.loggers.wandb.artifacts import local_checkpoint
    from seglab.runs.checkpoints import read_checkpoint, stored_config
    from seglab.runtime.launch import run

    path = local_checkpoint(composed.config.checkpoint)
    stored = stored_config(read_checkpoint(path))
    stored = received_config(stored, path, composed.config.trust)
    stored["trainer"]["limit_val_batches"] = None  # a run may have looked at a part of the split
    config = override_stored(stored, rest)
    if not composed.config.trust:
        check_received_list(config.data, composed.config.split, path, rest)
    job = (config, path, composed, overrides, rest)
    scores: dict[str, float]
    scores, pictures, doubtful = run(measure, config.trainer, *job)
    console = Console()
    show_metrics(scores, console, doubtful)
    show_paths(composed.folder, pictures, console)
    return scores


def measure(
    config: TrainConfig,
    path: Path,
    composed: Composed[EvaluateConfig],
    overrides: list[str],
    rest: list[str],
    console: Console,
) -> tuple[dict[str, float], list[Path], bool]:
    """Measure a checkpoint, in each process of the job.

    Returns:
        The scores; the pictures; whether the interval is unreliable.

    Raises:
        SeglabError: says which key or file is wrong, and what would be right.
    """
    from seglab.callbacks.bars import Checking
    from seglab.callbacks.mishaps import Mishaps
    from seglab.callbacks.predictions import PredictionPictures
    from seglab.callbacks.progress import EvaluationProgress
    from seglab.callbacks.samples import KeepEvaluation, KeepSamples
    from seglab.data.datamodule import VOCDataModule
    from seglab.loggers.track import track
    from seglab.metrics.counts import unreliable
    from seglab.report import reported
    from seglab.runs.checkpoints import load_weights, origin, read_checkpoint
    from seglab.runtime.process import prepare, rank
    from seglab.session import build_trainer, interruptible
    from seglab.tasks.batches import check_limits
    from seglab.tasks.factories import build_task

    config.trainer.threads = prepare(config.trainer.threads)
    tracking = track(config, "evaluate", rest, console)
    instances = config.model.task == "instance"
    data = VOCDataModule(config.data, config.seed, Checking(console), instances=instances)
    split = config.data.split_name(composed.config.split)
    samples = data.split(split)
    check_limits(config, data, split)
    task = build_task(config)
    task.metrics.per_image = True
    checkpoint = read_checkpoint(path)
    load_weights(task, checkpoint, path)

    tracking.prepare(composed.folder, task.classes, len(samples))
    owner = Run if rank() == 0 else Follower
    settings = {**asdict(config), **composed.plain}
    facts = {
        "data": {"val": data.record(split).identity},
        "checkpoint": origin(checkpoint, path),
    }
    run = owner(composed.folder, settings, overrides, resume=False, facts=facts)
    pictures = PredictionPictures(
        run.predictions, task.classes, len(samples), config.pictures.samples, every_n_epochs=0
    )
    keep = KeepSamples(run.folder, samples.ids, task.classes, config.pictures.samples)
    mishaps = Mishaps(config, "evaluation")
    callbacks = [mishaps, pictures, KeepEvaluation(keep), EvaluationProgress(console)]
    callbacks += tracking.callbacks
    trainer = build_trainer(config.trainer, composed.folder, callbacks)
    data.config.val_split = split
    logged = tracking.run(trainer, task.net, {split: data.record(split)}, composed.plain)
    with reported(run, console), logged, interruptible(trainer):
        with mishaps.explained():
            trainer.validate(task, data, verbose=False, weights_only=True)
        run.write_metrics(task.scores)
        tracking.results(task.scores)
    assert task.evaluation is not None, "a validation was completed"
    doubtful = unreliable(task.evaluation.counts.numpy())
    return task.scores, sorted(pictures.written), doubtful
