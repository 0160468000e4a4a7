"""Ordered, bounded prefetching: results computed ahead of their consumer on all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, repeat
from typing import Any, TypeVar

from seglab.runtime.cores import cores

AHEAD = 32
"""How many results may wait for a slow consumer."""

AHEAD_BYTES = 2**30
"""How large the results may be that wait or are being made; one alone may be larger."""

T = TypeVar("T")

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Wraps an iterable of known length to show its progress; the text describes the work."""


def no_progress(items: Iterable[Any], total: int, text: str) -> Iterable[Any]:
    """Show nothing."""
    return items


def prefetch(
    function: Callable[[int], T],
    length: int,
    size: Callable[[int], int] | None = None,
    threads: int | None = None,
) -> Iterator[T]:
    """Yield ``function(0), function(1), …``, computed a bounded number of results and bytes ahead.

    Args:
        function: called with each index.
        length: the number of results.
        size: returns quickly how many bytes a result will take; None: negligible.
        threads: number of worker threads; None: one per core that this process may use.
    """
    with ThreadPoolExecutor(threads or cores()) as pool:
        sizes: Iterator[Callable[[], int]] = repeat(int)  # int() is 0
        if size is not None:  # sizes are prefetched too: slow disks
            sizes = (pool.submit(size, index).result for index in range(length))
        upcoming = deque(islice(sizes, AHEAD))
        waiting: deque[tuple[Future[T], int]] = deque()
        taken = started = 0
        try:
            for _ in range(length):
                while started < length and len(waiting) < AHEAD:
                    size_of_next = upcoming[0]()
                    if waiting and taken + size_of_next > AHEAD_BYTES:
                        break
                    upcoming.popleft()
                    upcoming.extend(islice(sizes, 1))
                    waiting.append((pool.submit(function, started), size_of_next))
                    taken, started = taken + size_of_next, started + 1
                future, freed = waiting.popleft()
                yield future.result()
                del future  # it holds the result
                taken -= freed
        finally:
            pool.shutdown(cancel_futures=True)
