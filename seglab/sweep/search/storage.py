"""The database of the studies."""

from __future__ import annotations

import time

import optuna
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from seglab.errors import ConfigError, one_line


def open_storage(storage: str) -> optuna.storages.RDBStorage:
    """Return the database of the studies; one that has no tables yet gets them.

    A dashboard, or another search, that opens it at the same moment makes the same tables, and one
    of the two fails. They are there a moment later.

    Raises:
        ConfigError: it cannot be opened.
    """
    key = f"hydra.sweeper.storage={storage}"
    try:
        make_url(storage)
    except ArgumentError:
        raise ConfigError(f"{key}: not the URL of a database, such as sqlite:///study.db") from None
    try:
        return optuna.storages.RDBStorage(storage)
    except DatabaseError:
        time.sleep(1)
    except ImportError as error:
        raise ConfigError(f"{key}: {one_line(error)}") from None
    try:
        return optuna.storages.RDBStorage(storage)
    except DatabaseError as error:
        raise ConfigError(f"{key}: cannot be opened: {one_line(error.orig or error)}") from None
