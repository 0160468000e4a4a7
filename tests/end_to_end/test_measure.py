"""seglab evaluate and seglab score agree with the training run, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def trained(seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path) -> Path:
    """Return the folder of a run on data in ``tmp_path/data``."""
    assert seglab_cli("train", *tiny, "data.root=data", "hydra.run.dir=run").code == 0
    return tmp_path / "run"


def metrics(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return found


def test_evaluate_repeats_the_runs_own_numbers_whatever_the_batching(
    seglab_cli: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    own = metrics(trained)
    for number, extra in enumerate(
        ([], ["data.eval_batch_size=1"], ["data.eval_batch_size=3", "data.num_workers=2"])
    ):
        answer = seglab_cli(
            "evaluate",
            f"checkpoint={trained}/checkpoints/last.ckpt",
            *extra,
            f"hydra.run.dir=evaluate{number}",
        )
        assert answer.code == 0, answer.err
        found = metrics(tmp_path / f"evaluate{number}")
        for name, value in own.items():
            if name.startswith("val/"):
                assert found[name] == value, name
        assert found["val/mIoU_low"] <= found["val/mIoU"] <= found["val/mIoU_high"]
        assert "95 % interval" in answer.out
        by_class = [v for name, v in found.items() if name.startswith("val/accuracy/")]
        found_of = [value for value in by_class if value is not None]
        assert found["val/mean_accuracy"] == pytest.approx(sum(found_of) / len(found_of))
        assert len(by_class) == sum(name.startswith("val/IoU/") for name in found)
    assert (tmp_path / "evaluate0/status.json").is_file()
    assert list((tmp_path / "evaluate0/predictions").glob("*.png"))


def test_evaluate_measures_the_whole_split_even_if_the_run_did_not(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    for name, extra in (("part", ["trainer.limit_val_batches=1"]), ("whole", [])):
        answer = seglab_cli("train", *tiny, *extra, f"hydra.run.dir={name}")
        assert answer.code == 0
        assert ("the scores are those of " in answer.out) == bool(extra)
        assert list((tmp_path / name / "predictions").glob("*.png"))
    checkpoint = "checkpoint=part/checkpoints/last.ckpt"
    assert seglab_cli("evaluate", checkpoint, "hydra.run.dir=ev").code == 0
    assert metrics(tmp_path / "ev")["val/mIoU"] == metrics(tmp_path / "whole")["val/mIoU"]
    assert metrics(tmp_path / "ev")["val/loss"] != metrics(tmp_path / "part")["val/loss"]
    limit = ["trainer.limit_val_batches=2", "trainer.accelerator=cpu"]
    for processes in (1, 2):
        devices = [f"trainer.devices={processes}", f"hydra.run.dir=on{processes}"]
        assert seglab_cli("evaluate", checkpoint, *limit, *devices).code == 0
    one, two = ((tmp_path / f"on{processes}/metrics.json").read_bytes() for processes in (1, 2))
    assert one == two, "a limit is of all processes together"


def test_evaluate_takes_a_moved_data_set_and_another_split(
    seglab_cli: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").rename(tmp_path / "moved")
    checkpoint = f"checkpoint={trained}/checkpoints/best.ckpt"
    answer = seglab_cli("evaluate", checkpoint, "data.root=moved", "hydra.run.dir=moved_val")
    assert answer.code == 0, answer.err
    answer = seglab_cli(
        "evaluate", checkpoint, "data.root=moved", "split=train", "hydra.run.dir=moved_train"
    )
    assert answer.code == 0, answer.err
    assert metrics(tmp_path / "moved_val") != metrics(tmp_path / "moved_train")


def test_val_means_the_validation_split_of_the_run(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    def evaluate(name: str, run: str, *overrides: str) -> dict[str, float]:
        checkpoint = f"checkpoint={run}/checkpoints/last.ckpt"
        answer = seglab_cli("evaluate", checkpoint, *overrides, f"hydra.run.dir={name}")
        assert answer.code == 0, answer.err
        return metrics(tmp_path / name)

    assert seglab_cli("train", *tiny, "data.root=data", "hydra.run.dir=run").code == 0
    lists = tmp_path / "data/VOC2007/ImageSets/Segmentation"
    ids = (lists / "val.txt").read_text().split()
    (lists / "part.txt").write_text("\n".join(ids[:2]) + "\n")
    own = ["data.root=data", "data.val_split=part"]
    assert seglab_cli("train", *tiny, *own, "hydra.run.dir=run_part").code == 0

    on_part = evaluate("named", "run", "split=part")
    assert on_part["val/mIoU"] != metrics(tmp_path / "run")["val/mIoU"]
    assert evaluate("overridden", "run", "data.val_split=part") == on_part
    stored = metrics(tmp_path / "run_part")["val/mIoU"]
    assert evaluate("stored", "run_part")["val/mIoU"] == stored
    assert evaluate("training", "run", "split=train", "data.train_split=part") == on_part

    (tmp_path / "maps").mkdir()
    for name in ids[:2]:
        with Image.open(tmp_path / f"data/VOC2007/JPEGImages/{name}.jpg") as image:
            Image.new("L", image.size).save(tmp_path / f"maps/{name}.png")
    data = [one for one in tiny if one.startswith("data.synth")]
    answer = seglab_cli("score", "predictions=maps", *data, *own, "hydra.run.dir=score")
    assert answer.code == 0, answer.err  # the other images of val have no class map here


def test_score_of_the_predicted_class_maps_is_the_same_number(
    seglab_cli: Callable[..., Any], trained: Path, tiny: list[str], tmp_path: Path
) -> None:
    import seglab
    from seglab.drawing.pictures import save_class_map

    data = seglab.VOCSegmentation(
        tmp_path / "data",
        2007,
        "val",
        classes=seglab.load(trained / "checkpoints/last.ckpt").classes,
    )
    model = seglab.load(trained / "checkpoints/last.ckpt")
    (tmp_path / "maps").mkdir()
    for sample in data:
        save_class_map(model.predict(sample.image).numpy(), tmp_path / "maps" / f"{sample.id}.png")
    only_data = [override for override in tiny if override.startswith("data.synth")]
    answer = seglab_cli(
        "score", "predictions=maps", *only_data, "data.root=data", "hydra.run.dir=score"
    )
    assert answer.code == 0, answer.err
    own, found = metrics(trained), metrics(tmp_path / "score")
    for name, value in own.items():
        if name.startswith("val/") and name != "val/loss":
            assert found[name] == value, name
    assert found["val/mIoU_low"] <= found["val/mIoU"] <= found["val/mIoU_high"]


def development_kit(predictions: list[np.ndarray], truths: list[np.ndarray], k: int) -> list[float]:
    """Return each class's accuracy as VOCevalseg.m defines it, in plain loops; NaN if absent."""
    true_positive, truth_count, result_count = [0] * k, [0] * k, [0] * k
    for prediction, truth in zip(predictions, truths, strict=True):
        for p, t in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
            if t < 255:
                truth_count[t] += 1
                result_count[p] += 1
                true_positive[t] += p == t
    return [
        tp / (truth + result - tp) if truth + result else float("nan")
        for tp, truth, result in zip(true_positive, truth_count, result_count, strict=True)
    ]


def test_score_agrees_with_the_development_kits_definition(
    seglab_cli: Callable[..., Any], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    root, k = tmp_path / "own", 5
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "../maps"):
        (root / name).mkdir(parents=True)
    predictions, truths = [], []
    for index in range(4):
        size = (20 + index, 31)
        truth = random.integers(0, k - 1, size, dtype=np.uint8)  # the last class is absent
        truth[random.random(size) < 0.2] = 255
        prediction = random.integers(0, k - 1, size, dtype=np.uint8)
        Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(
            root / "JPEGImages" / f"{index}.jpg"
        )
        Image.fromarray(truth).save(root / "SegmentationClass" / f"{index}.png")
        Image.fromarray(prediction).save(tmp_path / "maps" / f"{index}.png")
        predictions.append(prediction)
        truths.append(truth)
    (root / "ImageSets/Segmentation/val.txt").write_text("0\n1\n2\n3\n")
    answer = seglab_cli(
        "score",
        "predictions=maps",
        "data=folder",
        "data.root=own",
        "data.classes=[background,a,b,c,d]",
        "hydra.run.dir=score",
    )
    assert answer.code == 0, answer.err
    expected = development_kit(predictions, truths, k)
    found = metrics(tmp_path / "score")
    for name, value in zip(["background", "a", "b", "c"], expected, strict=False):
        assert found[f"val/IoU/{name}"] == pytest.approx(value, abs=1e-9)
    assert found["val/IoU/d"] is None, "a class that is nowhere has no IoU"
    assert found["val/mIoU"] == pytest.approx(np.nanmean(expected), abs=1e-9)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda path, blank: path.unlink(), "no such file"),
        (lambda path, blank: Image.fromarray(blank[:7, :9]).save(path), "9x7 pixels"),
        (lambda path, blank: Image.fromarray(blank + np.uint8(7)).save(path), "label 7"),
        (lambda path, blank: Image.fromarray(blank + np.uint8(255)).save(path), "label 255"),
        (lambda path, blank: Image.fromarray(blank).convert("RGB").save(path), "RGB"),
        (lambda path, blank: path.write_bytes(path.read_bytes()[:40]), "cannot be decoded"),
    ],
)
def test_score_names_the_prediction_that_cannot_be_scored(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    spoil: Callable[[Path, np.ndarray], None],
    expected: str,
) -> None:
    only_data = [override for override in tiny if override.startswith("data.synth")]
    assert seglab_cli("data", "synth", *only_data, "data.root=data").code == 0
    names = (tmp_path / "data/VOC2007/ImageSets/Segmentation/val.txt").read_text().split()
    (tmp_path / "maps").mkdir()
    for name in names:
        with Image.open(tmp_path / f"data/VOC2007/JPEGImages/{name}.jpg") as image:
            Image.new("L", image.size).save(tmp_path / f"maps/{name}.png")
    victim = names[0]
    with Image.open(tmp_path / f"maps/{victim}.png") as there:
        blank = np.zeros(there.size[::-1], np.uint8)
    spoil(tmp_path / f"maps/{victim}.png", blank)
    answer = seglab_cli("score", "predictions=maps", *only_data, "data.root=data")
    assert answer.code == 1
    assert f"{victim}.png" in answer.last_line
    assert expected in answer.last_line


@pytest.mark.parametrize(
    ("make", "code", "expected"),
    [
        (None, 1, "no such file"),
        (lambda path: path.write_bytes(b"no checkpoint"), 1, "refused"),
        (lambda path: torch.save({"weights": torch.ones(1)}, path), 1, "not a seglab checkpoint"),
    ],
)
def test_evaluate_names_a_checkpoint_that_is_none(
    seglab_cli: Callable[..., Any],
    tmp_path: Path,
    make: Callable[[Path], object] | None,
    code: int,
    expected: str,
) -> None:
    if make is not None:
        make(tmp_path / "x.ckpt")
    answer = seglab_cli("evaluate", "checkpoint=x.ckpt")
    assert answer.code == code
    assert "checkpoint=x.ckpt" in answer.last_line
    assert expected in answer.last_line
    assert not (tmp_path / "runs").exists()


def test_evaluate_tells_data_of_other_classes(
    seglab_cli: Callable[..., Any], trained: Path
) -> None:
    common = ["evaluate", f"checkpoint={trained}/checkpoints/last.ckpt", "logger=csv"]
    other = seglab_cli(*common, "data=voc2007", "data.root=.")
    assert other.code == 2
    assert other.last_line.startswith(
        "seglab: error: data=voc2007 data.root=.: 21 classes (background, aeroplane, "
    )
    assert "the checkpoint was trained on " in other.last_line
    names = json.loads((trained / "metrics.json").read_text())
    classes = [name.removeprefix("val/IoU/") for name in names if name.startswith("val/IoU/")]
    swapped = [*classes[:-2], classes[-1], classes[-2]]
    answer = seglab_cli(*common, f"data.classes=[{','.join(swapped)}]")
    assert answer.code == 2
    assert "the order must be the checkpoint's" in answer.last_line
    renamed = seglab_cli(*common, f"data.classes=[{','.join([*classes[:-1], 'pony'])}]")
    assert renamed.code == 0, renamed.err
    assert (
        f"warning: the data has other classes than the checkpoint: it measures {classes[-1]}"
        in (renamed.out)
    )


def test_evaluate_refuses_a_checkpoint_of_another_model(
    seglab_cli: Callable[..., Any], trained: Path
) -> None:
    answer = seglab_cli(
        "evaluate", f"checkpoint={trained}/checkpoints/last.ckpt", "model.net.channels=16"
    )
    assert answer.code == 1
    assert "of another model" in answer.last_line
    assert seglab_cli("evaluate").code == 2


def test_evaluate_of_a_run_folder_names_its_checkpoint(
    seglab_cli: Callable[..., Any], trained: Path
) -> None:
    answer = seglab_cli("evaluate", f"checkpoint={trained}")
    assert answer.code == 1
    assert answer.last_line.endswith(f"a folder; give checkpoint={trained}/checkpoints/last.ckpt")
