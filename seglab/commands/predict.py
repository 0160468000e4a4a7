"""``seglab predict``: class maps of photographs, as palette PNGs and overlays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from seglab.config.compose import compose_own
from seglab.config.stored import check_checkpoint, override_stored
from seglab.drawing import INSTANCES, OBJECTS, OVERLAYS, PREDICT, PROBABILITIES
from seglab.errors import ConfigError, DataError, RunError
from seglab.printing import print_plain
from seglab.runtime.import_path import add_import_path
from seglab.runtime.import_torch import import_torch
from seglab.schema import PredictConfig


def main(overrides: list[str], *, probabilities: bool = False, no_overlays: bool = False) -> Path:
    """Write ``output/ID.png`` and ``output/overlays/ID.png`` for each image of ``input``.

    With ``probabilities`` also ``output/probabilities/ID.npz``, with ``no_overlays`` no overlays.

    An instance segmentation model also writes ``output/instances/ID.png`` and
    ``output/instances.json``.

    The model runs with the precision and threads of its validation, and on a CPU with one image per
    forward pass. So the class maps equal those that its metrics were computed from, bit for bit.

    Unreadable files are listed after the others have been predicted.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
    """
    composed, rest = compose_own("predict", PredictConfig, overrides)
    output = Path(composed.config.output)
    _check_output(output, Path(composed.config.input))
    check_checkpoint(composed.config.checkpoint)
    # Not before: it takes seconds, and a wrong key should fail at once.
    import_torch()
    from seglab.callbacks.predictions import WritePredictions
    from seglab.data.images import ImageBatches, find_images
    from seglab.data.pixels import PixelFormat
    from seglab.export.reading import received_model
    from seglab.loggers.wandb.artifacts import local_checkpoint
    from seglab.runtime.launch import ranks
    from seglab.session import Session, predict

    console = Console()
    if composed.config.trust:
        add_import_path(Path.cwd())
    path = local_checkpoint(composed.config.checkpoint)
    checkpoint, stored = received_model(path, composed.config.trust, rest)
    config = override_stored(stored, rest)
    kinds = {
        OVERLAYS: not no_overlays,
        PROBABILITIES: probabilities,
        INSTANCES: config.model.task == "instance",
    }
    _check_earlier(output, [kind for kind, now in kinds.items() if not now])
    if ranks(config.trainer) > 1:
        raise ConfigError(
            f"trainer.devices={config.trainer.devices}: predict runs in one process; must be 1"
        )
    images = find_images(Path(composed.config.input))
    batches = ImageBatches(images, config.data.eval_batch_size, PixelFormat.configured(config.data))
    if not batches.readable:
        _list_unreadable(batches.unreadable, len(images), console)
    start = time.perf_counter()

    def report(writing: WritePredictions) -> None:
        unreadable = batches.unreadable + writing.unreadable
        written, seconds = len(images) - len(unreadable), time.perf_counter() - start
        others = [f"overlays in {writing.overlays}, "] if writing.overlays else []
        others += [f"probabilities in {output / PROBABILITIES}, "] if probabilities else []
        objects = f"objects in {output / OBJECTS}, " if writing.objects.images else ""
        maps = "1 class map" if written == 1 else f"{written} class maps"
        print_plain(
            f"{maps} in {output}, {''.join(others)}{objects}{seconds:.1f} s, "
            f"{written / seconds:.3g} images/s",
            console,
        )
        if unreadable:
            _list_unreadable(unreadable, len(images), console)

    session = Session(config, "predict", output, rest, console, soft=probabilities)
    session.load(checkpoint, path)
    predict(session, batches, composed.plain, report, not no_overlays)
    return output


def _check_output(output: Path, source: Path) -> None:
    """Check that class maps and overlays can be written without overwriting a photograph.

    Raises:
        ConfigError: an output folder is a file, or the output contains an input photograph.
        RunError: a symbolic link inside the output.
    """
    for folder in (output, *output.parents):
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"output={output}: {folder} is a file, not a folder")
    for part in (
        *(output / name for name in (OVERLAYS, INSTANCES, PROBABILITIES)),
        output / "wandb",
    ):
        if part.is_symlink():
            raise RunError(f"{part}: refused: a symbolic link; no output goes through one")
        if part.exists() and not part.is_dir():
            raise ConfigError(f"output={output}: {part} is a file, not a folder")
    if not output.is_dir() or not source.exists():
        return
    files = [source] if source.is_file() else [path for path in source.iterdir() if path.is_file()]
    # Both folders of a link: prediction would replace the link, or its target.
    folders = {
        parent for path in files for parent in (path.parent.resolve(), path.resolve().parent)
    }
    for folder in sorted({source.resolve(), *folders} if source.is_dir() else folders):
        if any(parent.samefile(output) for parent in (folder, *folder.parents)):
            raise ConfigError(
                f"output={output}: contains photographs of input={source}, which class maps could "
                "overwrite; give another folder"
            )
    from seglab.drawing.pictures import written_by

    for name in sorted(f"{path.stem}.png" for path in files):
        if (output / name).exists() and not written_by(PREDICT, output / name):
            raise ConfigError(
                f"output={output}: contains {name}, which predict did not write and would "
                "overwrite; give another folder"
            )


def _check_earlier(output: Path, kinds: Sequence[str]) -> None:
    """Check that no file of an earlier prediction would stay beside new class maps.

    Raises:
        ConfigError: there is a folder of a kind that is not written now.
    """
    for kind in kinds:
        if (output / kind).is_dir():
            raise ConfigError(
                f"output={output}: {kind}/ is of an earlier prediction and would not fit the new "
                "class maps; delete it, or give another folder"
            )


def _list_unreadable(unreadable: list[str], total: int, console: Console) -> NoReturn:
    """List the files that could not be read.

    Raises:
        DataError: always.
    """
    if total == 1:
        raise DataError(unreadable[0])
    for reason in unreadable:
        print_plain(reason, console)
    raise DataError(f"{len(unreadable)} of {total} images could not be read, listed above")
