"""Writes the answers into the console blocks of errors.md, by running their commands.

``python docs/errors.py`` renews the file; a test compares the two.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
from pathlib import Path

from seglab.cli import main

PAGE = Path(__file__).with_name("errors.md")
BLOCK = re.compile(r"```console\n\$ (seglab [^\n]*)\n.*?```", re.DOTALL)
RUN = "train experiments=smoke debug=one_step logger=csv hydra.run.dir=run"
"""The finished run that the commands find in their folder."""


def answer(command: str) -> tuple[int, str]:
    """Run one command in this process; return its exit code and the last line of stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(shlex.split(command))
    return code, (err.getvalue().strip().splitlines() or [""])[-1]


def renewed(page: str) -> str:
    """Return the page with the answers as they are now, from an empty folder with one run."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        code, line = answer(RUN)
        assert code == 0, line
        return BLOCK.sub(_renewed_block, page)


def _renewed_block(block: re.Match[str]) -> str:
    code, line = answer(block[1].removeprefix("seglab "))
    assert code, f"{block[1]}: no error"
    return f"```console\n$ {block[1]}\n{line}\n$ echo $?\n{code}\n```"


if __name__ == "__main__":
    os.environ.setdefault("WANDB_MODE", "disabled")
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
