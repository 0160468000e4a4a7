"""The differences between runs: settings, and the identity of their data. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from seglab.printing import rounded
from seglab.report.record import RunRecord
from seglab.runtime.own_code import only_own_code, short_code
from seglab.schema import Mark, has_mark

TRAIN_DATA, VAL_DATA, CHECKPOINT = "train data", "val data", "checkpoint"
CODE = "own code"

DIGITS = 8
"""Of a digest that are shown."""


def identity(run: RunRecord) -> dict[str, str]:
    """Return the known digests of a run's training and validation data and of the user's own code.

    For an evaluation, also the training data, file name and step of its checkpoint.
    """
    trained_on = run.data.get("train") or run.trained_on.get("train")
    # Changed code, between two parts of a training or before an evaluation, makes a result of both.
    codes = [*(run.codes or [short_code(run.trained_on) or short_code(run.data)])]
    trained, used = only_own_code(run.trained_on), only_own_code(run.data)
    changed = {name: digest for name, digest in used.items() if trained.get(name, digest) != digest}
    code = "+".join(filter(None, [*codes, short_code(changed)]))
    validated_on = run.data.get("val")
    if validated_on and run.partial:
        images = len(run.evaluation.ids) if run.evaluation else "some"
        validated_on = f"{validated_on}, {images} images of it"
    known = {TRAIN_DATA: trained_on, VAL_DATA: validated_on, CODE: code}
    if run.kind == "evaluate":
        name = run.checkpoint or Path(str(run.settings["checkpoint"])).name
        known[CHECKPOINT] = name if run.step is None else f"{name}, step {run.step}"
    return {key: value for key, value in known.items() if value}


def setting(run: RunRecord, key: str) -> str:
    """Return a setting of a run as text; for a group such as ``experiments``, the chosen option."""
    known = identity(run)
    if key in (TRAIN_DATA, VAL_DATA):
        digest, comma, part = known.get(key, "").partition(", ")
        return f"{digest[:DIGITS]}…{comma}{part}" if digest else ""
    if key in known:
        return known[key]
    if key in run.settings:
        value = run.settings[key]
        if key == "model.weights" and isinstance(value, str):
            value = run.weights or Path(value).name
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _given(run).get(key, "")


def short(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each key, or of ``model.name`` the group; all of it if ambiguous."""
    last = {key: key.removesuffix(".name").rpartition(".")[2] for key in keys}
    parts = list(last.values())
    return {key: part if parts.count(part) == 1 else key for key, part in last.items()}


def label(run: RunRecord, keys: Sequence[str]) -> str:
    """Return the settings of a run as ``lr=0.1 model=fcn8s``; without keys ``all settings``."""
    names = short(keys)
    shown = (f"{names[key]}={rounded(setting(run, key))}" for key in keys if setting(run, key))
    return " ".join(shown) or "all settings"


def differing(runs: Sequence[RunRecord]) -> tuple[list[str], list[str]]:
    """Return the differing settings, data first: those to name, and the others.

    Named are the identity of data and checkpoint, and the keys of overrides. A group choice
    (``model=fcn8s``) names the group's ``name`` if it has one.
    """
    known = list(dict.fromkeys(key for run in runs for key in run.settings))
    wanted: dict[str, None] = dict.fromkeys(["model.name", "data.name"])
    for given in dict.fromkeys(key for run in runs for key in _given(run)):
        below = [key for key in known if key == given or key.startswith(f"{given}.")]
        if f"{given}.name" in below:
            below = [f"{given}.name"]
        elif given not in below and "." not in given:  # a group: named by its option
            below = [given]
        wanted |= dict.fromkeys(below)
    readable = [run for run in runs if run.settings]

    def differs(key: str) -> bool:
        return (
            not has_mark(key, Mark.NO_EFFECT) and len({setting(run, key) for run in readable}) > 1
        )

    def matters(key: str) -> bool:  # one run's choice may be another's default
        below = [other for other in known if other.startswith(f"{key}.")]
        return differs(key) and (not below or any(map(differs, below)))

    named = [*_different_data(readable), *(key for key in wanted if matters(key))]
    return named, [key for key in known if key not in wanted and differs(key)]


def _different_data(runs: Sequence[RunRecord]) -> list[str]:
    """Return the settings that identify different data or checkpoints.

    A run without a recorded digest is identified by its folder.
    """
    keys = [
        key
        for key in (TRAIN_DATA, VAL_DATA, CHECKPOINT, CODE)
        if len({known for run in runs if (known := identity(run).get(key))}) > 1
    ]
    unknown = [run for run in runs if VAL_DATA not in identity(run)]
    roots = {setting(run, "data.root") for run in unknown}
    return [*keys, *(["data.root"] if len(roots) > 1 else [])]


def _given(run: RunRecord) -> dict[str, str]:
    """Return a run's overrides by key; the last of one key wins."""
    pairs = (override.lstrip("+").partition("=") for override in run.overrides)
    return {key: value for key, _, value in pairs}
