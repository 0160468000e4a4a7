"""Pages and tables of runs: :func:`build` compares folders of runs, :func:`reported` is a run's.

Knows no torch: to compare two hundred runs takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from seglab.errors import one_line
from seglab.printing import print_plain
from seglab.report.comparison import Comparison, compare
from seglab.report.page import render
from seglab.report.record import read_run
from seglab.report.runs import read_runs
from seglab.report.table import TABLE, write_csv
from seglab.run.folder import Run
from seglab.run.paths import REPORT
from seglab.runtime.files import atomic

PAGE = "compare.html"


def build(folders: Sequence[Path], output: Path) -> Comparison:
    """Compare all runs in ``folders``; write ``compare.html`` and ``compare.csv`` to ``output``.

    Args:
        folders: run folders, sweeps, or folders of them.
        output: created if missing.

    Raises:
        ConfigError: a folder that does not exist or contains no run.
        OSError: ``output`` cannot be written.
    """
    comparison = compare(read_runs(folders))
    output.mkdir(parents=True, exist_ok=True)
    _write(comparison, output / PAGE)
    write_csv(comparison, output / TABLE)
    return comparison


def write_report(folder: Path) -> Path:
    """Write the page of one run into its folder, and return its path.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = folder.resolve()
    _write(compare([read_run(folder, folder.name)]), folder / REPORT)
    return folder / REPORT


@contextmanager
def reported(run: Run, console: Console) -> Iterator[Run]:
    """Own a run folder as ``with run`` does, and always write its ``report.html`` at the end.

    A page that cannot be written is reported, and does not change the status of the run.
    """
    owned = False
    try:
        with run:
            owned = run.leads
            yield run
    finally:
        if owned:
            try:
                write_report(run.folder)
            except Exception as error:
                print_plain(f"{run.folder / REPORT}: not written: {one_line(error)}", console)


def _write(comparison: Comparison, path: Path) -> None:
    page = render(comparison)
    with atomic(path) as file:
        file.write(page)
