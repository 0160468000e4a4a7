"""``problems``: each one with its file, and on to the end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from seglab.data.check import problems
from seglab.data.coverage import equal_images
from seglab.data.dataset import VOCSegmentation
from seglab.data.store.digests import Record

if TYPE_CHECKING:
    from tests.data.conftest import Tree


@pytest.fixture
def whole(tree: Tree) -> Tree:
    """The hand-made tree with all five in one list, instance maps and annotations."""
    tree.list("all").write_text("a\nb\nc\nd\ne\n")
    tree.annotation("a").parent.mkdir()
    for name, sample in zip("abcde", VOCSegmentation(tree.root, 2007, "all"), strict=True):
        labels = sample.class_map.numpy()
        tree.write_mask(tree.instances(name), np.where(labels > 0, labels, 0))
        tree.annotation(name).write_text("<annotation/>")
    return tree


def lines(tree: Tree, **options: Any) -> list[str]:
    return list(problems(VOCSegmentation(tree.root, 2007, "all", **options)))


def test_a_sound_tree_has_none(whole: Tree, synth_root: Path) -> None:
    assert lines(whole) == lines(whole, instances=True) == []
    assert not list(problems(VOCSegmentation(synth_root, 2007, "trainval")))


@pytest.mark.parametrize("instances", [False, True])
def test_every_problem_has_a_line_and_its_file(whole: Tree, instances: bool) -> None:
    whole.image("a").write_bytes(b"no picture")
    whole.annotation("a").write_text("<annotation>")
    whole.mask("b").write_bytes(whole.mask("b").read_bytes()[:60])
    whole.write_mask(whole.mask("c"), np.full((6, 9), 99))
    whole.write_mask(whole.instances("d"), np.zeros((7, 7)))
    whole.annotation("e").write_text("<annotation><object/></annotation>")
    found = lines(whole, instances=instances)
    files = [line.split(": ")[0] for line in found]
    expected = [
        whole.image("a"),
        whole.annotation("a"),
        whole.mask("b"),
        whole.mask("c"),
        whole.instances("d"),
        whole.annotation("e"),
    ]
    assert files == [str(path) for path in expected]
    assert not any("\n" in line for line in found)
    said = dict(zip(files, found, strict=True))
    assert "label 99" in said[str(whole.mask("c"))]
    assert "<name>" in said[str(whole.annotation("e"))]


def test_damaged_instance_maps(whole: Tree) -> None:
    whole.instances("a").write_bytes(b"no picture")
    labels = np.zeros((9, 6))
    labels[0, :4] = 7
    labels[1, :2] = 255
    whole.write_mask(whole.mask("b"), labels)
    instances = np.zeros((9, 6))
    instances[0, :3] = 1  # on class 7 alone
    instances[0, 3] = 2
    instances[1, :5] = 2  # on void and background too
    whole.write_mask(whole.instances("b"), instances)
    first, second = lines(whole)
    assert first.startswith(f"{whole.instances('a')}: cannot be decoded")
    assert second == (
        f"{whole.instances('b')}: instance 2 covers several classes: 0 (3 pixels), 7 (1 pixels)"
    )


def test_missing_files_are_listed_too(whole: Tree) -> None:
    whole.image("b").unlink()
    whole.mask("d").unlink()
    shutil.rmtree(whole.instances("a").parent)
    found = lines(whole, missing_ok=True)
    assert [line.split(": ") for line in found] == [
        [str(whole.image("b")), "no such file"],
        [str(whole.mask("d")), "no such file"],
    ]


def test_progress_covers_every_sample(whole: Tree) -> None:
    seen: list[Any] = []

    def progress(items: Any, total: int, text: str) -> Any:
        seen.append((total, text))
        return items

    assert not list(problems(VOCSegmentation(whole.root, 2007, "all"), progress))
    assert seen == [(5, "checking all")]


def test_blank_images_do_not_make_pairs_of_all_with_all() -> None:
    def record(count: int) -> Record:
        return Record("0" * 64, "", None, ["ab" * 8 * count], [])

    train, val = [f"t{number}" for number in range(900)], [f"v{number}" for number in range(30)]
    pairs = equal_images(train, record(900), val, record(30))
    assert pairs == [("t0", name) for name in val]
    assert equal_images(train, record(900), train[:2], record(2)) == [("t1", "t0"), ("t0", "t1")]
