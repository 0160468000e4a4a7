"""The browser that the tests share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.browser import Browser, chromium


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(started: Browser) -> Iterator[Browser]:
    """Return a browser; afterwards nothing may stand in the console, nor have been loaded."""
    found = started
    yield found
    assert found.said() == []
    inside = ("file:", "data:", "chrome:")  # the last for the empty page that chromium opens with
    assert [url for url in found.requested() if not url.startswith(inside)] == []


@pytest.fixture
def compared(made_run: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a page of six runs, one of which failed."""
    from seglab.report import build

    for number, skill in enumerate((0.3, 0.8, 0.5, 0.6, 0.7)):
        rate = 10.0 ** -(number % 3)
        made_run(
            tmp_path / "runs" / f"run{number}",
            skill=skill,
            seed=number // 3,
            settings={"optimizer": {"lr": rate}},
            overrides=[f"optimizer.lr={rate}", f"seed={number // 3}"],
        )
    made_run(tmp_path / "runs" / "broken", state="failed", error="out of luck", seed=9)
    build([tmp_path / "runs"], tmp_path)
    return tmp_path / "compare.html"
