"""A validated image is counted once, whoever shows it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from seglab.metrics import confusion


def test_one_confusion_matrix_per_image_with_pictures_samples_and_wandb(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[int, ...]] = []
    count = confusion.confusion_matrix

    def spy(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
        counted.append(tuple(target.shape))
        return count(prediction, target, num_classes)

    monkeypatch.setattr(confusion, "confusion_matrix", spy)
    logged = ["logger=wandb", "logger.mode=offline", "pictures.samples=2"]
    answer = seglab_cli(
        "train", *tiny, *logged, "pictures.every_n_epochs=1", "trainer.max_epochs=2",
        "hydra.run.dir=run",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    images = 5  # data.synth.val of tiny
    assert len(counted) == 2 * images
    assert len(list((tmp_path / "run/predictions").glob("*.png"))) == 2
    assert len(list((tmp_path / "run/samples/fixed").glob("*.jpg"))) == 2
    assert len(list((tmp_path / "run/samples/worst").glob("*.jpg"))) == images
    assert list((tmp_path / "run/wandb").glob("offline-run-*/files/media/images/predictions/*"))
