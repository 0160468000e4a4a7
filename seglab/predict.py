"""``seglab predict``: class maps of photographs, as palette PNGs and to look at."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from seglab.config import compose_own, override_stored
from seglab.errors import RunError
from seglab.schema import PredictConfig


def main(overrides: list[str]) -> Path:
    """Write ``output/ID.png`` and ``output/overlays/ID.png`` for each image of ``input``.

    A model of objects also writes ``output/instances/ID.png`` and ``output/instances.json``.

    The model runs with the precision and the threads of its own validation, and on a CPU with one
    image per forward pass, so that class maps of a data set's images are those that its metrics
    were computed from, to the bit.

    Raises:
        SeglabError: says which key or file is wrong, and what would be right.
    """
    composed, rest = compose_own("predict", PredictConfig, overrides)
    output = Path(composed.config.output)
    # Here, because torch takes seconds to import, and a wrong key should be answered at once.
    from torch.utils.data import DataLoader

    from seglab.checkpoints import load_weights, read_checkpoint, stored_config
    from seglab.data.images import ImageBatches, find_images
    from seglab.job import build_trainer, interruptible
    from seglab.mishaps import Mishaps
    from seglab.process import prepare
    from seglab.tasks.build import build_task
    from seglab.tracking.predictions import WritePredictions
    from seglab.tracking.progress import PredictionProgress
    from seglab.tracking.track import track
    from seglab.tracking.wandb.artifacts import local_checkpoint
    from seglab.trust import received_config

    console = Console()
    path = local_checkpoint(composed.config.checkpoint)
    checkpoint = read_checkpoint(path)
    stored = received_config(stored_config(checkpoint), path, composed.config.trust)
    stored["trainer"]["devices"] = 1  # one process writes the files
    stored["logger"] = {"name": "csv"}  # to W&B only what this command line says: logger=wandb
    config = override_stored(stored, rest)
    config.trainer.threads = prepare(config.trainer.threads)
    tracking = track(config, "predict", rest, console)
    images = find_images(Path(composed.config.input))
    batches = ImageBatches(images, config.data.eval_batch_size)
    loader = DataLoader(batches, batch_size=None, num_workers=config.data.num_workers)
    task = build_task(config)
    load_weights(task, checkpoint, path)
    writing = WritePredictions(output, task.classes)
    progress = PredictionProgress(console, len(images))
    tracking.prepare(output, task.classes, len(images))
    mishaps = Mishaps(config, "prediction")
    callbacks = [mishaps, writing, progress, *tracking.callbacks]
    trainer = build_trainer(config.trainer, output, callbacks)
    try:
        writing.overlays.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"output={output}: cannot be written: {error.strerror}") from None
    start = time.perf_counter()
    with tracking.run(trainer, task.net, {}, composed.plain), interruptible(trainer):
        with mishaps.explained():
            trainer.predict(task, loader, return_predictions=False, weights_only=True)
        tracking.results({})
    console.print(
        f"{len(images)} class maps in {output}, overlays in {writing.overlays}, "
        + (f"objects in {output / 'instances.json'}, " if task.detections is not None else "")
        + f"{time.perf_counter() - start:.1f} s",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    return output
