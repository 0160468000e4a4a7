"""``seglab train``: one run from one line of configuration."""

from __future__ import annotations

import yaml
from rich.console import Console

from seglab.config.compose import compose
from seglab.printing import print_plain, printable_lines
from seglab.run.paths import CHECKPOINTS, LAST
from seglab.run.required_miou import check_required_miou
from seglab.run.resume import Start, check_run
from seglab.run.status import INTERRUPTED, NONE, PRUNED, status
from seglab.runtime.import_torch import import_torch
from seglab.runtime.launch import warm
from seglab.runtime.rank import is_launched, rank
from seglab.schema import TrainConfig
from seglab.sweep.command import sweep
from seglab.sweep.start import JobResult, start_job


def main(overrides: list[str], dry_run: bool = False, multirun: bool = False) -> JobResult | None:
    """Compose the configuration, train, and show the result; with ``multirun``, run a sweep.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
    """
    if multirun:
        sweep(overrides, dry_run)
        return None
    console = Console(quiet=rank() != 0)
    composed = compose("train", TrainConfig, overrides)
    start = check_run(composed.config, composed.folder)
    folder, state, config, changes, _ = start
    if not start.done and config.data.synth is None:  # the built-in data is created on first use
        # numpy: not needed for a wrong key
        from seglab.data.layouts.opening import check_training_lists

        check_training_lists(config.data)
    if dry_run:
        if rank() != 0:
            return None
        if not start.done:
            from seglab.sweep.preflight import check_job

            check_job(config, folder)
        text = yaml.safe_dump(composed.plain, sort_keys=False, allow_unicode=True)
        text += "".join(f"# {line}\n" for line in changes)
        print(printable_lines(f"{text}# {folder}: {plan(start)}"))
        return None
    resumes = [f"resuming {folder}"] if state in (INTERRUPTED, PRUNED) else []
    for line in [*resumes, *changes]:
        print_plain(line, console)
    devices = config.trainer.devices
    if not (start.done or is_launched()) and isinstance(devices, int) and devices > 1:
        warm()  # imports torch for the ranks, while this process does without it
    elif not start.done:
        import_torch()  # not before: it takes seconds, and a wrong key should fail at once
    from seglab.commands.tables import show_metrics, show_paths  # numpy

    try:
        result = start_job(start, composed.overrides)
    except KeyboardInterrupt as interruption:
        if status(folder) in (INTERRUPTED, PRUNED):
            raise type(interruption)(
                f"hydra.run.dir={folder} resume=true, with the same settings, resumes it"
            ) from None
        raise
    if result.skipped:
        print_plain(f"{result.folder}: finished before; nothing to do", console)
    else:
        show_metrics(result.metrics, console)
        show_paths(result.folder, result.pictures, console)
        if verdict := check_required_miou(config, result.metrics["val/mIoU"]):
            print_plain(verdict, console)
    return result


def plan(start: Start) -> str:
    """Describe what training would do in the run folder."""
    if start.done:
        return "has finished: would be left alone"
    if (epochs := start.extended_from) is not None:
        return f"would extend from {epochs} to {start.config.trainer.max_epochs} epochs"
    resumes = start.status != NONE and (start.folder / CHECKPOINTS / LAST).is_file()
    return f"would resume from {LAST}" if resumes else "would start"
