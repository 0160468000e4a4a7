"""``seglab soup``: one checkpoint with the mean weights of several."""

from __future__ import annotations

from pathlib import Path

from seglab.errors import ConfigError, RunError
from seglab.printing import print_plain

OUTPUT = "output="


def main(files: list[str]) -> Path:
    """Write the mean of checkpoints ``A.ckpt B.ckpt …`` to ``output=FILE.ckpt``.

    Raises:
        SeglabError: fewer than two files, no output or one that exists; a file that cannot be read,
            or is of another model.
    """
    outputs = [Path(one.removeprefix(OUTPUT)) for one in files if one.startswith(OUTPUT)]
    references = list(dict.fromkeys(one for one in files if not one.startswith(OUTPUT)))
    if len(outputs) != 1 or outputs[0].suffix != ".ckpt":
        raise ConfigError("output is not set: give output=FILE.ckpt, the file to write, once")
    if len(references) < 2:
        raise ConfigError(f"{len(references)} checkpoints given: give at least two different ones")
    if outputs[0].exists():
        raise RunError(f"output={outputs[0]}: exists already; delete it or give another name")
    # Imported here: torch takes seconds, and a wrong argument should fail at once.
    from rich.console import Console

    from seglab.loggers.wandb.artifacts import local_checkpoint
    from seglab.run.checkpoints import AtomicCheckpointIO, read_checkpoint
    from seglab.run.soup import soup, trained_norms

    paths = [local_checkpoint(one) for one in references]
    content = soup({path: read_checkpoint(path) for path in paths})
    console = Console()
    if trained_norms(content):
        print_plain(
            "warning: the batch norms were trained, and the mean of their statistics may not fit "
            "the mean of the weights: evaluate it before use",
            console,
        )
    AtomicCheckpointIO().save_checkpoint(content, outputs[0])
    print_plain(f"{outputs[0]}: the mean of {len(paths)} checkpoints", console)
    return outputs[0]
