"""What README and the pages of docs/ say agrees with the code, and the site is whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from docs import configuration, errors
from seglab.config.overrides import is_open
from seglab.schema import TrainConfig

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
PAGES = [README, *sorted(REPOSITORY.glob("docs/*.md"))]
GROUPS = "data|model|loss|optimizer|schedule|trainer|logger|evaluation|pictures|sweep|callbacks"
NO_KEYS = {
    "data.fingerprint.val",
    "evaluation.npz",
    "sweep.csv",
    "loss._partial_",
    "model.onnx",
    "model.pt2",
}
"""These look like keys; they are a fact that a W&B run shows, files, and Hydra's own."""


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_spans(page: Path) -> list[str]:
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def test_the_table_of_keys_is_up_to_date() -> None:
    page = text_of(configuration.PAGE)
    assert configuration.renewed(page) == page, "run python docs/configuration.py"


def test_every_key_has_a_meaning() -> None:
    table = text_of(configuration.PAGE).split(configuration.BEGIN)[1].split(configuration.END)[0]
    rows = [re.split(r" (?<!\\)\| ", line) for line in table.splitlines() if line[:3] == "| `"]
    keys = {row[0].strip("| `") for row in rows}
    open_groups = {"callbacks", "metrics", "transforms"}
    assert {key for key, *_ in configuration.keys(TrainConfig)} <= keys | open_groups
    for row in rows:
        if "=" not in row[0]:
            assert row[3].strip(" |"), row[0]
        else:
            assert row[1].strip(" |"), row[0]


def test_every_file_of_conf_begins_with_one_plain_line() -> None:
    for path in REPOSITORY.glob("conf/**/*.yaml"):
        lines = text_of(path).splitlines()
        lines = lines[1:] if lines[0].startswith("# @package") else lines
        assert lines[0].startswith("# "), path
        assert not lines[1].startswith("#"), path


def test_the_answers_of_the_errors_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    page = text_of(errors.PAGE)
    assert len(errors.BLOCK.findall(page)) >= 15
    assert errors.renewed(page) == page, "run python docs/errors.py"


def test_the_readme_stays_short() -> None:
    assert len(README.read_bytes()) <= 8000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_that_a_page_names_exist(page: Path) -> None:
    known = {key.replace("[]", "") for key, *_ in configuration.keys(TrainConfig)}
    known |= {  # of options that name a target which is not seglab's
        f"{path.parent.name}.{key}"
        for path in REPOSITORY.glob("conf/*/*.yaml")
        for key in configuration.read_entries(path)
    }
    groups = {key.rpartition(".")[0] for key in known}
    for span in code_spans(page):
        named = re.match(rf"'?\+?((?:{GROUPS})\.[\w.]+)(?=$|=|')", span)
        if named is None or named[1] in NO_KEYS:
            continue
        key = named[1].rstrip(".")
        assert key in known | groups or is_open(key), f"{page.name}: {span}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_commands_and_links_that_a_page_names_exist(page: Path) -> None:
    for span in code_spans(page):
        for path in re.findall(r"^(?:seglab|conf|tests|experiments|docs)/[\w/.*]+$", span):
            if not re.search(r"[A-Z]{3}", path.removesuffix("README.md")):
                assert list(REPOSITORY.glob(path)), f"{page.name}: {path}"
    for module in re.findall(r"python -m (benchmarks\.\w+)", text_of(page)):
        assert module == "benchmarks.NAME" or find_spec(module), f"{page.name}: {module}"
    targets = re.findall(r"^([\w-]+):", text_of(REPOSITORY / "Makefile"), flags=re.MULTILINE)
    named = re.findall(r"(?:^|`)make ([\w-]+)", text_of(page), flags=re.MULTILINE)
    assert {*named} <= {*targets}, page.name
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(page)):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_pictures_are_small() -> None:
    for path in (REPOSITORY / "docs/images").iterdir():
        assert path.stat().st_size < 150_000, path


@pytest.mark.skipif(
    not all(map(find_spec, ("mkdocs", "material", "mkdocstrings"))),
    reason="the extra docs is not installed: pip install 'seglab[docs]'",
)
def test_the_site_builds_and_a_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir"]
    # What would ask a server fails: no proxy listens at port 9.
    closed = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    built = subprocess.run(
        [*command, str(tmp_path / "site")],
        cwd=REPOSITORY,
        env={**os.environ, **closed, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stderr
    pages = list(tmp_path.glob("site/**/*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        html = text_of(page)
        loaded = re.findall(r"<(?:script|img|iframe)[^>]+src=\"?([^\s\">]+)", html)
        loaded += re.findall(r"<link[^>]+rel=\"?(?:stylesheet|preconnect)[^>]*>", html)
        assert not [one for one in loaded if re.search(r"(?<![\w])(?:https?:)?//", one)], page
    styles = [text_of(path) for path in tmp_path.glob("site/**/*.css")]
    assert not [one for style in styles for one in re.findall(r"url\([\"']?https?:", style)]
    shutil.rmtree(tmp_path / "site")
