"""Pictures of fixed samples, when due, under safe names; predictions, all, in their order."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from seglab.callbacks import predictions
from seglab.callbacks.predictions import PredictionPictures, WritePredictions
from seglab.callbacks.validation import ValidationRecord
from seglab.data.batches import Batch
from seglab.data.images import AHEAD, Images
from seglab.data.instances import Detections
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


def detections(score: float) -> Detections:
    masks = torch.zeros(1, 6, 8, dtype=torch.bool)
    masks[0, :2, :3] = True
    boxes = torch.tensor([[0.0, 0.0, 3.0, 2.0]])
    return Detections(masks, torch.ones(1, dtype=torch.int64), torch.tensor([score]), boxes)


@pytest.mark.parametrize("limit", [1, 2**28])
def test_predictions_are_all_written_and_objects_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(predictions, "WAITING_BYTES", limit)
    total, anything = AHEAD + 5, SimpleNamespace()
    with WritePredictions(tmp_path, CLASSES) as writing:
        for index in range(total):
            pixels, name = torch.zeros(1, 3, 6, 8, dtype=torch.uint8), f"{index:02}"
            batch = Images(pixels, [name], [f"{name}.tif"], [])
            found = [detections(index / 100)]
            class_map = torch.full((1, 6, 8), index % 2, dtype=torch.uint8)
            output = Output(class_map, objects=found, sure=found)
            writing.on_predict_batch_end(anything, anything, output, batch, index)  # type: ignore[arg-type]
        writing.on_predict_end(anything, anything)  # type: ignore[arg-type]
    written = json.loads((tmp_path / "instances.json").read_text())
    files = [image["file_name"] for image in written["images"]]
    assert files == [f"{index:02}.tif" for index in range(total)]
    for index, (image, each) in enumerate(
        zip(written["images"], written["annotations"], strict=True)
    ):
        assert each["image_id"] == image["id"] == each["id"] == index + 1
        assert each["score"] == pytest.approx(index / 100)
        assert each["area"] == 6
        with Image.open(tmp_path / f"{index:02}.png") as picture:
            assert picture.getextrema() == (index % 2, index % 2)
        assert (tmp_path / f"overlays/{index:02}.png").is_file()
        assert (tmp_path / f"instances/{index:02}.png").is_file()


def test_a_prediction_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    anything = SimpleNamespace()
    (tmp_path / "a.png").mkdir()
    batch = Images(torch.zeros(1, 3, 6, 8, dtype=torch.uint8), ["a"], ["a.jpg"], [])
    output = Output(torch.zeros(1, 6, 8, dtype=torch.uint8))
    with WritePredictions(tmp_path, CLASSES) as writing:
        writing.on_predict_batch_end(anything, anything, output, batch, 0)  # type: ignore[arg-type]
        with pytest.raises(OSError, match=r"a\.png"):
            writing.on_predict_end(anything, anything)  # type: ignore[arg-type]
