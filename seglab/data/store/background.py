"""Fills the store of a training split while the training runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from PIL import Image

from seglab.data.store.cached import Cached


class BackgroundFilling:
    """Checks and stores the samples of a split in a thread, while its block runs.

    The end of the block ends the work, which the next run continues.

    Args:
        split: to be filled.
        keep: the paths of other stores in use.
        finish: called in the thread at the end of the work.
    """

    def __init__(self, split: Cached, keep: Sequence[Path], finish: Callable[[], None]) -> None:
        self.split, self.keep, self.finish = split, keep, finish
        self.failure: Exception | None = None
        self.stop = Event()
        self.thread = Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        try:
            self.split.fill(self.keep, self.stop)
            self.finish()
        except Exception as error:  # raised by check(), in the thread that trains
            self.failure = error

    def check(self) -> None:
        """Raise the problem of the thread, if there is one."""
        if self.failure is not None:
            raise self.failure

    def __enter__(self) -> None:
        # A loading process forked while this thread imports Pillow's formats would wait forever.
        Image.init()
        self.thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop.set()
        self.thread.join()
        if error is None:
            self.check()
