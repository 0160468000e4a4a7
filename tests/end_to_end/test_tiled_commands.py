"""Tiles and scales through the commands: validated, evaluated and predicted alike."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import seglab

MASK_RCNN = [
    "model=mask_rcnn", "model.net.channels=16", "model.net.box_head=32", "model.net.mask_layers=1",
    "evaluation.score_threshold=0.1",
]  # fmt: skip
PADDED_CNN = ["model.net.channels=8", "model.net.dilations=[1,2]"]


@pytest.mark.parametrize(
    ("net", "evaluation"),
    [
        (PADDED_CNN, ["evaluation.tile=32", "evaluation.overlap=0.5"]),
        (PADDED_CNN, ["evaluation.scales=[0.75,1.0,1.5]", "evaluation.flip=true"]),
        (PADDED_CNN, ["evaluation.tile=48", "evaluation.scales=[0.5,1.0]"]),
        (
            MASK_RCNN,
            ["evaluation.tile=48", "evaluation.scales=[0.75,1.25]", "evaluation.flip=true"],
        ),
    ],
)
def test_validation_evaluation_prediction_and_python_agree(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    net: list[str],
    evaluation: list[str],
) -> None:
    data = [key for key in tiny if not key.startswith("model.")]
    own = [*data, *net, "trainer.max_epochs=1", "data.synth.width=80", *evaluation]
    assert seglab_cli("train", *own, "hydra.run.dir=run").code == 0
    checkpoint = tmp_path / "run/checkpoints/last.ckpt"
    for batch in (1, 3):
        answer = seglab_cli("evaluate", f"checkpoint={checkpoint}",
                            f"data.eval_batch_size={batch}", f"hydra.run.dir=e{batch}")  # fmt: skip
        assert answer.code == 0, answer.err
    trained, *evaluated = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("run", "e1", "e3")
    )
    assert evaluated[0] == evaluated[1]
    shared = {name for name in trained if name in evaluated[0]}
    assert {"val/mIoU", "val/mask_AP50" if net is MASK_RCNN else "val/loss"} <= shared
    assert {name: trained[name] for name in shared} == {n: evaluated[0][n] for n in shared}

    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(256, size=(70, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos/a.png")
    answer = seglab_cli("predict", f"checkpoint={checkpoint}", "input=photos", "output=maps")
    assert answer.code == 0, answer.err
    written = np.asarray(Image.open(tmp_path / "maps/a.png"))
    assert (seglab.load(checkpoint).predict(pixels).numpy() == written).all()
