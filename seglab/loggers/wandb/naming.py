"""What a W&B run is called, and its configuration flat enough to filter on. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_UNTOLD = (
    "hydra", "resume", "logger", "pictures", "sweep", "search", "checkpoint", "split", "trust",
    "data.root", "data.store", "data.num_workers", "data.eval_batch_size",
    "trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.threads",
    "model.name", "data.name",
)  # fmt: skip
"""Keys that say where and how a run works, and not what it comes to."""

_LONGEST = 128
"""What W&B takes for a name or a group."""


def run_name(model: str, data: str, overrides: Sequence[str]) -> str:
    """Return a readable name: model, data, and the overrides that matter, by their last part.

    >>> run_name("fcn8s", "voc2007", ["experiments=fcn8s_voc2007", "optimizer.lr=0.1", "seed=1"])
    'fcn8s voc2007 lr=0.1 seed=1'
    >>> run_name("padded_cnn", "synthetic", ["experiments=smoke", "data.root=/far/away"])
    'padded_cnn synthetic smoke'
    """
    told = [model, data]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        value = value.rsplit("/", 1)[-1].strip("'\"")
        if key in ("model", "data") or any(f"{key}.".startswith(f"{key_}.") for key_ in _UNTOLD):
            continue
        if key == "experiments":
            told += [value] if value != f"{model}_{data}" else []
        else:
            told.append(f"{key.rsplit('.', 1)[-1]}={value}")
    name = " ".join(told)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and value of every leaf, as they are written on a command line.

    >>> dict(flatten({"optimizer": {"lr": 0.1}, "data": {"scale": [0.5, 2.0]}}))
    {'optimizer.lr': 0.1, 'data.scale': [0.5, 2.0]}
    """
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
