"""``seglab evaluate``: the metrics of a checkpoint on a split, with an interval."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console

from seglab.config import compose_own, override_stored
from seglab.run import Run, check_folder
from seglab.schema import EvaluateConfig


def main(overrides: list[str]) -> dict[str, float]:
    """Evaluate ``checkpoint=FILE`` on ``split=val`` and write ``metrics.json`` into a run folder.

    The checkpoint's own configuration is the base: what the run was trained and validated with.

    Raises:
        SeglabError: says which key or file is wrong, and what would be right.
    """
    composed, rest = compose_own("evaluate", EvaluateConfig, overrides)
    check_folder(composed.folder, resume=False)
    # Here, because torch takes seconds to import, and a wrong key should be answered at once.
    from seglab.checkpoints import load_weights, read_checkpoint, stored_config
    from seglab.data.datamodule import VOCDataModule
    from seglab.job import build_trainer, interruptible
    from seglab.process import prepare
    from seglab.report import reported
    from seglab.tasks.build import build_task
    from seglab.tracking.predictions import PredictionPictures
    from seglab.tracking.progress import Checking, EvaluationProgress
    from seglab.tracking.samples import KeepEvaluation, KeepSamples
    from seglab.tracking.tables import show_metrics, show_paths
    from seglab.tracking.track import track
    from seglab.tracking.wandb.artifacts import local_checkpoint

    console = Console()
    path = local_checkpoint(composed.config.checkpoint)
    checkpoint = read_checkpoint(path)
    stored = stored_config(checkpoint)
    stored["trainer"]["limit_val_batches"] = None  # a run may have looked at a part of the split
    config = override_stored(stored, rest)
    config.trainer.threads = prepare(config.trainer.threads)
    tracking = track(config, "evaluate", rest, console)
    instances = config.model.task == "instance"
    data = VOCDataModule(config.data, config.seed, Checking(console), instances=instances)
    split = composed.config.split
    samples = data.split(split)
    task = build_task(config)
    task.metrics.per_image = True
    load_weights(task, checkpoint, path)

    tracking.prepare(composed.folder, task.classes, len(samples))
    run = Run(composed.folder, {**asdict(config), **composed.plain}, overrides, resume=False)
    pictures = PredictionPictures(
        run.predictions, task.classes, len(samples), config.pictures.samples, every_n_epochs=0
    )
    keep = KeepSamples(run.folder, samples.ids, task.classes, config.pictures.samples)
    callbacks = [pictures, KeepEvaluation(keep), EvaluationProgress(console), *tracking.callbacks]
    trainer = build_trainer(config.trainer, composed.folder, callbacks)
    data.config.val_split = split
    logged = tracking.run(trainer, task.net, {split: samples}, composed.plain)
    with reported(run, console), logged, interruptible(trainer):
        trainer.validate(task, data, verbose=False, weights_only=True)
        run.write_metrics(task.scores)
        tracking.results(task.scores)
    show_metrics(task.scores, console)
    show_paths(composed.folder, sorted(pictures.written), console)
    return task.scores
