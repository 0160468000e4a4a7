"""seglab export as a user calls it: written, checked, and read again by every command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import seglab

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

CHECKPOINT = "checkpoint=run/checkpoints/last.ckpt"


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    paths = [tmp_path / f"photos/{name}.png" for name in "ab"]
    for path, size in zip(paths, ((33, 47), (64, 101)), strict=True):
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return paths


def example(of: str) -> str:
    """Return the Python of docs/export.md that uses ``of``."""
    page = Path(__file__).parents[2] / "docs/export.md"
    shown = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    (text,) = (one for one in shown if of in one)
    return str(text)


def metrics(folder: Path) -> dict[str, float]:
    read: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return read


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_a_semantic_model_is_the_same_in_every_command(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    photos: list[Path],
    suffix: str,
) -> None:
    own = [*tiny, "trainer.max_epochs=1", "evaluation.flip=true"]
    trained = seglab_cli("train", *own, "hydra.run.dir=run")
    assert trained.code == 0, trained.err
    answer = seglab_cli("export", CHECKPOINT, f"output=out/model.{suffix}")
    assert answer.code == 0, answer.err
    assert [path.name for path in (tmp_path / "out").glob(f"*.{suffix}*")] == [f"model.{suffix}"]
    trust = ["trust=true"] if suffix == "pt2" else []
    exported = [f"checkpoint=out/model.{suffix}", *trust]

    plain = [CHECKPOINT, "evaluation.flip=false"]
    for folder, source in (("e1", plain), ("e2", exported)):
        answer = seglab_cli("evaluate", *source, f"hydra.run.dir={folder}")
        assert answer.code == 0, answer.err
    before, after = metrics(tmp_path / "e1"), metrics(tmp_path / "e2")
    assert before.keys() == after.keys()
    assert after["val/mIoU"] == pytest.approx(before["val/mIoU"], abs=1e-3)
    assert after["val/loss"] == pytest.approx(before["val/loss"], abs=1e-4)

    for folder, source in (("m1", plain), ("m2", exported)):
        answer = seglab_cli("predict", *source, "input=photos", f"output={folder}")
        assert answer.code == 0, answer.err
    model = seglab.load(tmp_path / f"out/model.{suffix}", trust=bool(trust))
    assert model.classes == seglab.load(tmp_path / "run/checkpoints/last.ckpt").classes
    for photo in photos:
        one, other = (np.asarray(Image.open(tmp_path / f / photo.name)) for f in ("m1", "m2"))
        assert (one == other).mean() > 0.999
        assert (model.predict(photo).numpy() == other).all()
        assert model.overlay(photo).size == other.shape[::-1]


def test_the_probabilities_of_two_models_are_combined_as_shown(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    photos: list[Path],
) -> None:
    for seed, folder in enumerate(("first", "second")):
        trained = seglab_cli("train", *tiny, f"seed={seed}", f"hydra.run.dir=run{seed}")
        assert trained.code == 0, trained.err
        call = [f"checkpoint=run{seed}/checkpoints/last.ckpt", "input=photos", f"output={folder}"]
        assert seglab_cli("predict", *call, "--probabilities").code == 0
    exec(example("probabilities"), {})
    soft = [np.load(tmp_path / f"{name}/probabilities/a.npz") for name in ("first", "second")]
    mean = sum(one["probabilities"].astype(np.float64) for one in soft) / 2
    combined = np.asarray(Image.open(tmp_path / "mean/a.png"))
    assert combined.shape == mean.shape[1:]
    chosen = np.take_along_axis(mean, combined[None].astype(np.intp), 0)[0]
    assert chosen == pytest.approx(mean.max(0), abs=1e-6)


def test_any_program_with_onnxruntime_can_use_the_file(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    photos: list[Path],
) -> None:
    assert seglab_cli("train", *tiny, "hydra.run.dir=run").code == 0
    answer = seglab_cli("export", CHECKPOINT, "output=model.onnx")
    assert answer.code == 0, answer.err
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    about = session.get_modelmeta().custom_metadata_map
    model = seglab.load(tmp_path / "run/checkpoints/last.ckpt")
    assert json.loads(about["classes"]) == list(model.classes)
    assert json.loads(about["mean"]) == pytest.approx([0.485, 0.456, 0.406])
    measured = metrics(tmp_path / "run")
    assert json.loads(about["metrics"])["val/mIoU"] == measured["val/mIoU"]
    for photo in photos:
        pixels = np.asarray(Image.open(photo))
        class_map, logits = session.run(None, {"image": pixels.transpose(2, 0, 1)[None]})
        assert class_map.dtype == np.uint8
        assert class_map.shape == (1, *pixels.shape[:2])
        assert logits.shape == (1, len(model.classes), *pixels.shape[:2])
        assert (logits.argmax(1) == class_map).all()
        values = {"pixels": pixels.transpose(2, 0, 1)}
        exec(example("onnxruntime"), values)
        assert (values["class_map"] == class_map).all()
        assert (class_map[0] == model.predict(photo).numpy()).mean() > 0.999


def test_mask_rcnn_keeps_its_objects(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, photos: list[Path]
) -> None:
    own = [one for one in tiny if not one.startswith("model.net")]
    # All of an untrained net's scores are nearly equal, and its order is that of the last bits:
    # with a few objects, none of which overlap, it is of no account.
    model = ["model=mask_rcnn", "model.net.channels=16", "model.net.box_detections_per_img=4"]
    short = ["trainer.max_epochs=1", "optimizer.lr=1e-2", "hydra.run.dir=run"]
    assert seglab_cli("train", *own, *model, *short, "model.net.box_nms_thresh=0.01").code == 0
    answer = seglab_cli("export", CHECKPOINT, "output=model.pt2")
    assert answer.code == 2
    assert "give output=FILE.onnx" in answer.last_line
    answer = seglab_cli("export", CHECKPOINT, "output=model.onnx", "evaluation.score_threshold=0.1")
    assert answer.code == 0, answer.err
    exported = seglab.load(tmp_path / "model.onnx")
    original = seglab.load(tmp_path / "run/checkpoints/last.ckpt")
    for photo in photos:
        found, expected = exported.detect(photo), original.detect(photo)
        assert len(found) == len(expected)
        assert found.scores.tolist() == pytest.approx(expected.scores.tolist(), abs=1e-4)
        assert found.masks.shape == expected.masks.shape
    answer = seglab_cli("predict", "checkpoint=model.onnx", "input=photos", "output=maps")
    assert answer.code == 0, answer.err
    assert len(list((tmp_path / "maps/instances").glob("*.png"))) == 2


def test_wrong_requests_are_answered_in_one_line(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seglab_cli("train", *tiny, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    (tmp_path / "there.onnx").write_bytes(b"mine")
    for output, more, text in (
        ("model.h5", [], "must end in .onnx or .pt2"),
        ("there.onnx", [], "exists already"),
        ("there.onnx/model.onnx", [], "is a file, not a folder"),
        ("a.onnx", ["evaluation.flip=true"], "writes the plain net"),
        ("a.onnx", ["evaluation.scores=1"], "did you mean"),
    ):
        answer = seglab_cli("export", CHECKPOINT, f"output={output}", *more)
        assert answer.code == 2
        assert text in answer.last_line
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"
    answer = seglab_cli("export", "checkpoint=there.onnx", "output=a.onnx")
    assert "is exported already" in answer.last_line

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("seglab.models.exported.import_module", missing)
    answer = seglab_cli("export", CHECKPOINT, "output=a.onnx")
    assert answer.code == 2
    assert "pip install 'seglab[onnx]'" in answer.last_line
    assert not (tmp_path / "a.onnx").exists()
