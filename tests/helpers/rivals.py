"""What processes do that get in each other's way; imported by each of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seglab.errors import SeglabError


def own_runs(folder: Path, rounds: int, resume: bool, work: float, meet: Any, said: Any) -> None:
    """Open one run folder a round at the same moment as others; tell what came of each."""
    from seglab.run.folder import Run

    for number in range(rounds):
        meet.wait()
        try:
            with Run(folder / str(number), {"by": os.getpid()}, resume=resume):
                time.sleep(work)
            said.put((number, os.getpid(), "won"))
        except SeglabError as error:
            said.put((number, os.getpid(), str(error)))


def open_store(root: Path, store: Path, kill_at: int | None, meet: Any, said: Any) -> None:
    """Make or open the store of a data set; killed after so many of its samples."""
    from seglab.data.dataset import VOCSegmentation
    from seglab.data.store.cached import Cached

    made = False

    def progress(items: Iterable[Any], total: int, text: str) -> Iterable[Any]:
        nonlocal made
        made = True
        for number, item in enumerate(items):
            if number == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            yield item

    data = VOCSegmentation(root, 2007, "train")
    meet.wait()
    cached = Cached(data, store, progress=progress)
    same = all(
        bool((cached[index].image == data[index].image).all())
        and bool((cached[index].class_map == data[index].class_map).all())
        for index in range(len(data))
    )
    said.put((made, same))


def write_data(root: Path, meet: Any, said: Any) -> None:
    """Write the built-in data as `seglab data synth` does."""
    from seglab.data.synthetic import SyntheticSpec, write_tree

    meet.wait()
    try:
        write_tree(root, SyntheticSpec(train=6, val=2, width=48, height=48))
        said.put("won")
    except SeglabError as error:
        said.put(str(error))
