"""Finds the run folders to compare, and names them apart. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from seglab.errors import ConfigError
from seglab.report.record import RunRecord, read_run
from seglab.run.identity import WEIGHTS
from seglab.run.paths import SIGNS, STATUS


def read_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """Read every run in ``folders``: runs, sweeps, or folders of them.

    A run inside another, such as its evaluation, is read only if given explicitly.

    Raises:
        ConfigError: no such folder, or no run in it.
    """
    places: dict[Path, str] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(
                f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}"
            )
        here = dict(find_runs(folder))
        if not here:
            raise ConfigError(
                f"{folder}: no run in it; give run folders (they hold {STATUS}), sweeps, or "
                "folders of them"
            )
        places |= {_place(path): reason for path, reason in here.items()}
    runs = [
        RunRecord(folder, name, reason=reason) if reason else read_run(folder, name)
        for (folder, reason), name in zip(places.items(), names(list(places)), strict=True)
    ]
    return name_weights(runs)


def _place(path: Path) -> Path:
    """Return the resolved path of a run folder; a link itself is not resolved."""
    return path.parent.resolve() / path.name if path.is_symlink() else path.resolve()


def name_weights(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Name the initial weights of runs by the shortest distinguishing part of their paths.

    Equal content has one name. Different content is named by path or, under the same path, by
    digest.
    """
    paths: dict[str, str] = {}
    for run in runs:
        if path := _weights_path(run):
            paths.setdefault(run.data.get(WEIGHTS, path), path)
    return [
        replace(run, weights=_weights_name(run, path, paths))
        if (path := _weights_path(run))
        else run
        for run in runs
    ]


def _weights_path(run: RunRecord) -> str:
    path = run.settings.get("model.weights")
    return path if isinstance(path, str) else ""


def _weights_name(run: RunRecord, path: str, paths: Mapping[str, str]) -> str:
    mine = run.data.get(WEIGHTS, path)
    parts = PurePath(paths[mine]).parts
    others = [PurePath(other).parts for key, other in paths.items() if key != mine]
    length = 1
    while length < len(parts) and parts[-length:] in [other[-length:] for other in others]:
        length += 1
    name = str(PurePath(*parts[-length:]))
    alike = parts[-length:] in [other[-length:] for other in others]
    return f"{name} {mine[:8]}…" if alike and WEIGHTS in run.data else name


def find_runs(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the run folders at and below ``folder``, and the errors of unreadable ones.

    ``folder`` may be a link; links below it are not followed.
    """
    closed: list[OSError] = []
    for here, below, files in os.walk(folder, onerror=closed.append):
        if SIGNS & {*files, *below}:
            yield Path(here), ""
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))
        for path in (Path(here, name) for name in below):
            if path.is_symlink():
                yield path, "a link, which is not followed; give the folder that it leads to"
    for error in closed:
        yield Path(error.filename), f"cannot be read: {error.strerror or error}"


def names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest distinguishing paths of folders."""
    shared = os.path.commonpath([folder.parent for folder in folders])
    return [folder.relative_to(shared).as_posix() for folder in folders]
