"""`seglab predict` against a bare loop of forward passes; torch beside ONNX, a net after the other.

    python -m benchmarks.predict [checkpoint=FILE] [data.root=DIR] [rounds=3] [images=213]

The net is FCN-8s of `experiments=fcn8s_voc2007`, after one step if no checkpoint is given; the
photographs are VOC2007's validation split. The bare loop has them decoded in memory, and runs the
net on each; predict decodes, computes and writes class maps (`--no-overlays`), or overlays too.
Everything runs once unmeasured: the first image of each size costs more.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch

import seglab
from benchmarks.measure import SHARED, in_turn, prepare, show
from seglab.commands import export, predict, train
from seglab.data.images import ImageBatches
from seglab.runtime.process import computing

PLAIN = ["evaluation.flip=false"]


def one_step(root: Path, run: Path) -> str:
    """Train for one step, and return the checkpoint."""
    train.main(
        [
            *("experiments=fcn8s_voc2007", f"data.root={root}", "model.weights=null"),
            *("debug=one_step", f"hydra.run.dir={run}"),
        ]
    )
    return str(run / "checkpoints/last.ckpt")


def bare_loop(model: seglab.Predictor, images: list[torch.Tensor]) -> Callable[[], Any]:
    def loop() -> None:
        with torch.inference_mode():
            for image in images:
                model.task(image)

    return loop


def main(arguments: list[str]) -> None:
    given = dict(one.split("=", 1) for one in arguments)
    threads = prepare(None)
    root = Path(given.get("data.root", str(SHARED)))
    ids = (root / "VOC2007/ImageSets/Segmentation/val.txt").read_text().split()
    ids = ids[: int(given.get("images", len(ids)))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = given.get("checkpoint") or one_step(root, folder / "run")
        (folder / "photos").mkdir()
        for one in ids:
            (folder / f"photos/{one}.jpg").symlink_to(root / f"VOC2007/JPEGImages/{one}.jpg")
        onnx = folder / "model.onnx"
        export.main([f"checkpoint={checkpoint}", f"output={onnx}"])
        paths = sorted((folder / "photos").iterdir())
        batches = ImageBatches(paths, 1)
        images = [batches[index].image for index in range(len(batches))]
        models = {"torch": seglab.load(checkpoint), "onnxruntime": seglab.load(onnx)}
        call = [f"checkpoint={checkpoint}", f"input={folder / 'photos'}", *PLAIN]

        numbers = count()

        def predicting(output: str, *, plain: bool) -> Callable[[], Any]:
            def run() -> None:  # into a new folder: maps without overlays are not overwritten
                predict.main([*call, f"output={folder / output}{next(numbers)}"], no_overlays=plain)

            return run

        ways = {
            "bare loop": bare_loop(models["torch"], images),
            "bare loop, onnxruntime": bare_loop(models["onnxruntime"], images),
            "predict --no-overlays": predicting("maps", plain=True),
            "predict": predicting("both", plain=False),
        }
        with computing(threads):
            seconds = in_turn(ways, int(given.get("rounds", 3)))
    show("predict", seconds, "bare loop", units=len(images), unit="image")


if __name__ == "__main__":
    main(sys.argv[1:])
