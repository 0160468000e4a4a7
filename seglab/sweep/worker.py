"""The entry point of a job's process. Knows no torch until it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from seglab.errors import SeglabError
from seglab.printing import printable
from seglab.run.resume import check_run
from seglab.run.status import mark_failed
from seglab.runtime.import_path import add_import_path
from seglab.runtime.rank import rank
from seglab.schema import TrainConfig
from seglab.sweep.start import start_job


def work(config: TrainConfig, folder: Path, overrides: Sequence[str], modules: Path) -> None:
    """Train one configuration; the status in its folder is always written.

    Args:
        config: the checked configuration.
        folder: the run folder.
        overrides: the overrides of the command line, which are recorded.
        modules: the folder in which the sweep was started, whose modules it finds.

    Raises:
        SystemExit: it failed with a SeglabError, which is shown as one line.
        KeyboardInterrupt: it was interrupted.
    """
    add_import_path(modules)
    try:
        start_job(check_run(config, folder), overrides)
    except SeglabError as error:
        print(printable(f"seglab: error: {error}"), file=sys.stderr)
        if rank() == 0:
            mark_failed(folder, str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        if rank() == 0:
            mark_failed(folder, str(error) or type(error).__name__)
        raise
