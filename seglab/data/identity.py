"""The identity of configured data: see :mod:`seglab.data.store.records`. Imports no torch."""

from __future__ import annotations

from seglab.data.layouts.opening import open_files
from seglab.data.store.records import identity_of, usable_folder
from seglab.schema import DataConfig


def data_identity(config: DataConfig, split: str, *, instances: bool) -> str:
    """Return the identity of a split of the configured data set: 64 hex digits.

    From the record, or by reading the bytes of all files once and storing the result.

    Raises:
        ConfigError, DataError: the data set cannot be used; names the key or file.
    """
    return identity_of(open_files(config, split, instances=instances), usable_folder(config))
