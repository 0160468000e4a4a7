"""SIGINT and SIGTERM end a command early, with the exit code that a shell expects of them.

A first one is raised as KeyboardInterrupt, or only noted where a training looks for it between its
steps (:mod:`seglab.runtime.preemption`); a second one ends the process at once. Knows no torch.
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
    """SIGTERM came; everybody who cleans up after a Ctrl-C does so after this one too."""


class _State:
    received: int | None = None
    on_first: Callable[[int], None] | None = None
    handled = False
    speaks = True


def received() -> int | None:
    """Return the signal that asked this process to end; None if none did."""
    return _State.received


def interruption() -> KeyboardInterrupt:
    """Return what is raised for the signal that came."""
    return Terminated() if _State.received == signal.SIGTERM else KeyboardInterrupt()


def exit_code(error: KeyboardInterrupt) -> int:
    """Return 128 and the number of the signal."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def install() -> None:
    """Handle both signals from now on, in a process that is ours from its beginning."""
    _State.received, _State.on_first, _State.handled = None, None, True
    for number in SIGNALS:
        signal.signal(number, _handle)


@contextmanager
def handled() -> Iterator[None]:
    """Handle both signals in the block, unless that is done already or this is not for us to do."""
    if _State.handled or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.getsignal(number) for number in SIGNALS]
    install()
    try:
        yield
    finally:
        _State.received, _State.handled = None, False
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def instead(on_first: Callable[[int], None]) -> Iterator[None]:
    """Call a function with the first signal in the block, instead of raising it."""
    with handled():
        before, _State.on_first = _State.on_first, on_first
        try:
            yield
        finally:
            _State.on_first = before


def leave_it_to_the_parent() -> None:
    """Print nothing about signals in this process: the one that sends them on has done so."""
    _State.speaks = False


def say(text: str) -> None:
    """Write a line to stderr, from a signal's handler."""
    if not _State.speaks:
        return
    os.write(2, f"\nseglab: {text}\n".encode())


def _handle(number: int, frame: FrameType | None) -> None:
    if _State.received is not None:
        _end_at_once(number)
    _State.received = number
    if _State.on_first is None:
        raise interruption()
    _State.on_first(number)


def _end_at_once(number: int) -> None:
    # Here, because most processes have none.
    from multiprocessing import active_children

    for child in active_children():
        child.kill()
    os._exit(128 + number)
