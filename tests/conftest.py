"""What all tests share: a cache of their own, a tiny data set, and the command line in-process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TINY = [
    "data.synth.train=8",
    "data.synth.val=5",
    "data.synth.width=64",
    "data.synth.height=48",
    "data.batch_size=4",
    "data.eval_batch_size=2",
    "data.crop_size=32",
    "model.net.channels=8",
    "model.net.dilations=[1,2]",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "pictures.samples=2",
]


class Answer(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The last line on stderr, where an error stands."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep stores and synthetic data of the tests apart from the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        # As logger=csv would, for every run that does not ask for W&B by logger.mode.
        patch.setenv("WANDB_MODE", "disabled")
        yield folder


@pytest.fixture
def tiny() -> list[str]:
    """Return overrides under which a whole run takes a second."""
    return list(TINY)


@pytest.fixture
def seglab_cli(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Answer]:
    """Call the command line in this process, in an empty folder."""
    from seglab.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main(arguments)
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def voc_root() -> Path:
    """Return the real VOC data beside the checkout."""
    root = Path(__file__).parents[2] / "shared" / "VOCdevkit"
    if not (root / "VOC2007").is_dir():
        pytest.skip(f"the real photographs are not there: {root / 'VOC2007'}")
    return root


@pytest.fixture
def made_run() -> Callable[..., Path]:
    """Make up a run folder in milliseconds; see :func:`helpers.runs.make_run`."""
    from helpers.runs import make_run

    return make_run


@pytest.fixture(scope="session")
def two_hundred_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two hundred runs, five learning rates in it."""
    from helpers.runs import make_run

    folder = tmp_path_factory.mktemp("sweep")
    for number in range(200):
        rate = 10.0 ** -(number % 5)
        make_run(
            folder / f"run{number:03}",
            seed=number,
            skill=0.3 + number / 400,
            images=12,
            settings={"optimizer": {"lr": rate}},
            overrides=[f"optimizer.lr={rate}", f"seed={number}"],
        )
    return folder
