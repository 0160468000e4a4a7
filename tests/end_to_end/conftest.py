"""What the end-to-end tests share: a Ctrl-C at a chosen moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from helpers.faults import StopAt, armed


@pytest.fixture
def interrupt() -> Iterator[Callable[[int], None]]:
    """Interrupt the runs that follow when an epoch starts; -1: none of them."""
    with ExitStack() as stack:

        def at(epoch: int) -> None:
            stack.close()
            stack.enter_context(armed(StopAt(epoch)))

        yield at
