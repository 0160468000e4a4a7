"""A result tells which code made it."""

import subprocess
from pathlib import Path

from seglab.run.provenance import checkout


def test_the_commit_of_a_checkout_and_of_nothing_else(tmp_path: Path) -> None:
    package = tmp_path / "seglab"
    package.mkdir()

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        checkout.cache_clear()
        return done.stdout.strip()

    assert checkout(package) is None
    git("init")
    (tmp_path / "other.txt").write_text("another project's repository")
    git("add", "other.txt")
    git("commit", "-m", "one")
    (package / "cli.py").write_text("an installed package, which it does not track")
    assert checkout(package) is None
    (tmp_path / "conf").mkdir()
    (tmp_path / "experiments").mkdir()
    (tmp_path / "conf" / "train.yaml").write_text("seed: 0")
    git("add", "conf", "seglab")
    git("commit", "-m", "two")
    (tmp_path / "other.txt").write_text("notes, which change no result")
    assert checkout(package) == (git("rev-parse", "HEAD"), "")
    (tmp_path / "conf" / "train.yaml").write_text("seed: 1")
    checkout.cache_clear()
    state = checkout(package)
    assert state is not None
    assert len(state.changes) == 8
