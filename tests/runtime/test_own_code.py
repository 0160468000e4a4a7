"""The user's own modules behind a configuration."""

import shutil
import sys
from pathlib import Path

import pytest

from seglab.errors import RunError
from seglab.runtime.own_code import own_code_digests, own_modules

FILES = {
    "mine.py": "import torch\nfrom helper import x\nfrom pkg import sub\nimport ns.inner\n",
    "helper.py": "import os\nimport numpy\nfrom seglab.models import FCN",
    "pkg/__init__.py": "",
    "pkg/sub/__init__.py": "from .. import other\nfrom .deep import y",
    "pkg/sub/deep.py": "from ..... import beyond",
    "pkg/other.py": "def later():\n    from pkg.lazy import z",
    "pkg/lazy.py": "import mine\nimport ns.deep.deeper.x",
    "ns/inner.py": "def broken(:",
    "ns/deep/deeper/x.py": "import ns.inner",
    "unused.py": "",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def config(target: str) -> dict[str, object]:
    return {"model": {"net": {"_target_": target}}, "optimizer": {"_target_": "torch.optim.SGD"}}


def test_what_a_module_imports_is_found_without_importing_it(folder: Path) -> None:
    modules = own_modules(config("mine.Net"))
    assert modules == {name: folder / name for name in sorted({*FILES} - {"unused.py"})}
    assert "mine" not in sys.modules


def test_targets_in_lists_and_functions_by_path_are_found(folder: Path) -> None:
    assert [*own_modules({"a": [{"b": ({"_target_": "ns.inner.Net"},)}]})] == ["ns/inner.py"]
    node = {"_target_": "hydra.utils.get_class", "path": "pkg.lazy.Net"}
    assert [*own_modules({"a": node})][-1] == "pkg/sub/deep.py"


def test_installed_and_shipped_targets_are_not_own(folder: Path) -> None:
    for target in (
        "seglab.models.FCN",
        "torch.nn.Module",
        "json.loads",
        "no.Net",
        "test.support.X",
    ):
        assert own_modules(config(target)) == {}
    assert own_modules(config("__main__.Net")) == {}
    assert own_code_digests({}) == {}


@pytest.mark.parametrize("changed", sorted({*FILES} - {"unused.py"}))
def test_each_file_changes_the_digest_and_nothing_else_does(
    folder: Path, changed: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = own_code_digests(own_modules(config("mine.Net")))
    (folder / "unused.py").write_text("other")
    assert own_code_digests(own_modules(config("mine.Net"))) == before
    (folder / changed).write_text(f"{FILES[changed]}\n# changed")
    assert own_code_digests(own_modules(config("mine.Net"))) != before


def test_a_moved_folder_has_the_same_code(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = own_code_digests(own_modules(config("mine.Net")))
    moved = tmp_path_factory.mktemp("moved")
    shutil.copytree(folder, moved, dirs_exist_ok=True)
    monkeypatch.syspath_prepend(moved)
    modules = own_modules(config("mine.Net"))
    assert modules["mine.py"] == moved / "mine.py"
    assert own_code_digests(modules) == before


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"mine.py: cannot be read: No such file"):
        own_code_digests({"mine.py": tmp_path / "mine.py"})
