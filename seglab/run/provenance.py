"""Which code made a result, from the package's version and git. Knows no torch."""

from __future__ import annotations

import subprocess
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]


class Checkout(NamedTuple):
    """The state of a git checkout of seglab.

    Attributes:
        commit: 40 hex digits.
        changes: eight hex digits, a hash of what differs from the commit; empty if nothing does.
    """

    commit: str
    changes: str


@cache
def checkout(package: Path = PACKAGE) -> Checkout | None:
    """Return the checkout that contains the package; None without git, or from a wheel."""
    commit = _git(package, "rev-parse", "HEAD")
    # Another project's repository may hold an installed seglab: it tracks none of its files.
    if not commit or not _git(package, "ls-files", "cli.py"):
        return None
    parts = (".", "../conf", "../experiments")
    changes = _git(package, "diff", "HEAD", "--", *parts)
    changes += _git(package, "ls-files", "--others", "--exclude-standard", "--", *parts)
    return Checkout(commit, sha256(changes.encode()).hexdigest()[:8] if changes else "")


@cache
def version() -> str:
    """Return the package's version, and in a checkout its commit and a hash of the changes."""
    try:
        name = metadata.version("seglab")
    except metadata.PackageNotFoundError:
        name = "not installed"
    if (state := checkout()) is None:
        return name
    return f"{name} ({state.commit[:12]}{f', changed {state.changes}' if state.changes else ''})"


def _git(folder: Path, *arguments: str) -> str:
    """Return the output of git; empty without git or a repository."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
