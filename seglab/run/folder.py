"""A run folder owned by its one writing process: lock, status, history.

Every file is written atomically. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from filelock import FileLock, Timeout

from seglab.data.text_files import list_text
from seglab.errors import DivergedError, RunError, one_line
from seglab.run.history import History
from seglab.run.paths import (
    CHECKPOINTS,
    CODE,
    HISTORY,
    LOCK,
    METRICS,
    OVERRIDES,
    PREDICTIONS,
    PRUNE,
    SETTINGS,
    SPLITS,
    STATUS,
    WRITTEN,
)
from seglab.run.provenance import version
from seglab.run.settings import read_settings
from seglab.run.status import (
    DIVERGED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    NONE,
    PRUNED,
    STARTED,
    now,
    prune_reason,
    read_status,
    recorded_status,
)
from seglab.run.untrusted import DamagedError, read_json
from seglab.runtime.disk import disk_errors, explain
from seglab.runtime.files import atomic, delete_parts, null_to_nan, write_json
from seglab.runtime.own_code import short_code
from seglab.runtime.rank import rank, world_size
from seglab.schema import Mark, marked

LOCK_SECONDS = 1.0
"""How long a run waits for its folder's lock."""


class Run:
    """A run folder that this process owns within a ``with`` block.

    Call :func:`seglab.run.status.check_folder` first: only the status is checked again here, under
    the lock. Ranks other than zero neither lock nor write.

    Args:
        folder: created if missing.
        config: the resolved configuration, written to ``.hydra/config.yaml``.
        overrides: the command line's, written to ``.hydra/overrides.yaml``.
        resume: whether a run in the folder may be resumed.
        step: of the checkpoint that training starts from; None without training.
        facts: further entries of ``status.json``.

    Attributes:
        leads: whether this process writes.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        overrides: Sequence[str] = (),
        *,
        resume: bool,
        step: int | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.step, self.facts = folder, step, dict(facts or {})
        self.config, self.overrides, self.resume = config, list(overrides), resume
        self.checkpoints = folder / CHECKPOINTS
        self.predictions = folder / PREDICTIONS
        self.lock = FileLock(folder / LOCK)
        self.leads = rank() == 0

    def __enter__(self) -> Run:
        """Lock the folder and mark the run as started.

        Raises:
            RunError: another process is using or has used it, or the folder is not writable.
        """
        if not self.leads:
            self.history = History(self.folder / HISTORY, leads=False)
            return self
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Processes that read the status hold the lock briefly.
            self.lock.acquire(timeout=LOCK_SECONDS)
            state = recorded_status(self.folder)
            if (state != NONE and not self.resume) or (state == FINISHED and not self._extends()):
                raise RunError(f"{self.folder}: another process has changed this run")
            self.history = History(self.folder / HISTORY)
            (self.folder / METRICS).unlink(missing_ok=True)  # of a finished run that is extended
            (self.folder / PRUNE).unlink(missing_ok=True)  # of a pruned run that is resumed
            for part in WRITTEN:
                delete_parts(self.folder / part)
            (self.folder / SETTINGS).parent.mkdir(exist_ok=True)
            for name, value in ((SETTINGS, dict(self.config)), (OVERRIDES, self.overrides)):
                with atomic(self.folder / name) as file:
                    yaml.safe_dump(value, file, sort_keys=False, allow_unicode=True)
            self.started = now()
            if self.step is not None:
                earlier = read_status(self.folder).get("history")
                starts = earlier if isinstance(earlier, list) else []
                self.facts["history"] = [*starts, self._start(self.step)]
            self._write_status(STARTED)
        except Timeout:
            raise RunError(f"{self.folder}: another process is working on this run") from None
        except RunError:
            self.lock.release()
            raise
        except OSError as error:
            self.lock.release()
            raise explain(error, self.folder) or RunError(
                f"{self.folder}: not writable: {error.strerror or error}"
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Mark the run as finished, interrupted or failed, and release the folder."""
        if not self.leads:
            return
        try:
            if error is not None:
                self._fail(error)
                return
            with disk_errors(self.folder):
                self.history.flush()
                self._write_status(FINISHED)
        except RunError as full:
            self._fail(full)
            raise
        finally:
            self.lock.release()

    def _fail(self, error: BaseException) -> None:
        with suppress(OSError):  # the disk may be full or read-only
            self.history.flush()
        with suppress(OSError):
            reason = prune_reason(self.folder)
            if isinstance(error, KeyboardInterrupt) and reason is not None:
                self._write_status(PRUNED, reason)
            elif isinstance(error, KeyboardInterrupt):
                self._write_status(INTERRUPTED)
            else:
                self.facts |= {DIVERGED: True} if isinstance(error, DivergedError) else {}
                self._write_status(FAILED, one_line(error))

    def write_metrics(self, metrics: Mapping[str, float]) -> None:
        """Write ``metrics.json``."""
        if self.leads:
            write_json(self.folder / METRICS, metrics)

    def _extends(self) -> bool:
        epochs = read_settings(self.folder).get("trainer.max_epochs")
        return isinstance(epochs, int) and epochs < self.config["trainer"]["max_epochs"]

    def write_splits(self, splits: Mapping[str, Sequence[str]]) -> None:
        """Write the ids of each part of a divided data set as a list, ``splits/PART.txt``."""
        for name, ids in splits.items() if self.leads else ():
            path = self.folder / SPLITS / f"{name}.txt"
            path.parent.mkdir(exist_ok=True)
            with atomic(path) as file:
                file.write(list_text(ids))

    def write_code(self, modules: Mapping[str, Path]) -> None:
        """Copy the user's own modules into the run folder, which is to suffice for a repetition.

        Each version has a folder, named as in the history of ``status.json``.
        """
        for name, source in modules.items() if self.leads else ():
            path = self.folder / CODE / short_code(self.facts.get("data")) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path, binary=True) as file:
                file.write(source.read_bytes())

    def _start(self, step: int) -> dict[str, Any]:
        trainer = self.config.get("trainer", {})
        machine = {key: trainer.get(key.removeprefix("trainer.")) for key in marked(Mark.MACHINE)}
        size = self.config.get("data", {}).get("batch_size")
        batch = {"processes": world_size(), "data.batch_size": size}
        code = {"code": version(), "own_code": short_code(self.facts.get("data"))}
        return {"started": self.started, "step": step, **machine, **batch, **code}

    def _write_status(self, state: str, error: str | None = None) -> None:
        entry: dict[str, Any] = {"status": state, "started": self.started, "code": version()}
        entry |= self.facts
        if state != STARTED:
            entry["ended"] = now()
        if error is not None:
            entry["error"] = error
        write_json(self.folder / STATUS, entry)


def read_metrics(folder: Path) -> dict[str, float]:
    """Read ``metrics.json``; null becomes NaN. Empty where there is none.

    Raises:
        RunError: it cannot be read, is damaged, or contains what is no number; names the file.
    """
    path = folder / METRICS
    try:
        metrics = read_json(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return {name: null_to_nan(value, name) for name, value in metrics.items()}
    except ValueError as error:
        raise DamagedError(f"{path}: damaged, or not written by seglab: {error}") from None
