"""``seglab.runs``: run folders as a list of records. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seglab.errors import ConfigError
from seglab.report.record import RunRecord
from seglab.report.runs import read_runs

if TYPE_CHECKING:
    import pandas


class Runs(list[RunRecord]):
    """Runs, in the order of their folders."""

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with a row per run: name, folder, status, settings and metrics.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise ConfigError("to_pandas() needs pandas: pip install pandas") from None

        return pandas.DataFrame(
            {
                "name": run.name,
                "folder": str(run.folder),
                "kind": run.kind,
                "status": run.state,
                "error": run.reason,
                **run.settings,
                **run.metrics,
            }
            for run in self
        )


def runs(*folders: str | Path) -> Runs:
    """Read run folders, sweeps, or folders of them.

    >>> import seglab
    >>> lr = seglab.runs("sweeps/lr")  # doctest: +SKIP
    >>> max(lr, key=lambda run: run.miou).settings["optimizer.lr"]  # doctest: +SKIP

    Args:
        folders: as ``seglab compare`` takes them.

    Returns:
        A list of :class:`~seglab.report.record.RunRecord`; a run that cannot be read is in it, with
        the reason.

    Raises:
        ConfigError: no such folder, or no run in it.
    """
    return Runs(read_runs([Path(folder) for folder in folders]))
