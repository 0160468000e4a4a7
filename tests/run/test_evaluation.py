"""evaluation.npz: what comes back is what was kept, and nothing of a stranger's is unpickled."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from seglab.errors import RunError
from seglab.run.evaluation import (
    StoredEvaluation,
    read_evaluation,
    sample_files,
    save_evaluation,
)
from seglab.run.paths import EVALUATION


def kept(**changes: object) -> StoredEvaluation:
    confusions = np.random.default_rng(0).integers(0, 50, (4, 3, 3))
    both = confusions.diagonal(axis1=1, axis2=2)
    values = {
        "confusion": confusions.sum(0),
        "counts": np.stack([confusions.sum(2), confusions.sum(1), both], axis=1),
        "ids": ["a", "ü/b", "c", "d" * 40],
        "classes": ["background", "<b>", "person"],
    }
    return StoredEvaluation(**{**values, **changes})  # type: ignore[arg-type]


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    assert read_evaluation(tmp_path) is None
    before = kept()
    save_evaluation(tmp_path, before)
    after = read_evaluation(tmp_path)
    assert after is not None
    assert np.array_equal(after.confusion, before.confusion)
    assert np.array_equal(after.counts, before.counts)
    assert after.counts.dtype == np.int64
    assert (after.ids, after.classes) == (before.ids, before.classes)
    assert after.mious() == before.mious()
    assert [path.name for path in tmp_path.iterdir()] == [EVALUATION]


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / EVALUATION
    save_evaluation(tmp_path, kept())
    whole = path.read_bytes()
    for content in (b"", b"not a zip", whole[: len(whole) // 2], whole[:80] + whole[90:]):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"evaluation\.npz: damaged"):
            read_evaluation(tmp_path)
    np.savez(path, confusion=np.zeros((3, 3), np.int64))
    with pytest.raises(RunError, match="damaged"):
        read_evaluation(tmp_path)
    save_evaluation(tmp_path, kept(ids=["a"]))
    with pytest.raises(RunError, match="1 images and 3 classes"):
        read_evaluation(tmp_path)


def test_what_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seglab.run.evaluation.MAX_BYTES", 10_000)
    np.savez_compressed(tmp_path / EVALUATION, confusion=np.zeros((100, 100), np.int64))
    with pytest.raises(
        RunError, match=r"evaluation\.npz: .* 80,128 bytes unpacked; more than 10,000"
    ):
        read_evaluation(tmp_path)


def test_a_damaged_stream_is_refused(tmp_path: Path) -> None:
    """Zlib's errors are of no kind that Python knows: found by a fuzz test."""
    save_evaluation(tmp_path, kept())
    whole = (tmp_path / EVALUATION).read_bytes()
    for at in range(60, len(whole) - 200, 7):
        flipped = bytearray(whole)
        flipped[at] ^= 0x55
        (tmp_path / EVALUATION).write_bytes(flipped)
        with suppress(RunError):
            read_evaluation(tmp_path)


def test_code_is_not_run(tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> object:
            return (Path.write_text, (tmp_path / "ran", "yes"))

    np.savez(tmp_path / EVALUATION, confusion=np.array([Bad()], dtype=object))
    with pytest.raises(RunError, match="damaged"):
        read_evaluation(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_same_images_have_the_same_names_classes_and_truth() -> None:
    one = kept()
    assert one.same_images(kept())
    assert not one.same_images(kept(ids=["a", "b", "c", "x"]))
    assert not one.same_images(kept(classes=["background", "b", "c"]))
    other = one.counts.copy()
    other[2, 1:] = 0
    assert one.same_images(kept(counts=other)), "predictions may differ"
    other[2, 0, 1] += 1
    assert not one.same_images(kept(counts=other))


def test_a_sample_lies_in_one_folder_whatever_its_name(tmp_path: Path) -> None:
    paths = sample_files(tmp_path, "a/b")
    assert [path.name for path in paths] == ["a_b.jpg", "a_b.truth.png", "a_b.prediction.png"]
    assert {path.parent for path in paths} == {tmp_path}
