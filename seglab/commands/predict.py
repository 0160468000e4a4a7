"""``seglab predict``: class maps of photographs, as palette PNGs and to look at."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from seglab.config.compose import compose_own, override_stored
from seglab.errors import ConfigError, DataError, RunError
from seglab.schema import PredictConfig
from seglab.text import print_plain


def main(overrides: list[str]) -> Path:
    """Write ``output/ID.png`` and ``output/overlays/ID.png`` for each image of ``input``.

    A model of objects also writes ``output/instances/ID.png`` and ``output/instances.json``.

    The model runs with the precision and the threads of its own validation, and on a CPU with one
    image per forward pass, so that class maps of a data set's images are those that its metrics
    were computed from, to the bit.

    Files that cannot be read are listed after the others have been predicted.

    Raises:
        SeglabError: says which key or file is wrong, and what would be right.
    """
    composed, rest = compose_own("predict", PredictConfig, overrides)
    output = Path(composed.config.output)
    _check_output(output, Path(composed.config.input))
    # Here, because torch takes seconds to import, and a wrong key should be answered at once.
    from torch.utils.data import DataLoader

    from seglab.callbacks.mishaps import Mishaps
    from seglab.callbacks.predictions import WritePredictions
    from seglab.callbacks.progress import PredictionProgress
    from seglab.config.trust import received_config
    from seglab.data.images import ImageBatches, find_images
    from seglab.loggers.track import track
    from seglab.loggers.wandb.artifacts import local_checkpoint
    from seglab.runs.checkpoints import load_weights, read_checkpoint, stored_config
    from seglab.runtime.launch import ranks
    from seglab.runtime.process import prepare
    from seglab.session import build_trainer, interruptible
    from seglab.tasks.factories import build_task

    console = Console()
    path = local_checkpoint(composed.config.checkpoint)
    checkpoint = read_checkpoint(path)
    stored = received_config(stored_config(checkpoint), path, composed.config.trust)
    config = override_stored(stored, rest)
    if ranks(config.trainer) > 1:
        raise ConfigError(
            f"trainer.devices={config.trainer.devices}: predict runs in one process; must be 1"
        )
    config.trainer.threads = prepare(config.trainer.threads)
    tracking = track(config, "predict", rest, console)
    images = find_images(Path(composed.config.input))
    batches = ImageBatches(images, config.data.eval_batch_size)
    if not batches.readable:
        _report(batches.unreadable, len(images), console)
    loader = DataLoader(batches, batch_size=None, num_workers=config.data.num_workers)
    task = build_task(config)
    load_weights(task, checkpoint, path)
    writing = WritePredictions(output, task.classes)
    progress = PredictionProgress(console, batches.readable)
    tracking.prepare(output, task.classes, batches.readable)
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
        unreadable = batches.unreadable + writing.unreadable
        print_plain(
            f"{len(images) - len(unreadable)} class maps in {output}, "
            f"overlays in {writing.overlays}, "
            + (f"objects in {output / 'instances.json'}, " if task.detections is not None else "")
            + f"{time.perf_counter() - start:.1f} s",
            console,
        )
        if unreadable:  # within the block, so that W&B marks the run as failed too
            _report(unreadable, len(images), console)
    return output


def _check_output(output: Path, source: Path) -> None:
    """Check that class maps and overlays can be written, and that no photograph is in their way.

    Raises:
        ConfigError: a file is where a folder is needed, or the output contains a photograph.
        RunError: a symbolic link inside the output.
    """
    for folder in (output, *output.parents):
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"output={output}: {folder} is a file, not a folder")
    for part in (output / "overlays", output / "instances", output / "wandb"):
        if part.is_symlink():
            raise RunError(f"{part}: refused: a symbolic link; no output goes through one")
        if part.exists() and not part.is_dir():
            raise ConfigError(f"output={output}: {part} is a file, not a folder")
    if not output.is_dir() or not source.exists():
        return
    files = [source] if source.is_file() else [path for path in source.iterdir() if path.is_file()]
    # Of a link, both places: prediction would replace the link, or the photograph behind it.
    folders = {place for path in files for place in (path.parent.resolve(), path.resolve().parent)}
    for folder in sorted({source.resolve(), *folders} if source.is_dir() else folders):
        if any(parent.samefile(output) for parent in (folder, *folder.parents)):
            raise ConfigError(
                f"output={output}: contains photographs of input={source}, which class maps could "
                "overwrite; give another folder"
            )


def _report(unreadable: list[str], total: int, console: Console) -> NoReturn:
    """List the files that could not be read.

    Raises:
        DataError: always.
    """
    if total == 1:
        raise DataError(unreadable[0])
    for reason in unreadable:
        print_plain(reason, console)
    raise DataError(f"{len(unreadable)} of {total} images could not be read, listed above")
