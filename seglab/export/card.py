"""The model card beside an exported file, with Hugging Face's metadata for it.

The front matter follows huggingface.co/docs/hub/model-cards; results are in its ``model-index``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from seglab.models.exported import OBJECTS, SEMANTIC
from seglab.printing import printable
from seglab.run.identity import WEIGHTS
from seglab.run.provenance import version
from seglab.schema import TrainConfig

CARD = "card.md"

FILL_IN = "to be filled in"

SETTINGS = (
    *("seed", "model.name", "model.weights", "trainer.max_epochs", "trainer.precision"),
    *("data.batch_size", "data.crop_size", "data.scale", "optimizer.lr"),
    *("optimizer.weight_decay", "trainer.limit_train_batches", "trainer.limit_val_batches"),
    *("evaluation.flip", "evaluation.scales", "evaluation.tile"),
    "evaluation.score_threshold",
)
"""The settings that a card names; all of them are in the file's metadata."""


def card(
    file: str, config: TrainConfig, source: Mapping[str, Any], metrics: Mapping[str, float]
) -> str:
    """Return a model card as Markdown.

    Args:
        file: the name of the exported file.
        config: of the training, with the settings that the metrics were measured with.
        source: of the checkpoint, from :func:`seglab.run.checkpoints.origin`.
        metrics: of the checkpoint, ``val/mIoU_low`` and ``val/mIoU_high`` among them; or empty.
    """
    classes = config.data.classes or []
    objects = config.model.task == "instance"
    rows = [f"| {_cell(name)} | {value:.4f} |" for name, value in _shown(metrics)]
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(config, metrics), sort_keys=False)}---",
        f"# {_cell(config.model.name)} on {_cell(config.data.name)}",
        f"{'Instance' if objects else 'Semantic'} segmentation into {len(classes)} classes, "
        f"trained and exported by seglab {version()}. It takes RGB images of any size."
        + _mean_of(source),
        "## Data",
        f"`{_cell(config.data.name)}`, trained on `{_cell(config.data.train_split)}` and measured "
        f"on `{_cell(config.data.val_split)}`. SHA-256 of classes, ids and file bytes:",
        "\n".join(
            f"- {'weights that the training started from' if k == WEIGHTS else _cell(k)}: "
            f"`{_cell(v)}`"
            for k, v in source["data"].items()
        )
        or f"- {FILL_IN}",
        "## Metrics",
        "\n".join([_measured(config, metrics), "", "| metric | value |", "|---|---|", *rows])
        if rows
        else "Unknown: run `seglab evaluate` on this file.",
        "## Classes",
        "\n".join(f"{value}. {_cell(name)}" for value, name in enumerate(classes)),
        "## Settings",
        "\n".join(f"- `{name}`: `{_cell(_value(config, name))}`" for name in SETTINGS),
        "The metrics were measured with these; the file itself is the plain net, without flip, "
        "scales and tiles.",
        "## Licence",
        f"- of the weights: {FILL_IN}\n- of the training data: {FILL_IN}\n"
        f"- of the pretrained weights, if any: {FILL_IN}\n- contact: {FILL_IN}",
        "## Use",
        _snippet(file, OBJECTS if objects else SEMANTIC),
    ]
    return "\n\n".join(parts) + "\n"


def _mean_of(source: Mapping[str, Any]) -> str:
    count = source.get("mean_of")
    if not count:
        return ""
    return (
        f" Its weights are the mean of those of {count} runs; the settings below are those of the "
        "first."
    )


def _front_matter(config: TrainConfig, metrics: Mapping[str, float]) -> dict[str, Any]:
    name, data = printable(config.model.name), printable(config.data.name)
    kinds = {"mean_iou": "val/mIoU", "accuracy": "val/pixel_accuracy", "mask_AP": "val/mask_AP"}
    known = {kind: metrics[key] for kind, key in kinds.items() if not _missing(metrics, key)}
    result = {
        "task": {"type": "image-segmentation"},
        "dataset": {"type": data, "name": data, "split": printable(config.data.val_split)},
        "metrics": [
            {"type": kind, "name": kinds[kind], "value": value} for kind, value in known.items()
        ],
    }
    return {
        "license": "other",
        "license_name": FILL_IN,
        "library_name": "seglab",
        "pipeline_tag": "image-segmentation",
        "datasets": [data],
        "metrics": [*known],
        **({"model-index": [{"name": name, "results": [result]}]} if known else {}),
    }


def _missing(metrics: Mapping[str, float], key: str) -> bool:
    return math.isnan(metrics.get(key, math.nan))


def _shown(metrics: Mapping[str, float]) -> list[tuple[str, float]]:
    names = [name for name in metrics if name.startswith("val/") and not _missing(metrics, name)]
    return [(name, metrics[name]) for name in names]


def _measured(config: TrainConfig, metrics: Mapping[str, float]) -> str:
    low, high = (metrics.get(f"val/mIoU_{end}", math.nan) for end in ("low", "high"))
    limit = config.trainer.limit_val_batches
    part = "" if limit is None else f" of a part of the split (`trainer.limit_val_batches={limit}`)"
    if math.isnan(low) or math.isnan(high):
        return f"Of the checkpoint, on whole images{part}; see seglab's docs/metrics.md."
    return (
        f"Of the checkpoint, on whole images{part}: mIoU {metrics['val/mIoU']:.3f}, 95 % interval "
        f"over images {low:.3f} to {high:.3f}."
    )


def _snippet(file: str, outputs: tuple[str, ...]) -> str:
    return (
        f"""```python
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

photo = ImageOps.exif_transpose(Image.open("photo.jpg"))  # upright, as seglab reads it
pixels = np.asarray(photo.convert("RGB"))
session = onnxruntime.InferenceSession("{file}")
{", ".join(outputs)} = session.run(None, {{"image": pixels.transpose(2, 0, 1)[None]}})
```

```python
import seglab

model = seglab.load("{file}")
class_map = model.predict("photo.jpg")
model.overlay("photo.jpg").save("overlay.png")
```"""
        if file.endswith(".onnx")
        else f"""```python
import seglab

model = seglab.load("{file}", trust=True)  # torch.export's files can run code when opened
class_map = model.predict("photo.jpg")
model.overlay("photo.jpg").save("overlay.png")
```"""
    )


def _value(config: TrainConfig, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else value


def _cell(value: Any) -> str:
    """Return text that neither ends a table's cell, nor a code span, nor begins HTML."""
    return printable(str(value)).translate(str.maketrans("|`<>", "/'()"))
