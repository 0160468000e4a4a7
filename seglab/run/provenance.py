"""Which code this is, so that a result can be told from one of other code. Knows no torch."""

from __future__ import annotations

import subprocess
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path


@cache
def version() -> str:
    """Return the package's version, and in a checkout its commit and a hash of what is changed."""
    try:
        name = package_version("seglab")
    except PackageNotFoundError:
        name = "not installed"
    package = Path(__file__).parents[1]
    commit = _git(package, "rev-parse", "--short=12", "HEAD")
    # Another project's repository may hold an installed seglab: it tracks none of its files.
    if not commit or not _git(package, "ls-files", "cli.py"):
        return name
    parts = (".", "../conf", "../experiments")
    changes = _git(package, "diff", "HEAD", "--", *parts)
    changes += _git(package, "ls-files", "--others", "--exclude-standard", "--", *parts)
    dirty = f", changed {sha256(changes.encode()).hexdigest()[:8]}" if changes else ""
    return f"{name} ({commit}{dirty})"


def _git(folder: Path, *arguments: str) -> str:
    """Return what git says; nothing where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
