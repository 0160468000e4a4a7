"""A run that is to end saves first: SIGINT, SIGTERM, and SIGUSR2 of a scheduler.

The checkpoint is of the middle of an epoch, and the run goes on from there to the same weights as
if nothing had happened.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from seglab.runtime import signals

SIGNAL = signal.SIGUSR2
"""What submitit lets SLURM send before a time-out or a preemption."""

_asked = False


def ask(*arguments: object) -> None:
    """Note, as a signal's handler, that the run is to end."""
    global _asked
    _asked = True


def is_asked() -> bool:
    """Return whether the run is to end, or has ended, for one of these reasons."""
    return _asked or signals.received() is not None


@contextmanager
def listening() -> Iterator[None]:
    """Take the signals as a wish for the length of a run."""

    def note(number: int) -> None:
        name = signal.Signals(number).name
        signals.say(f"{name}: saves and stops; a second signal ends it at once")

    before = signal.signal(SIGNAL, ask)
    try:
        with signals.instead(note):
            yield
    finally:
        signal.signal(SIGNAL, before)
