"""Images that are too large for the memory are warned of, or refused, before they are tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seglab.config.compose import compose
from seglab.errors import ConfigError
from seglab.inference.memory import untiled_bytes
from seglab.schema import TrainConfig
from seglab.tasks.batches import check_memory

SIZES = {"small.png": (40, 60), "large.png": (4000, 6000), "tall.png": (3000, 10)}


def test_the_largest_image_decides() -> None:
    config = compose("train", TrainConfig, []).config
    needed = untiled_bytes((4000, 6000), 7, "prediction")
    assert check_memory(config, "prediction", SIZES, needed) is None
    warning = check_memory(config, "prediction", SIZES, needed - 1)
    assert warning is not None
    assert warning.startswith("large.png: 6000x4000 pixels at once take about ")
    assert "evaluation.tile" in warning
    with pytest.raises(ConfigError, match=r"large\.png: .*evaluation\.tile=512"):
        check_memory(config, "prediction", SIZES, needed // 2 - 1)
    tiled = replace(config, evaluation=replace(config.evaluation, tile=512))
    assert check_memory(tiled, "prediction", SIZES, 1) is None


def test_more_classes_and_evaluation_take_more() -> None:
    one = untiled_bytes((100, 100), 21, "prediction")
    assert untiled_bytes((100, 100), 42, "prediction") == 2 * one
    assert untiled_bytes((100, 100), 2, "prediction") == one
    assert untiled_bytes((100, 100), 21, "evaluation") > one


@pytest.mark.parametrize(("free", "code"), [(1_500_000, 0), (100_000, 2)])
def test_predict_and_evaluate_tell_it_in_one_line(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    code: int,
) -> None:
    assert seglab_cli("train", *tiny, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    monkeypatch.setattr("seglab.session.session.available_memory", lambda: free)
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    checkpoint = "checkpoint=run/checkpoints/last.ckpt"
    for call in (["predict", "input=a.png", "output=maps"], ["evaluate", "hydra.run.dir=e"]):
        answer = seglab_cli(call[0], checkpoint, *call[1:])
        assert answer.code == code, answer.err
        text = answer.err if code else answer.out
        assert "pixels at once take about" in text
        assert "evaluation.tile=512" in text
        answer = seglab_cli(call[0], checkpoint, *call[1:-1], f"{call[-1]}2", "evaluation.tile=32")
        assert answer.code == 0, answer.err
        assert "at once take" not in answer.out
