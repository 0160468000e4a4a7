"""How inputs are tried: how many, how long each may take, and what they came to.

``make fuzz`` sets SEGLAB_FUZZ, how many inputs are tried in all; without it each test tries a few,
the same ones every time.
"""

from __future__ import annotations

import math
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings

TESTS = 12
"""How many tests share the inputs of ``make fuzz``."""

SECONDS = 20.0
"""How long one input may take; some milliseconds are usual."""

TOTAL = int(os.environ.get("SEGLAB_FUZZ", "0"))

tally: Counter[tuple[str, str]] = Counter()
"""How many inputs of a test were accepted, and how many were refused in our own words."""


class Hung(BaseException):
    """An input took too long; no ``except Exception`` of the code under test takes it for its."""


@contextmanager
def trying(test: str) -> Iterator[Callable[[str], None]]:
    """Time one input, and count what it comes to; the block says so with what is yielded."""

    def hung(*arguments: object) -> None:
        raise Hung(f"{test}: an input took more than {SECONDS:g} s")

    def came_to(outcome: str) -> None:
        tally[test, outcome] += 1

    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield came_to
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzzed(few: int) -> Callable[[Any], Any]:
    """Return hypothesis' settings for a test: ``few`` inputs, or its share of ``make fuzz``."""
    return settings(
        max_examples=math.ceil(TOTAL / TESTS) if TOTAL else few,
        derandomize=not TOTAL,
        database=None,
        deadline=None,  # ``trying`` has a limit that does not depend on how busy the machine is
        print_blob=True,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def check_line(error: BaseException, path: Path = Path()) -> None:
    """Check that an error is one line, not too long, that begins with the file that is wrong."""
    text = str(error)
    assert text.strip(), "an error that says nothing"
    assert "\n" not in text, text
    assert len(text) < 2000, text
    assert path == Path() or text.startswith(str(path)), text
