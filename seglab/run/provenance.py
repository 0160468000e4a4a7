"""The code version of a result: package version and git commit. Imports no torch."""

from __future__ import annotations

import subprocess
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@cache
def version(package: Path = PACKAGE) -> str:
    """Return the package's version, and in a checkout its commit and a hash of the changes."""
    try:
        name = metadata.version("seglab")
    except metadata.PackageNotFoundError:
        name = "not installed"
    commit = _git(package, "rev-parse", "--short=12", "HEAD")
    # An installed seglab may be inside another project's repository, which does not track it.
    if not commit or not _git(package, "ls-files", "cli.py"):
        return name
    parts = (".", "../conf", "../experiments")
    changes = _git(package, "diff", "HEAD", "--", *parts)
    added = _git(package, "ls-files", "--others", "--exclude-standard", "--", *parts).splitlines()
    changes += "".join(f"{path} {_digest(package / path)}\n" for path in added)
    dirty = f", changed {sha256(changes.encode()).hexdigest()[:8]}" if changes else ""
    return f"{name} ({commit}{dirty})"


def version_change(made: str, *, finished: bool) -> list[str]:
    """Return a line if a run, finished or to be resumed, was made by another version of seglab.

    Args:
        made: the version that it recorded.
        finished: whether it is left alone.
    """
    if made == version():
        return []
    what = "finished by other code, {}, and left alone" if finished else "started by other code, {}"
    return [f"{what.format(made)}; this is {version()}"]


def _digest(file: Path) -> str:
    try:
        return sha256(file.read_bytes()).hexdigest()
    except OSError:  # removed in the meantime, or a broken link
        return "unreadable"


def _git(folder: Path, *arguments: str) -> str:
    """Return the output of git; empty without git or a repository."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
