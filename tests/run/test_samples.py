"""What a run keeps of its evaluation: the fixed samples, the worst, and all counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seglab.data.sampling import spread
from seglab.metrics.confusion import SegmentationMetrics
from seglab.metrics.counts import miou
from seglab.run.evaluation import LONGEST, read_evaluation
from seglab.run.paths import FIXED, WORST
from seglab.run.samples import (
    NUMBER_OF_WORST,
    SampleCollector,
    SampleWriter,
    Validated,
    worst_of,
)

CLASSES = ("background", "thing")


def evaluate(
    folder: Path, errors: list[int], count: int = 2, size: tuple[int, int] = (8, 8)
) -> None:
    """Evaluate images of which ``errors`` pixels each are wrong, last image first."""
    ids = [f"set/{index}" for index in range(len(errors))]
    fixed = spread(len(ids), count)
    number = NUMBER_OF_WORST if fixed else 0
    collected, metrics = SampleCollector(fixed, number), SegmentationMetrics(CLASSES)
    for index in reversed(range(len(errors))):
        truth = torch.zeros(size, dtype=torch.uint8)
        truth[: size[0] // 2] = 1
        prediction = truth.clone()
        prediction.view(-1)[: errors[index]] ^= 1
        metrics.update(prediction[None], truth[None], index=torch.tensor([index]))
        add(collected, index, ids[index], truth, prediction, metrics)
    metrics.compute()
    assert metrics.evaluation is not None
    worst = worst_of(metrics.evaluation, number)
    samples = list(collected.samples.values())
    SampleWriter(folder, ids, CLASSES, fixed).show(
        Validated(samples, worst, metrics.evaluation, {})
    )


def add(
    collected: SampleCollector,
    index: int,
    name: str,
    truth: torch.Tensor,
    prediction: torch.Tensor,
    metrics: SegmentationMetrics,
) -> None:
    score = float(miou(metrics.latest.numpy())[0])
    image = torch.full((3, *truth.shape), index, dtype=torch.uint8)
    collected.offer(index, name, score, (image, truth, prediction))


def kept(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.jpg")}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_the_worst_and_the_fixed_samples_are_kept(tmp_path: Path) -> None:
    errors = list(range(20, 0, -1))
    evaluate(tmp_path, errors)
    assert kept(tmp_path / WORST) == {f"set_{index}" for index in range(NUMBER_OF_WORST)}
    assert kept(tmp_path / FIXED) == {"set_0", "set_19"}
    prediction = pixels(tmp_path / WORST / "set_3.prediction.png")
    truth = pixels(tmp_path / WORST / "set_3.truth.png")
    assert (prediction != truth).sum() == errors[3]
    found = read_evaluation(tmp_path)
    assert found is not None
    assert found.ids == [f"set/{index}" for index in range(20)]
    assert list(found.mious().values()) == sorted(found.mious().values())


def test_a_later_evaluation_replaces_the_worst(tmp_path: Path) -> None:
    evaluate(tmp_path, list(range(20, 0, -1)))
    evaluate(tmp_path, list(range(1, 21)))
    assert kept(tmp_path / WORST) == {f"set_{index}" for index in range(8, 20)}
    assert len(list((tmp_path / WORST).iterdir())) == 3 * NUMBER_OF_WORST


def test_without_pictures_the_counts_are_kept_all_the_same(tmp_path: Path) -> None:
    evaluate(tmp_path, [1, 2, 3], count=0)
    assert not (tmp_path / "samples").exists()
    assert read_evaluation(tmp_path) is not None


def test_large_pictures_are_shrunk_and_keep_their_classes(tmp_path: Path) -> None:
    evaluate(tmp_path, [5], count=1, size=(1200, 600))
    for end in (".jpg", ".truth.png", ".prediction.png"):
        assert pixels(tmp_path / FIXED / f"set_0{end}").shape[:2] == (LONGEST, LONGEST // 2)
    assert set(np.unique(pixels(tmp_path / FIXED / "set_0.truth.png"))) == {0, 1}


def test_an_image_that_is_all_void_is_no_worst_one(tmp_path: Path) -> None:
    collected, metrics = SampleCollector({0}, NUMBER_OF_WORST), SegmentationMetrics(CLASSES)
    void = torch.full((4, 4), 255, dtype=torch.uint8)
    prediction = torch.zeros(4, 4, dtype=torch.uint8)
    for index, name in enumerate("ab"):
        metrics.update(prediction[None], void[None], index=torch.tensor([index]))
        add(collected, index, name, void, prediction, metrics)
    metrics.compute()
    assert metrics.evaluation is not None
    worst = worst_of(metrics.evaluation, NUMBER_OF_WORST)
    assert worst == []
    samples = list(collected.samples.values())
    SampleWriter(tmp_path, ["a", "b"], CLASSES, {0}).show(
        Validated(samples, worst, metrics.evaluation, {})
    )
    assert kept(tmp_path / FIXED) == {"a"}
    assert not (tmp_path / WORST).exists()
