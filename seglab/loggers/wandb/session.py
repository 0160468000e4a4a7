"""One W&B run from start to finish; if W&B fails, training continues and no logged value is lost.

The SDK (0.31) alone waits 90 s for a server at the start and forever at the end, and raises once
its service process has died.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from seglab.loggers.wandb.connection import PROBE_SECONDS, Connection, unreachable
from seglab.printing import print_plain
from seglab.schema import LoggerConfig

if TYPE_CHECKING:
    from wandb.sdk.wandb_run import Run

RUN_FILES = "*run-*/run-*.wandb"
"""Where W&B writes what is logged, below the ``wandb`` folder of a run folder."""

RUN_FOLDER = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-([a-z0-9]{8})")
"""What W&B calls the folder of such a file; the eight characters are the run's id."""


class Session:
    """A W&B run in a run folder; a no-op once W&B has failed.

    Args:
        folder: the run folder; W&B's files go to ``folder/wandb``.
        config: project, group and so on, and the timeouts.
        console: prints one line about the run.
        resumes: whether this job resumes the folder's run, whose files are in ``wandb``; otherwise
            those files are ignored.
    """

    def __init__(
        self, folder: Path, config: LoggerConfig, console: Console, *, resumes: bool
    ) -> None:
        self.folder, self.config, self.console = folder, config, console
        self.foreign: set[Path] = set()
        self.foreign |= set() if resumes else {*self.files()}
        self.run: Run | None = None
        self.said: str | None = None  # why not everything is on the server
        self.failed = False
        self.starting: threading.Thread | None = None

    def start(
        self, connection: Future[Connection], prepare: Callable[[Run], object], **arguments: Any
    ) -> None:
        """Start the run, or resume the one whose files are in the folder.

        Importing and starting W&B takes seconds, so it happens in a thread during the first
        training steps; any use of the run waits for it.

        Args:
            connection: online, or offline and why.
            prepare: called with the started run.
            arguments: name, group, job type and the like, as ``wandb.init`` takes them.
        """

        def begin() -> None:
            try:
                self._begin(connection.result(), prepare, arguments)
            except Exception as error:  # any error of W&B
                self._failed(error)

        # Tables and checkpoints to be uploaded are kept with the run and not in the home; the
        # variable is set back with all others: seglab.runtime.process.computing.
        os.environ["WANDB_DATA_DIR"] = str(self.folder.resolve() / "wandb" / "data")
        # A daemon: a server that hangs does not keep a process alive.
        self.starting = threading.Thread(target=begin, name="wandb start", daemon=True)
        self.starting.start()

    def started(self) -> None:
        """Wait until the run has been started."""
        if self.starting is not None:
            self.starting.join()
            self.starting = None

    def _begin(
        self,
        connection: Connection,
        prepare: Callable[[Run], object],
        arguments: dict[str, Any],
    ) -> None:
        earlier = self.files()
        # An agent of a W&B sweep gives each of its runs an id, which must be taken.
        given = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        arguments["id"] = earlier[-1].stem[4:] if earlier else given or secrets.token_hex(4)
        if earlier:
            self._say(f"W&B: resumes run {arguments['id']}, of which this folder has a part")
        arguments["resume"] = "allow" if earlier else None
        self.arguments, self.prepare, self.server = arguments, prepare, connection.server
        if connection.online:
            try:
                self.run = self._init("online")
                self._say(f"W&B: {self.run.name}, {self.run.url}")
            except Exception as error:  # of many kinds: server, key, entity, service process
                self.said = f"logged offline: {_gist(error)}"
                _stop_service()  # its service process would hold on to the run's id
                for path in {*self.files()} - {*earlier}:
                    shutil.rmtree(path.parent, ignore_errors=True)  # nothing was logged there
        else:
            self.said = f"logged offline, {connection.why}"
        if self.run is None:
            self._start_offline()
        self._do(prepare)

    def do(self, action: Callable[[Run], object]) -> None:
        """Call a function with the run; a failure is reported once and stops nothing else."""
        self.started()
        self._do(action)

    def _do(self, action: Callable[[Run], object]) -> None:
        if self.run is None:
            return
        try:
            action(self.run)
        except Exception as error:  # any error of W&B: training must not stop
            self._failed(error)

    def log(self, values: Mapping[str, Any]) -> None:
        """Log one row of the history."""
        self.do(lambda run: run.log(dict(values)))

    def call_online(self, action: Callable[[Run], object]) -> None:
        """Call a function that needs the server, such as logging a table or an artifact.

        If the server is lost, the run continues offline, in a second part that is uploaded with the
        first.
        """
        self.started()
        if self.run is not None and not self.run.offline:
            lost = unreachable(self.server, PROBE_SECONDS)
            if not lost:
                try:
                    action(self.run)
                    return
                except Exception as error:
                    lost = _gist(error)
            self._end(exit_code=0)
            self.said = f"the server was lost: {lost}"
            self.arguments["resume"] = "allow"
            self._start_offline()
            self.do(self.prepare)
        self.do(action)

    def link(self, action: Callable[[Run], object]) -> bool:
        """Call a function that waits for the server, for ``finish_timeout`` seconds at most.

        Nothing that is logged depends on it.

        Returns:
            Whether it was called and has succeeded.
        """
        self.started()
        run = self.run
        if run is None or run.offline or unreachable(self.server, PROBE_SECONDS):
            return False
        done: list[bool] = []

        def call() -> None:
            with suppress(Exception):  # of many kinds: server, permissions, names
                action(run)
                done.append(True)

        thread = threading.Thread(target=call, name="wandb link", daemon=True)
        thread.start()
        thread.join(self.config.finish_timeout)
        return bool(done)

    def finish(self, exit_code: int) -> None:
        """Finish the run within ``finish_timeout``, and print how to upload missing data."""
        self.started()
        self._end(exit_code)
        if self.said is not None and self.files():
            folders = [path.parent for path in self.files()]
            online = any(not folder.name.startswith("offline-") for folder in folders)
            named = " ".join(shlex.quote(str(folder)) for folder in folders)
            command = f"wandb sync {'--include-online ' * online}{named}"
            self._say(f"W&B: {self.said}; to upload it: {command}")

    def files(self) -> list[Path]:
        """Return the files of the run so far, of all its parts, in the order of their start."""

        def start(path: Path) -> tuple[str, bool]:
            name = path.parent.name  # [offline-]run-TIME-ID
            return name.removeprefix("offline-"), name.startswith("offline-")

        own = (
            path
            for path in (self.folder / "wandb").glob(RUN_FILES)
            if (named := RUN_FOLDER.fullmatch(path.parent.name))
            and path.stem == f"run-{named[1]}"
            and path not in self.foreign
        )
        return sorted(own, key=start)

    def _start_offline(self) -> None:
        try:
            self.run = self._init("offline")
        except Exception as error:
            self._failed(error)

    def _end(self, exit_code: int) -> None:
        run, self.run = self.run, None
        if run is None:
            return
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError:
            limit = f"logger.finish_timeout={self.config.finish_timeout:g} s"
            self.said = f"the server did not take everything within {limit}"
        except Exception as error:
            self._failed(error)
            _stop_service()

    def _init(self, mode: str) -> Run:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",  # do not capture the terminal
            init_timeout=self.config.init_timeout,
            finish_timeout=self.config.finish_timeout,
            finish_timeout_raises=True,
            reinit="create_new",  # the caller's own run is left alone
            symlink=False,
            disable_git=True,  # the configuration has the facts about code and packages
            x_save_requirements=False,
            disable_code=True,
        )
        return wandb.init(
            mode=mode,  # type: ignore[arg-type]
            dir=self.folder,
            project=self.config.project,
            entity=self.config.entity,
            group=self.config.group,
            tags=self.config.tags,
            notes=self.config.notes,
            settings=settings,
            **self.arguments,
        )

    def _failed(self, error: Exception) -> None:
        if not self.failed:
            self._say(f"W&B: failed; the run continues without it: {_gist(error)}")
        self.failed = True
        self.said = self.said or "not everything may be on the server"

    def _say(self, text: str) -> None:
        print_plain(text, self.console)


def _gist(error: Exception) -> str:
    """Return the first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _stop_service() -> None:
    """Stop W&B's service process, so that the next run starts a new one."""
    import wandb

    with suppress(Exception):  # the process may be gone
        wandb.teardown()
