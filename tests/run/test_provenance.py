"""A result tells which code made it."""

import subprocess
from pathlib import Path

from seglab.run.provenance import version


def test_the_commit_of_a_checkout_and_of_nothing_else(tmp_path: Path) -> None:
    package = tmp_path / "seglab"
    package.mkdir()

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        version.cache_clear()
        return done.stdout.strip()

    assert "(" not in version(package)
    git("init")
    (tmp_path / "other.txt").write_text("another project's repository")
    git("add", "other.txt")
    git("commit", "-m", "one")
    (package / "cli.py").write_text("an installed package, which it does not track")
    assert "(" not in version(package)
    (tmp_path / "conf").mkdir()
    (tmp_path / "experiments").mkdir()
    (tmp_path / "conf" / "train.yaml").write_text("seed: 0")
    git("add", "conf", "seglab")
    git("commit", "-m", "two")
    (tmp_path / "other.txt").write_text("notes, which change no result")
    commit = git("rev-parse", "--short=12", "HEAD")
    assert version(package).endswith(f" ({commit})")
    (tmp_path / "conf" / "train.yaml").write_text("seed: 1")
    version.cache_clear()
    assert f"({commit}, changed " in version(package)
