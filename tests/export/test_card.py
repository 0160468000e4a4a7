"""The model card beside an exported file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from seglab.config.compose import compose
from seglab.export.card import CARD, card
from seglab.export.metadata import published
from seglab.schema import TrainConfig

pytest.importorskip("onnx", reason="the extra onnx is not installed")


def front_matter(text: str) -> dict[str, Any]:
    _, matter, _ = text.split("---\n", 2)
    read: dict[str, Any] = yaml.safe_load(matter)
    return read


def test_a_card_tells_what_was_exported(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    assert seglab_cli("train", *tiny, "hydra.run.dir=run").code == 0
    call = ["export", "checkpoint=run/checkpoints/last.ckpt"]
    answer = seglab_cli(*call, "output=out/model.onnx")
    assert answer.code == 0, answer.err
    assert "fill in the licences" in answer.out
    text = (tmp_path / "out" / CARD).read_text()
    measured = json.loads((tmp_path / "run/metrics.json").read_text())
    status = json.loads((tmp_path / "run/status.json").read_text())
    matter = front_matter(text)
    assert matter["pipeline_tag"] == "image-segmentation"
    assert matter["library_name"] == "seglab"
    (result,) = matter["model-index"][0]["results"]
    assert result["dataset"]["split"] == "val"
    assert result["metrics"][0] == {
        "type": "mean_iou",
        "name": "val/mIoU",
        "value": measured["val/mIoU"],
    }
    assert "95 % interval over images" in text
    assert all(digest in text for digest in status["data"].values())
    assert "0. background" in text
    assert "- `seed`: `0`" in text
    assert 'onnxruntime.InferenceSession("model.onnx")' in text

    assert "ImageOps.exif_transpose" in text
    assert str(tmp_path) not in text
    assert str(tmp_path).encode() not in (tmp_path / "out/model.onnx").read_bytes()

    (tmp_path / "out" / CARD).write_text("mine")
    answer = seglab_cli(*call, "output=out/again.onnx")
    assert answer.code == 0, answer.err
    assert "kept; it exists already" in answer.out
    assert (tmp_path / "out" / CARD).read_text() == "mine"


def test_a_measurement_of_a_part_is_called_so() -> None:
    config = compose("train", TrainConfig, ["debug=short"]).config
    text = card("a.onnx", config, {"data": {}}, {"val/mIoU": 0.25})
    limit = config.trainer.limit_val_batches
    assert limit is not None
    assert f"of a part of the split (`trainer.limit_val_batches={limit}`)" in text
    assert f"- `trainer.limit_val_batches`: `{limit}`" in text
    assert "- `evaluation.tile`: `null`" in text


def test_a_folder_is_published_by_its_name_however_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for root in (".", str(tmp_path)):
        given = compose("train", TrainConfig, ["data=voc2007", f"data.root={root}"]).config
        assert published(given).data.root == tmp_path.name


def test_names_cannot_become_markup() -> None:
    names = "data.classes=['a|b','<script>','`c`']"
    config = compose("train", TrainConfig, ["data=folder", "data.root=.", names]).config
    text = card("a.onnx", config, {"data": {}}, {})
    assert "0. a/b" in text
    assert "1. (script)" in text
    assert "2. 'c'" in text
    assert "<" not in text.split("---\n", 2)[2]
    assert "Unknown: run `seglab evaluate`" in text
    assert "model-index" not in front_matter(text)
