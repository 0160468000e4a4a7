"""FCN at strides 32, 16 and 8, under one budget, with two seeds each, side by side.

    python -m benchmarks.strides data.root=DIR model.weights=FILE [trainer.max_epochs=20 …]

Trains `experiments=fcn{32,16,8}s_voc2007` in `runs/strides`, takes up what was interrupted there,
and writes `strides.md` (mIoU with its interval over images, per-class IoU) and `strides.png`
(truth and class maps of a few validation samples).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import seglab
from benchmarks.gallery import WIDTH, sheet
from seglab.commands import evaluate
from seglab.config.stored import override_stored
from seglab.data.dataset import open_dataset
from seglab.drawing.pictures import colourise
from seglab.run.checkpoints import read_checkpoint, stored_config

FOLDER = Path("runs/strides")
STRIDES, SEEDS = (32, 16, 8), (0, 1)
SHOWN = 6


def train(stride: int, seed: int, overrides: list[str]) -> dict[str, float]:
    """Train and evaluate one run, unless that was done before; return the evaluation's metrics."""
    run = FOLDER / f"fcn{stride}s_seed{seed}"
    recipe = [f"experiments=fcn{stride}s_voc2007", f"seed={seed}", *overrides]
    seglab.fit(*recipe, f"hydra.run.dir={run}", "resume=true")
    measured = run / "evaluate"
    if not (measured / "metrics.json").is_file():
        checkpoint = f"checkpoint={run}/checkpoints/last.ckpt"
        evaluate.main([checkpoint, f"hydra.run.dir={measured}"])
    found: dict[str, float] = json.loads((measured / "metrics.json").read_text())
    return found


def table(found: dict[tuple[int, int], dict[str, float]]) -> str:
    """Return Markdown: each run's mIoU and interval, and the IoU of each class, mean over seeds."""
    lines = ["| | " + " | ".join(f"{stride}s" for stride in STRIDES) + " |", "|---" * 4 + "|"]
    for seed in SEEDS:
        cells = []
        for stride in STRIDES:
            one = found[stride, seed]
            low, high = one["val/mIoU_low"], one["val/mIoU_high"]
            cells.append(f"{one['val/mIoU']:.4f} ({low:.4f} to {high:.4f})")
        lines.append(f"| val/mIoU, seed {seed} | " + " | ".join(cells) + " |")
    names = {name: name for name in ("val/mIoU", "val/pixel_accuracy")}
    names |= {n: n.rpartition("/")[2] for n in found[8, 0] if n.startswith("val/IoU/")}
    for key, name in names.items():
        means = [np.mean([found[stride, seed][key] for seed in SEEDS]) for stride in STRIDES]
        mean = f"**{name}, mean**" if key == "val/mIoU" else name
        lines.append(f"| {mean} | " + " | ".join(f"{value:.4f}" for value in means) + " |")
    return "\n".join(lines) + "\n"


def picture() -> Image.Image:
    """Draw truth and the class maps of seed 0, a row a sample."""
    checkpoints = {s: FOLDER / f"fcn{s}s_seed0/checkpoints/last.ckpt" for s in STRIDES}
    models = {f"FCN-{stride}s": seglab.load(path) for stride, path in checkpoints.items()}
    config = override_stored(stored_config(read_checkpoint(checkpoints[8])), [])
    data = open_dataset(config.data, config.data.val_split)
    rows = []
    for index in np.linspace(0, len(data) - 1, SHOWN).round().astype(int).tolist():
        sample = data[index]
        size = WIDTH, round(WIDTH * sample.size[0] / sample.size[1])
        maps = [sample.class_map, *(model.predict(sample.image) for model in models.values())]
        pictures = [Image.fromarray(colourise(one.numpy())) for one in maps]
        rows.append((sample.id, [one.resize(size, Image.Resampling.NEAREST) for one in pictures]))
    return sheet(["truth", *models], rows)


def main(overrides: list[str]) -> None:
    runs = [(stride, seed) for seed in SEEDS for stride in STRIDES]
    text = table({(stride, seed): train(stride, seed, overrides) for stride, seed in runs})
    (FOLDER / "strides.md").write_text(text, encoding="utf-8")
    picture().save(FOLDER / "strides.png")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
