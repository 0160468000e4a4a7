"""Records and stores as a stranger would plant them: used only where they are what they say."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.damage import damaged
from helpers.fuzzing import check_line, fuzzed, trying
from hypothesis import given
from hypothesis import strategies as st

from seglab.data.dataset import VOCSegmentation
from seglab.data.store.cached import Cached
from seglab.data.store.records import RecordFile
from seglab.data.synthetic import SyntheticSpec, write_tree
from seglab.errors import DataError

KINDS = ["whole", "damaged", "link", "dangling", "writable", "folder", "gone", "odd"]
VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=4) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


class Planted:
    """A data set of three images with a store and a record that tests may spoil."""

    def __init__(self, folder: Path) -> None:
        write_tree(folder / "data", SyntheticSpec(train=3, val=1, width=32, height=32))
        self.files = VOCSegmentation(folder / "data", 2007, "train")
        self.whole, self.folder, self.precious = (
            folder / name for name in ("whole", "store", "precious")
        )
        self.whole.mkdir(mode=0o700)
        self.store = Cached(self.files, self.whole).path.name
        self.record = f"{RecordFile(self.files, self.whole).name}.json"
        self.precious.write_text("precious")

    def spoil(self, name: str, kind: str, draw: Any) -> None:
        path = self.folder / name
        raw = path.read_bytes()
        if kind == "damaged":
            path.write_bytes(draw(damaged(raw)))
        elif kind in ("link", "dangling"):
            path.unlink()
            path.symlink_to(self.precious if kind == "link" else self.folder / "nowhere")
        elif kind == "writable":
            path.chmod(0o666)
        elif kind == "folder":
            path.unlink()
            path.mkdir()
        elif kind == "gone":
            path.unlink()
        elif kind == "odd" and path.suffix in (".json", ".jsonl"):
            content = json.loads(raw)
            key = draw(st.sampled_from(sorted(content)))
            content[key] = draw(VALUES)
            path.write_text(json.dumps(content) + "\n")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"))


@fuzzed(60)
@given(data=st.data())
def test_planted_stores(planted: Planted, data: st.DataObject) -> None:
    shutil.rmtree(planted.folder, ignore_errors=True)
    shutil.copytree(planted.whole, planted.folder)
    planted.folder.chmod(0o700)
    kinds = {}
    for name in (planted.record, f"{planted.store}/index.jsonl"):
        kinds[name] = data.draw(st.sampled_from(KINDS))
        planted.spoil(name, kinds[name], data.draw)
    with trying("planted stores") as came_to:
        try:
            cached = Cached(planted.files, planted.folder)
            for index, sample in enumerate(cached):
                expected = planted.files.read(index)
                np.testing.assert_array_equal(sample.image.permute(1, 2, 0), expected.image)
                np.testing.assert_array_equal(sample.class_map, expected.class_map)
        except DataError as error:
            check_line(error)
            came_to("refused")
        else:
            assert "link" not in kinds.values()
            came_to("accepted")
    assert planted.precious.read_text() == "precious"
    assert not os.path.lexists(planted.folder / "nowhere")
