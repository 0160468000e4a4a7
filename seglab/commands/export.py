"""``seglab export``: a checkpoint as one file of ONNX or torch.export."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from seglab.config.compose import compose_own
from seglab.config.overrides import parse
from seglab.config.stored import check_checkpoint, override_stored
from seglab.errors import ConfigError
from seglab.printing import print_plain
from seglab.runtime.import_path import add_import_path
from seglab.runtime.import_torch import import_torch
from seglab.schema import ExportConfig

VIEWS = tuple(f"evaluation.{name}" for name in ("flip", "scales", "tile", "overlap"))
"""What an exported model does without."""


def main(overrides: list[str]) -> Path:
    """Write the plain net of ``checkpoint=FILE`` to ``output=FILE.onnx`` or ``FILE.pt2``.

    Raises:
        SeglabError: names the wrong key or file, and what would be right; the file differs from
            the checkpoint.
    """
    composed, rest = compose_own("export", ExportConfig, overrides)
    check_checkpoint(composed.config.checkpoint)
    own = composed.config
    for override in parse(rest):
        if override.key_or_group in VIEWS:
            raise ConfigError(
                f"{override.input_line}: not for export, which writes the plain net; give it to "
                "predict or evaluate, with the exported file"
            )
    # Not before: it takes seconds, and a wrong key should fail at once.
    import_torch()
    from seglab.export.card import CARD, card
    from seglab.export.export import export, plain_config
    from seglab.export.metadata import measured, metadata, published
    from seglab.export.reading import ONNX, PROGRAM, is_exported, received_model
    from seglab.loggers.wandb.artifacts import local_checkpoint
    from seglab.run.checkpoints import origin
    from seglab.runtime.files import atomic, check_new_file
    from seglab.runtime.process import computing
    from seglab.session import Session

    output, start = Path(own.output), time.perf_counter()
    check_new_file(output, ONNX, PROGRAM)
    if own.trust:
        add_import_path(Path.cwd())
    path = local_checkpoint(own.checkpoint)
    if is_exported(path):
        raise ConfigError(f"checkpoint={path}: is exported already; give the checkpoint itself")
    content, stored = received_model(path, own.trust, rest)
    trained = override_stored(stored, rest)
    console = Console()
    session = Session(plain_config(trained), "predict", output.parent, console=console)
    session.load(content, path)
    source, metrics = origin(content, path), measured(path)
    with computing(session.threads):
        facts = metadata(session.config, source, metrics)
        objects = export(session.task, output, facts)
    found = f", {objects} objects" if objects else ""
    print_plain(
        f"{output}: {output.stat().st_size / 1e6:.1f} MB, the same as {path} on images of several "
        f"sizes{found}, {time.perf_counter() - start:.1f} s",
        console,
    )
    about = output.with_name(CARD)
    if about.exists():
        print_plain(f"{about}: kept; it exists already", console)
    else:
        with atomic(about) as file:
            file.write(card(output.name, published(trained), source, metrics))
        print_plain(f"{about}: fill in the licences", console)
    return output
