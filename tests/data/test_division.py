"""Divisions in training and validation: every class is trained on, groups stay whole."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path

import numpy as np
import pytest
from helpers import exports
from helpers.exports import scenes
from PIL import Image

from seglab.config.compose import compose
from seglab.data.division import divide
from seglab.data.identity import data_identity
from seglab.data.layouts.base import SplitFiles
from seglab.data.layouts.opening import open_files
from seglab.errors import ConfigError
from seglab.schema import DataConfig, TrainConfig

DIVIDED = 4000, "8818d7c2042213dfb2061d4b4912354cd97e27e81ce6e51ce30639527a6f6652"


def drawn(count: int, seed: int) -> dict[str, set[int]]:
    """Return images with one to four of 20 classes, some of which are rare."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, 21) ** 2
    return {
        f"{number:04}": {0, *rng.choice(20, rng.integers(1, 5), p=weights / weights.sum()).tolist()}
        for number in range(count)
    }


def classes(present: Mapping[str, Set[int]], ids: list[str]) -> set[int]:
    return set().union(*(present[name] for name in ids))


@pytest.mark.parametrize("count", [2, 3, 7, 40, 400])
@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.8])
def test_both_parts_are_whole_and_every_class_is_trained_on(count: int, fraction: float) -> None:
    for seed in range(10):
        present = drawn(count, seed)
        train, val = divide(present, fraction, seed)
        assert sorted(train + val) == sorted(present)
        assert train
        assert val
        assert train == sorted(train)
        if count > 3:
            assert classes(present, train) == classes(present, [*present])
        if count == 400 and fraction <= 0.5:
            assert len(val) == pytest.approx(fraction * count, abs=3)


def plain_division(
    present: Mapping[str, Set[int]], fraction: float, seed: int, group: str | None
) -> tuple[list[str], list[str]]:
    """Divide unit by unit, as the paper's pseudocode does."""
    members: dict[str, list[str]] = {}
    for name in sorted(present):
        match = re.search(group, name) if group else None
        members.setdefault(match[0] if match else name, []).append(name)
    counts = {
        unit: Counter(x for n in names for x in present[n]) for unit, names in members.items()
    }
    order = sorted(members, key=lambda unit: hashlib.sha256(f"{seed}|{unit}".encode()).digest())
    shares, part = (1 - fraction, fraction), dict[str, int]()
    totals = sum(counts.values(), Counter[int]())
    lacks = {label: [share * total for share in shares] for label, total in totals.items()}
    room = [share * len(present) for share in shares]

    def put(unit: str, wanted: list[float]) -> None:
        half = len(members[unit]) / 2 - 1e-6
        first = (wanted[0], room[0]) >= (wanted[1], room[1])
        side = part[unit] = 0 if room[0] > half and (first or room[1] <= half) else 1
        room[side] -= len(members[unit])
        for label, count in counts[unit].items():
            totals[label] -= count
            lacks[label][side] -= count

    while remaining := [label for label in totals if totals[label]]:
        rarest = min(remaining, key=lambda label: (totals[label], label))
        for unit in order:
            if unit not in part and rarest in counts[unit]:
                put(unit, lacks[rarest])
    for unit in order:
        if unit not in part:
            put(unit, room)
    for unit in order:
        trained = {x for other in order if part[other] == 0 for x in counts[other]}
        if part[unit] == 1 and not trained.issuperset(counts[unit]):
            part[unit] = 0
    if len({*part.values()}) == 1:
        seen = Counter(label for unit in order for label in counts[unit])
        least = {unit: min((seen[x] for x in counts[unit]), default=0) for unit in order}
        part[max(order, key=least.__getitem__)] ^= 1
    sides = ([n for u in order if part[u] == side for n in members[u]] for side in (0, 1))
    train, val = map(sorted, sides)
    return train, val


@pytest.mark.parametrize("group", [None, r"^s\d", r"\d\d$"])
@pytest.mark.parametrize("count", [2, 3, 5, 9, 40, 120])
def test_it_is_the_plain_division_unit_by_unit(count: int, group: str | None) -> None:
    for seed in range(6):
        images = enumerate(drawn(count, seed).values())
        named = {f"s{n % 7}/{n:04}": have - {n % 3} for n, have in images}
        for fraction in (0.001, 0.2, 0.5, 0.9):
            expected = plain_division(named, fraction, seed, group)
            assert divide(named, fraction, seed, group) == expected


def test_a_large_division_is_the_same_on_every_machine() -> None:
    train, val = divide(drawn(20_000, 5), 0.2, 3)
    digest = hashlib.sha256("".join(train + val).encode()).hexdigest()
    assert (len(val), digest) == DIVIDED


def test_common_classes_are_shared_out_in_proportion() -> None:
    present = drawn(400, 1)
    _, val = divide(present, 0.2, 0)
    for label in range(20):
        total = sum(label in have for have in present.values())
        if total >= 10:
            share = sum(label in present[name] for name in val) / total
            assert share == pytest.approx(0.2, abs=0.08)


def test_it_follows_from_contents_and_seed_and_not_from_the_order() -> None:
    present = drawn(60, 2)
    first = divide(present, 0.25, 0)
    assert divide(dict(reversed(present.items())), 0.25, 0) == first
    assert divide(present, 0.25, 1) != first
    known = divide({name: {0, place % 3} for place, name in enumerate("abcdefgh")}, 0.25, 0)
    assert known == (["a", "b", "c", "e", "f", "g"], ["d", "h"]), "on every machine"


def test_groups_stay_on_one_side() -> None:
    present = {f"site{n % 9}/{n:03}": have for n, have in enumerate(drawn(90, 3).values())}
    for pattern in (r"^(site\d)/", r"site\d"):
        train, val = divide(present, 0.3, 0, pattern)
        sites = [{re.match(r"site\d", name)[0] for name in ids} for ids in (train, val)]  # type: ignore[index]
        assert not sites[0] & sites[1]
        assert len(val) == 30


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ("(", "no regular expression"),
        ("x", "does not match the id '0000'"),
        ("0", "there is one group"),
    ],
)
def test_a_wrong_group_is_named(group: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"data.group={group}: ")) as caught:
        divide(drawn(5, 0), 0.2, 0, group)
    assert says in str(caught.value)


def config(root: Path, *more: str) -> DataConfig:
    given = ["data=folder", "data.val_fraction=0.25", f"data.root={root}", *more]
    return compose(
        "train", TrainConfig, [*given, f"data.store.dir={root.parent}/store"]
    ).config.data


def test_which_classes_an_image_has_is_read_once_and_belongs_to_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    exports.write_cvat(root, scenes())
    parts = [open_files(config(root), split).ids for split in ("train", "val")]
    identity = data_identity(config(root), "val", instances=False)
    other = data_identity(config(root, "data.split_seed=1"), "val", instances=False)
    assert other != identity
    names = (root / "ImageSets/Segmentation/default.txt").read_text().splitlines()
    (root / "ImageSets/Segmentation/default.txt").write_text("\n".join(sorted(names)))
    assert [open_files(config(root), split).ids for split in ("train", "val")] == parts
    assert data_identity(config(root), "val", instances=False) == identity

    def explode(self: SplitFiles, index: int) -> list[int]:
        raise AssertionError("read again")

    monkeypatch.setattr(SplitFiles, "read_classes", explode)
    assert [open_files(config(root), split).ids for split in ("train", "val")] == parts
    mask = next((root / "SegmentationClass").iterdir())
    with Image.open(mask) as picture:
        picture.transpose(Image.Transpose.ROTATE_180).save(mask)
    with pytest.raises(AssertionError, match="read again"):
        open_files(config(root), "train")


def test_a_division_is_taken_from_lists(tmp_path: Path) -> None:
    exports.write_cvat(tmp_path / "data", scenes())
    lists = tmp_path / "splits"
    lists.mkdir()
    (lists / "train.txt").write_text("field 03\nfield 01\n")
    (lists / "val.txt").write_text("field 02\nfield 99\n")
    given = config(tmp_path / "data", f"data.splits={lists}")
    assert open_files(given, "train").ids == ["field 03", "field 01"]
    with pytest.raises(Exception, match=r"val\.txt: lists 'field 99', which .*default\.txt does"):
        open_files(given, "val")
