"""Training, from a checked configuration to the metrics of the last checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from seglab.callbacks.checkpoints import BestAndLast
from seglab.callbacks.extension import Extension
from seglab.callbacks.failures import Failures
from seglab.callbacks.finite import FiniteNumbers
from seglab.callbacks.progress import TrainingProgress
from seglab.errors import RunError
from seglab.loggers.history import HistoryLogger
from seglab.models.weights import load_pretrained
from seglab.printing import print_plain
from seglab.report import reported
from seglab.run.folder import Run
from seglab.run.identity import recorded_weights, result_modules, weights_digest
from seglab.run.last_checkpoint import set_aside
from seglab.run.required_miou import check_required_miou
from seglab.run.resume import check_processes
from seglab.run.status import SPEED
from seglab.runtime.disk import disk_errors
from seglab.runtime.environment import environment
from seglab.runtime.nodes import everywhere
from seglab.runtime.own_code import own_code_digests, short_code
from seglab.runtime.preemption import stop_on_signals
from seglab.runtime.process import computing, seed_everything
from seglab.schema import TrainConfig
from seglab.session.session import ACTIVITY, Session
from seglab.session.trainer import interruptible
from seglab.tasks.batches import batch_sizes, check_limits, within_warmup


def fit(session: Session) -> tuple[dict[str, float], list[Path]]:
    """Train, and return the metrics of ``last.ckpt`` and the pictures.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
        KeyboardInterrupt: the run was interrupted, and its status says so.
    """
    folder, console, resumed = session.folder, session.console, session.resumed
    with computing(session.threads):
        _ = session.tracking
        session.data.check()
        _check_shared(session)
        weights_of_classes = session.weigh_classes()
        config, data = session.config, session.data
        for line in [*check_limits(config, data), *data.warnings()]:
            print_plain(f"warning: {line}", console)
        for line in data.storage():
            print_plain(line, console)
        seed_everything(config.seed)
        _tell_where_it_starts(session)
        modules = result_modules(config)
        own_code = own_code_digests(modules)
        facts = {"data": {**data.identity, **_first_weights(session), **own_code}}
        task = session.task
        task.check_optimizer()  # a wrong argument fails here
        run = Run(
            folder,
            asdict(config),
            session.overrides,
            resume=config.resume,
            step=resumed.position.step,
            facts=facts,
        )
        saving = BestAndLast(
            run.checkpoints, config, facts["data"], before=lambda: run.history.sync()
        )
        failures = Failures(config, ACTIVITY[session.kind])
        pictures, record = session.watching(run, config.pictures.every_n_epochs)
        progress = TrainingProgress(console)
        extension = Extension(session.first_step, session.extends, _restarts(config))
        callbacks = [failures, FiniteNumbers(folder), extension, saving, record, progress]
        trainer = session.trainer(callbacks, [HistoryLogger(run), *session.tracking.loggers])
        session.check_memory(trainer, session.sizes(data.val_split))
        check_processes(config, resumed.position, trainer.world_size)
        _tell_batches(session, trainer.world_size)
        run.facts["environment"] = environment(trainer.strategy.root_device)
        full = disk_errors(folder, ", and give resume=true to resume from the last checkpoint")

        def report(line: str) -> None:
            print_plain(f"warning: {line}", console)

        resolved = {**weights_of_classes, "own_code": short_code(own_code)}
        logged = session.tracking.run(trainer, task.net, data.records, resolved)
        with stop_on_signals(), reported(run, console), logged, full:
            run.history.rewind(resumed.position.step)
            run.write_splits(data.divided)
            run.write_code(modules)
            if run.leads and resumed.note:
                set_aside(run.checkpoints)
            with failures.explained(), data.filling(report), interruptible(trainer):
                trainer.fit(task, data, ckpt_path=resumed.path, weights_only=True)
                if task.scored_at != trainer.global_step:
                    trainer.validate(task, data, verbose=False, weights_only=True)
            training = {"train/loss": run.history.last("train/loss")}
            best = {"best/val/mIoU": saving.best, "best/epoch": saving.best_epoch}
            metrics = {**task.scores, **training, **best}
            run.write_metrics(metrics)
            run.facts.update({SPEED: progress.speed} if progress.images else {})
            session.tracking.results(metrics, run.checkpoints)
            check_required_miou(config, metrics["val/mIoU"])
        if run.leads:
            saving.tidy()
        return metrics, sorted(pictures.written)


def _restarts(config: TrainConfig) -> bool:
    """Return whether extending the run starts a new schedule."""
    schedule = config.schedule
    return bool(schedule.get("restart", True) if isinstance(schedule, dict) else schedule.restart)


def _tell_where_it_starts(session: Session) -> None:
    resumed, config = session.resumed, session.config
    if resumed.note:
        print_plain(resumed.note, session.console)
    if session.extends:
        what = "a new schedule" if _restarts(config) else "the last learning rates"
        reached = resumed.position
        print_plain(
            f"extends the run from {reached.max_epochs} to {config.trainer.max_epochs} "
            f"epochs: {what} from step {reached.step}",
            session.console,
        )


def _first_weights(session: Session) -> dict[str, str]:
    """Load the weights that a new run starts from; return their digest, or the recorded one."""
    model = session.config.model
    if session.resumed.path is not None:
        return recorded_weights(session.folder)
    digest = weights_digest(session.config)
    if model.weights is not None:
        loaded = load_pretrained(session.task.net, model.net, model.weights)
        print_plain(str(loaded), session.console)
    return digest


def _tell_batches(session: Session, processes: int) -> None:
    """Tell how many images a step sees, and what changes by resuming on other processes."""
    config, data, reached = session.config, session.data, session.resumed.position
    if reached.processes not in (None, processes):
        print_plain(
            f"resumed on {processes} processes (previously {reached.processes}); "
            f"data.batch_size={config.data.batch_size}, before {reached.batch_size}",
            session.console,
        )
    samples = len(data.split(data.train_split))
    for line in batch_sizes(config, samples, processes):
        print_plain(line, session.console)
    for line in within_warmup(config, samples, processes):
        print_plain(f"warning: {line}", session.console)


def _check_shared(session: Session) -> None:
    """Check that all machines of a job see the same data and the same checkpoint.

    Raises:
        RunError: they differ.
    """
    first, *others = everywhere("files", [session.data.identity, session.resumed.position])
    if any(data != first[0] for data, _ in others):
        root = session.config.data.root
        raise RunError(f"data.root={root}: the machines of this job have different data")
    if any(position != first[1] for _, position in others):
        raise RunError(
            f"hydra.run.dir={session.folder}: the machines of this job see different checkpoints; "
            "it must be on a file system that they share"
        )
