"""The name of a W&B run. Knows no torch."""

from __future__ import annotations

from collections.abc import Sequence

from seglab.schema import Mark, has_mark

_OMITTED = ("search", "split", "model", "data", "model.name", "data.name")
"""Keys besides those that the schema marks: they change no result, or the name tells them."""

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
        if key in _OMITTED or key.startswith("hydra") or any(has_mark(key, mark) for mark in Mark):
            continue
        if key == "experiments":
            told += [value] if value != f"{model}_{data}" else []
        else:
            told.append(f"{key.rsplit('.', 1)[-1]}={value}")
    name = " ".join(told)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
