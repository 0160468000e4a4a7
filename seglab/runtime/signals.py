"""SIGINT and SIGTERM end a command early, with the exit codes that shells expect.

The first one raises KeyboardInterrupt or, in training, is only recorded and checked between steps
(:mod:`seglab.runtime.preemption`). A second one ends the process at once. Imports no torch.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM; a KeyboardInterrupt, so that cleanup after Ctrl-C runs too."""


# A signal handler takes no arguments of ours, so its state is global.
_received: int | None = None
_on_first: Callable[[int], None] | None = None
_handled = False
_speaks = True


def received() -> int | None:
    """Return the signal received by this process, or None."""
    return _received


def interruption() -> KeyboardInterrupt:
    """Return the exception for the received signal."""
    return Terminated() if _received == signal.SIGTERM else KeyboardInterrupt()


def exit_code(error: KeyboardInterrupt) -> int:
    """Return 128 and the number of the signal."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def on_main_thread() -> bool:
    """Return whether this is the only thread of the process that can handle signals."""
    return threading.current_thread() is threading.main_thread()


def install() -> None:
    """Handle both signals from now on, in a process that seglab owns."""
    global _received, _on_first, _handled
    _received, _on_first, _handled = None, None, True
    for number in SIGNALS:
        signal.signal(number, _handle)


@contextmanager
def handlers() -> Iterator[None]:
    """Handle both signals in the block. No-op if already installed or not on the main thread."""
    global _received, _handled
    if _handled or not on_main_thread():
        yield
        return
    before = [signal.getsignal(number) for number in SIGNALS]
    install()
    try:
        yield
    finally:
        _received, _handled = None, False
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def on_first_signal(on_first: Callable[[int], None]) -> Iterator[None]:
    """Call a function on the first signal in the block, instead of raising."""
    global _on_first
    with handlers():
        before, _on_first = _on_first, on_first
        try:
            yield
        finally:
            _on_first = before


def silence_signals() -> None:
    """Print nothing about signals in this process: the parent, which forwards them, does."""
    global _speaks
    _speaks = False


def write_stderr(text: str) -> None:
    """Write a line to stderr, from a signal's handler."""
    if not _speaks:
        return
    os.write(2, f"\nseglab: {text}\n".encode())


def _handle(number: int, frame: FrameType | None) -> None:
    global _received
    if _received is not None:
        _end_at_once(number)
    _received = number
    if _on_first is None:
        raise interruption()
    _on_first(number)


def _end_at_once(number: int) -> None:
    # Imported here, because most processes do not need it.
    from multiprocessing import active_children

    for child in active_children():
        child.kill()
    os._exit(128 + number)
