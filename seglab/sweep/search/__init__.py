"""``search=optuna``: a study of n trials in total, pruned, robust to interruptions and failures.

Uses Optuna's ask-and-tell interface. Hydra's Optuna sweeper dates from 2022: it pins Optuna 2.10
and SQLAlchemy below 2, adds n_trials on every call, stops at the first failure, and loses
interrupted trials. Its keys and range syntax are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from seglab.errors import ConfigError
from seglab.sweep.engine import Sweep

try:
    from seglab.sweep.search.study import Search
except ModuleNotFoundError as error:
    if error.name not in ("optuna", "sqlalchemy"):
        raise
    raise ConfigError("search=optuna needs Optuna: pip install 'seglab[optuna]'") from None


def search(sweep: Sweep, overrides: Sequence[Override], **options: Any) -> None:
    """Complete a study; see :class:`Search`."""
    Search(sweep, overrides, **options).run()
