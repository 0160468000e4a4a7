"""Pictures of fixed samples: the same every time, when they are due, under safe names."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from seglab.callbacks.predictions import PredictionPictures
from seglab.callbacks.validation import ValidationRecord
from seglab.data.datamodule import Batch
from seglab.data.sampling import spread
from seglab.metrics.confusion import SegmentationMetrics
from seglab.tasks.base import Output

CLASSES = ("background", "leaf")


def pictures(
    folder: Path, total: int = 5, count: int = 2, every_n_epochs: int = 0
) -> PredictionPictures:
    return PredictionPictures(folder / "predictions", CLASSES, spread(total, count), every_n_epochs)


def trainer(epoch: int = 0, fn: str = "fit", max_epochs: int = 6) -> SimpleNamespace:
    state = SimpleNamespace(fn=fn)
    return SimpleNamespace(
        state=state, current_epoch=epoch, max_epochs=max_epochs, is_global_zero=True
    )


def validate(callback: PredictionPictures, at: SimpleNamespace, ids: list[str]) -> None:
    """Hand over a validation in batches of two."""
    metrics = SegmentationMetrics(CLASSES)
    task: Any = SimpleNamespace(scores={}, evaluation=None)
    record = ValidationRecord(task, callback.places, 0, callback.draw, [callback])
    for start in range(0, len(ids), 2):
        size = len(ids[start : start + 2])
        batch = Batch(
            torch.zeros(size, 3, 6, 8, dtype=torch.uint8),
            torch.zeros(size, 6, 8, dtype=torch.uint8),
            torch.arange(start, start + size),
            ids[start : start + 2],
        )
        prediction = torch.ones(size, 6, 8, dtype=torch.uint8)
        metrics.update(prediction, batch.class_map, index=batch.position)
        output = Output(prediction, metrics.latest)
        record.on_validation_batch_end(at, task, output, batch, start // 2)  # type: ignore[arg-type]
    metrics.compute()
    task.evaluation = metrics.evaluation
    record.on_validation_end(at, task)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "predictions").iterdir())


@pytest.mark.parametrize(
    ("total", "count", "chosen"),
    [
        (5, 2, {0, 4}),
        (5, 3, {0, 2, 4}),
        (213, 6, {0, 42, 85, 127, 170, 212}),
        (5, 1, {0}),
        (3, 6, {0, 1, 2}),
        (5, 0, set()),
        (1, 1, {0}),
    ],
)
def test_the_samples_are_spread_evenly(
    tmp_path: Path, total: int, count: int, chosen: set[int]
) -> None:
    assert pictures(tmp_path, total, count).places == chosen


def test_only_the_chosen_samples_are_drawn(tmp_path: Path) -> None:
    callback = pictures(tmp_path)
    validate(callback, trainer(fn="validate"), ["a", "b", "c", "d", "e"])
    assert names(tmp_path) == ["a.png", "e.png"]
    assert callback.written == [tmp_path / "predictions" / name for name in names(tmp_path)]
    with Image.open(tmp_path / "predictions" / "a.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 3 * picture.height / 2  # image | truth | prediction


@pytest.mark.parametrize(
    ("every_n_epochs", "due"), [(0, {5}), (1, {0, 1, 2, 3, 4, 5}), (4, {3, 5}), (10, {5})]
)
def test_pictures_are_drawn_when_due(tmp_path: Path, every_n_epochs: int, due: set[int]) -> None:
    for epoch in range(6):
        folder = tmp_path / str(epoch)
        validate(pictures(folder, every_n_epochs=every_n_epochs), trainer(epoch), list("abcde"))
        assert folder.exists() == (epoch in due)


def test_a_later_epoch_replaces_the_picture(tmp_path: Path) -> None:
    callback = pictures(tmp_path, every_n_epochs=1)
    validate(callback, trainer(0), list("abcde"))
    (tmp_path / "predictions" / "a.png").write_bytes(b"old")
    validate(callback, trainer(1), list("abcde"))
    assert (tmp_path / "predictions" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert names(tmp_path) == ["a.png", "e.png"]
    assert len(callback.written) == 2


def test_names_stay_inside_the_folder(tmp_path: Path) -> None:
    validate(pictures(tmp_path, 4, 4), trainer(5), ["sub/one", "../two", "/three", "2007_000032"])
    assert names(tmp_path) == [".._two.png", "2007_000032.png", "_three.png", "sub_one.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]
