"""Graceful interruption: on SIGINT, SIGTERM, or a scheduler's SIGUSR2, a run saves first.

The checkpoint may be mid-epoch; the resumed run ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from seglab.runtime import signals

SIGNAL = signal.SIGUSR2
"""What submitit lets SLURM send before a time-out or a preemption."""

_asked = False


def request_stop(*arguments: object) -> None:
    """Signal handler: request the end of the run."""
    global _asked
    _asked = True


def stop_requested() -> bool:
    """Return whether the end of the run was requested."""
    return _asked or signals.received() is not None


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn the signals into requests for the duration of a run. No-op off the main thread."""
    if not signals.on_main_thread():
        yield
        return

    def note(number: int) -> None:
        name = signal.Signals(number).name
        signals.write_stderr(f"{name}: saves and stops; a second signal ends it at once")

    before = signal.signal(SIGNAL, request_stop)
    try:
        with signals.on_first_signal(note):
            yield
    finally:
        signal.signal(SIGNAL, before)
