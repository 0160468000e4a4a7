"""FCNs through the commands: pretrained weights, the field's training options, prediction."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torchvision.models import get_model
from torchvision.models.segmentation import fcn_resnet50

import seglab
from seglab.data.synthetic import SyntheticSpec, write_tree

FCN = ["model=fcn8s", "model.net.backbone=mobilenet_v2", "optimizer.lr=1e-3"]


@pytest.fixture
def small(tiny: list[str]) -> list[str]:
    """Return overrides under which an FCN trains in seconds."""
    return [*FCN, *(line for line in tiny if not line.startswith("model.net."))]


def metrics(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return found


def checkpoint(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return found


def test_weights_of_a_file_are_loaded_and_reported(
    seglab_cli: Callable[..., Any], small: list[str], tmp_path: Path
) -> None:
    state = get_model("mobilenet_v2").state_dict()
    torch.save(state, "w.pth")
    frozen = "model.frozen=[backbone.features.0,backbone.features.1]"
    answer = seglab_cli(
        "train", *small, "model.weights=w.pth", frozen, "model.frozen_norms=true",
        "hydra.run.dir=run", "trainer.max_epochs=1",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "weights w.pth: 312 of 320 tensors loaded" in answer.out
    assert "not used, unknown to this net: classifier.1 (2)" in answer.out
    trained = checkpoint(tmp_path / "run")["state_dict"]
    for name, value in state.items():
        kept = "running_" in name or name.startswith(("features.0.", "features.1."))
        if name.startswith("features.") and kept:
            assert torch.equal(trained[f"net.backbone.{name}"], value), name
    moved = "features.18.0.weight"
    assert not torch.equal(trained[f"net.backbone.{moved}"], state[moved])
    Path("w.pth").unlink()  # a checkpoint needs the file no more
    answer = seglab_cli("evaluate", "checkpoint=run/checkpoints/last.ckpt", "hydra.run.dir=ev")
    assert answer.code == 0, answer.err
    assert metrics(tmp_path / "ev")["val/mIoU"] == metrics(tmp_path / "run")["val/mIoU"]


def test_a_checkpoint_is_fine_tuned_on_other_classes(
    seglab_cli: Callable[..., Any], small: list[str], tmp_path: Path
) -> None:
    one = ["trainer.max_epochs=1", "hydra.run.dir=one"]
    assert seglab_cli("train", *small, *one).code == 0
    answer = seglab_cli(
        "train", *small, "trainer.max_epochs=1", "hydra.run.dir=two", "data.root=data",
        "data.classes=[background,a,b,c,d,e,f,g]", "model.weights=one/checkpoints/last.ckpt",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "replaced, of another shape there: score32 (2), upscore32 (1)" in answer.out


def test_a_weights_file_of_another_net_is_refused(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    torch.save(get_model("mobilenet_v2").state_dict(), "w.pth")
    answer = seglab_cli("train", *tiny, "model.weights=w.pth", "hydra.run.dir=run")
    assert answer.code == 1
    assert "model.weights=w.pth: of another net" in answer.last_line
    assert not (tmp_path / "run").exists()


OPTIONS = {
    "bf16": ["trainer.precision=bf16-mixed"],
    "accumulation and clipping": [
        "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.1",
    ],
    "lovasz": ["loss=cross_entropy_lovasz", "loss.label_smoothing=0.1"],
    "dice": ["loss=cross_entropy_dice"],
    "early stopping": ["callbacks=early_stopping", "+callbacks.early_stopping.min_delta=1.0",
                       "callbacks.early_stopping.patience=1", "trainer.max_epochs=5"],
    "flip": ["evaluation.flip=true"],
    "16s": ["model=fcn16s", "model.net.backbone=resnet18"],
    "32s": ["model=fcn32s", "model.net.backbone=resnet18"],
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_the_fields_options_train_and_evaluate_alike(
    seglab_cli: Callable[..., Any], small: list[str], tmp_path: Path, name: str
) -> None:
    answer = seglab_cli("train", *small, *OPTIONS[name], "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    path = "checkpoint=run/checkpoints/last.ckpt"
    assert seglab_cli("evaluate", path, "hydra.run.dir=ev").code == 0
    own, found = metrics(tmp_path / "run"), metrics(tmp_path / "ev")
    assert all(found[key] == value for key, value in own.items() if key.startswith("val/"))
    if name == "early stopping":
        assert checkpoint(tmp_path / "run")["epoch"] == 1
    if name == "flip":
        without = seglab_cli("evaluate", path, "evaluation.flip=false", "hydra.run.dir=no")
        assert without.code == 0
        assert metrics(tmp_path / "no")["val/loss"] != own["val/loss"]


def test_fp16_is_not_quietly_something_else(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    answer = seglab_cli("train", *tiny, "trainer.precision=16-mixed", "hydra.run.dir=run")
    assert answer.code == 2
    assert "trainer.precision=16-mixed: not on a CPU; give bf16-mixed" in answer.last_line
    assert not (tmp_path / "run").exists()


def test_the_average_of_the_weights_is_what_is_measured_and_kept(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    ema = ["callbacks=ema", "callbacks.ema.decay=0.5"]
    # The last epoch is validated in the one run, and measured after training in the other.
    for name, extra in (("one", []), ("two", ["trainer.check_val_every_n_epoch=4"])):
        answer = seglab_cli(
            "train", *tiny, *ema, *extra, "trainer.max_epochs=3", f"hydra.run.dir={name}"
        )
        assert answer.code == 0, answer.err
    saved = checkpoint(tmp_path / "one")
    key = "net.classifier.weight"
    assert not torch.equal(saved["state_dict"][key], saved["current_model_state"][key])
    path = "checkpoint=one/checkpoints/last.ckpt"
    assert seglab_cli("evaluate", path, "hydra.run.dir=ev").code == 0
    own = metrics(tmp_path / "one")
    for name in ("ev", "two"):
        assert metrics(tmp_path / name)["val/loss"] == own["val/loss"], name


def test_an_interrupted_average_resumes_exactly(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
) -> None:
    ema = ["callbacks=ema", "callbacks.ema.decay=0.5"]
    assert seglab_cli("train", *tiny, *ema, "hydra.run.dir=whole").code == 0
    interrupt(1)
    assert seglab_cli("train", *tiny, *ema, "hydra.run.dir=broken").code == 130
    interrupt(-1)
    answer = seglab_cli("train", *tiny, *ema, "resume=true", "hydra.run.dir=broken")
    assert answer.code == 0, answer.err
    whole, broken = (checkpoint(tmp_path / name)["state_dict"] for name in ("whole", "broken"))
    assert all(torch.equal(value, broken[name]) for name, value in whole.items())


# torchvision's nets, and any other.


@pytest.mark.slow
def test_torchvisions_fcn_is_torchvisions(
    seglab_cli: Callable[..., Any], small: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    theirs = fcn_resnet50(weights=None, weights_backbone=None, num_classes=7, aux_loss=True)
    torch.save(theirs.state_dict(), "w.pth")
    net = ["model=fcn_resnet50", "model.weights=w.pth", "debug=one_step", "optimizer.lr=1e-30"]
    rest = [line for line in small if not line.startswith("model")]
    answer = seglab_cli("train", *rest, *net, "hydra.run.dir=run", "optimizer.weight_decay=0")
    assert answer.code == 0, answer.err
    assert "tensors loaded\n" in answer.out, "every tensor must be loaded, and none left over"
    task = seglab.load("run/checkpoints/last.ckpt").task
    theirs.load_state_dict(task.net.state_dict())
    image = torch.randint(256, (1, 3, 40, 56), dtype=torch.uint8)
    with torch.inference_mode():
        theirs = theirs.eval().to(memory_format=torch.channels_last)
        expected = theirs(task.normalise(image))["out"]
        assert torch.equal(task.infer(image), expected)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("deeplabv3_resnet50", marks=pytest.mark.slow),
        "smp_deeplabv3plus",
        pytest.param("smp_segformer", marks=pytest.mark.slow),
        pytest.param("smp_unet", marks=pytest.mark.slow),
        pytest.param("lraspp", marks=pytest.mark.slow),
    ],
)
def test_any_net_is_a_few_lines_of_yaml(
    seglab_cli: Callable[..., Any], small: list[str], tmp_path: Path, name: str
) -> None:
    rest = [line for line in small if not line.startswith(("model", "data.synth"))]
    net = [f"model={name}", "data.synth.train=8", "data.synth.val=2", "data.synth.width=99"]
    if name.startswith("smp"):
        pytest.importorskip("segmentation_models_pytorch", reason="the extra smp is not installed")
        net.append("model.net.net.encoder_name=resnet18")
    answer = seglab_cli("train", *rest, *net, "debug=one_step", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    path = "checkpoint=run/checkpoints/last.ckpt"
    assert seglab_cli("evaluate", path, "hydra.run.dir=ev").code == 0


# Prediction.


def test_predicted_class_maps_score_as_the_run_did(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    flip = "evaluation.flip=true"
    assert seglab_cli("train", *tiny, flip, "data.root=data", "hydra.run.dir=run").code == 0
    own = metrics(tmp_path / "run")
    answer = seglab_cli(
        "predict", "checkpoint=run/checkpoints/last.ckpt", "input=data/VOC2007/JPEGImages",
        "output=out",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    images = sorted((tmp_path / "data/VOC2007/JPEGImages").iterdir())
    assert "13 class maps in out" in answer.out
    assert [path.stem for path in sorted((tmp_path / "out").glob("*.png"))] == [
        path.stem for path in images
    ]
    for photo in images:
        path = tmp_path / "out" / f"{photo.stem}.png"
        with Image.open(photo) as original:
            size = original.size
        with Image.open(path) as picture, Image.open(tmp_path / "out/overlays" / path.name) as look:
            assert picture.mode == "P"
            assert picture.size == size
            assert look.width > 2 * picture.width
            assert np.array(picture).max() < 7
    sizes = [line for line in tiny if line.startswith("data.synth")]
    answer = seglab_cli("score", *sizes, "data.root=data", "predictions=out", "hydra.run.dir=sc")
    assert answer.code == 0, answer.err
    found = metrics(tmp_path / "sc")
    for name, value in own.items():
        if name.startswith("val/") and name != "val/loss":
            assert found[name] == value, name


def test_one_photo_of_any_size_and_the_python_call_agree(
    seglab_cli: Callable[..., Any], small: list[str], tmp_path: Path
) -> None:
    half = "trainer.precision=bf16-mixed"
    assert seglab_cli("train", *small, half, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")
    path = "run/checkpoints/last.ckpt"
    assert seglab_cli("predict", f"checkpoint={path}", "input=photo.png", "output=o/p").code == 0
    with Image.open("o/p/photo.png") as picture:
        written = np.array(picture)
    assert written.shape == (37, 53)
    assert np.array_equal(written, seglab.load(path).predict("photo.png").numpy())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["input=nowhere"], 2, "input=nowhere: no such file or folder"),
        (["input=empty"], 1, "input=empty: holds no images"),
        (["input=twice"], 1, "would both be named a.png"),
        (["input=broken"], 1, "b.jpg: cannot be decoded"),
        (["input=good", "output=good/a.png"], 2, "good/a.png is a file, not a folder"),
        (["input=good", "outptu=x"], 2, "unknown key 'outptu'"),
        ([], 2, "input is not set"),
    ],
)
def test_what_cannot_be_predicted_is_named(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    assert seglab_cli("train", *tiny, "debug=one_step", "hydra.run.dir=run").code == 0
    for name in ("empty", "twice", "broken", "good"):
        Path(name).mkdir()
    for name in ("twice/a.png", "twice/a.jpg", "good/a.png"):
        Image.new("RGB", (9, 9)).save(name)
    Path("broken/b.jpg").write_bytes(b"nothing")
    answer = seglab_cli("predict", "checkpoint=run/checkpoints/last.ckpt", "output=out", *arguments)
    assert answer.code == code, answer.err
    assert said in answer.last_line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s", "fcn_resnet50", "fcn_resnet101"])
def test_every_fcn_is_listed_and_takes_its_classes_from_the_data(
    seglab_cli: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    write_tree(tmp_path / "x", SyntheticSpec(train=8, val=1))
    answer = seglab_cli("train", f"model={name}", "data=voc2007", "data.root=x", "--dry-run")
    assert answer.code == 0, answer.err
    config = yaml.safe_load(answer.out)
    assert config["model"]["name"] == name
    assert config["model"]["net"]["num_classes"] == 21
