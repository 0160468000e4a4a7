"""``seglab soup``: one checkpoint with the mean weights of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seglab.errors import ConfigError, RunError, one_line
from seglab.printing import print_plain
from seglab.runtime.files import check_new_file
from seglab.runtime.import_torch import import_torch

OUTPUT, SUFFIX = "output=", ".ckpt"


def main(files: list[str]) -> Path:
    """Write the mean of checkpoints ``A.ckpt B.ckpt …`` to ``output=FILE.ckpt``.

    Raises:
        SeglabError: fewer than two files, no output or one that exists; a file that cannot be read,
            is of another model, or has the weights of another.
    """
    outputs = [Path(one.removeprefix(OUTPUT)) for one in files if one.startswith(OUTPUT)]
    references = [one for one in files if not one.startswith(OUTPUT)]
    if len(outputs) != 1:
        raise ConfigError(f"output is given {len(outputs)} times: give output=FILE.ckpt once")
    if len(references) < 2:
        raise ConfigError(f"{len(references)} checkpoints given: give at least two")
    check_new_file(outputs[0], SUFFIX)
    # Not before: it takes seconds, and a wrong argument should fail at once.
    import_torch()
    from rich.console import Console

    from seglab.loggers.wandb.artifacts import local_checkpoint
    from seglab.run.checkpoints import AtomicCheckpointIO, read_checkpoint
    from seglab.run.soup import doubts, soup

    contents: dict[Path, dict[str, Any]] = {}
    for path in map(local_checkpoint, references):
        if path in contents:
            raise ConfigError(f"{path}: given twice")
        contents[path] = read_checkpoint(path)
    console = Console()
    try:
        content = soup(contents)
        warnings = [*doubts(contents)]
    except (TypeError, AttributeError, RecursionError) as error:
        names = ", ".join(map(str, contents))
        raise RunError(f"{names}: one has a damaged configuration: {one_line(error)}") from None
    for line in warnings:
        print_plain(f"warning: {line}", console)
    AtomicCheckpointIO().save_checkpoint(content, outputs[0])
    print_plain(f"{outputs[0]}: the mean of {len(contents)} checkpoints", console)
    return outputs[0]
