"""From a composed configuration to the dataclasses of the schema. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast, get_args, get_type_hints

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from seglab.config.overrides import dotted, unknown, wrong_type
from seglab.data.class_lists import class_names
from seglab.data.merging import merge_classes
from seglab.errors import ConfigError
from seglab.run.metric_names import check_metrics
from seglab.run.settings import flatten
from seglab.run.untrusted import MAX_INTEGER
from seglab.schema import LossConfig, TrainConfig, check_values

T = TypeVar("T")


def validate(composed: DictConfig, schema: type[T]) -> tuple[T, dict[str, Any]]:
    """Check a composed configuration; return it as the schema's dataclass and as plain data.

    Class lists are resolved here, and written into it.

    Raises:
        ConfigError: an unknown key, a wrong type or an impossible value; names the key.
    """
    try:
        _write_mask_values_as_text(composed)
        typed = OmegaConf.merge(_structured(schema, composed), composed)
        data = OmegaConf.select(typed, "data")
        if data is not None:
            if data.layout == "dataset" and not (data.classes or data.source_classes):
                raise ConfigError(
                    "data.classes is not set: give data.classes=[background,…] in the order of "
                    "the values that data.dataset gives"
                )
            names = class_names(
                data.source_classes or data.classes,
                synthetic=data.synth is not None,
                year=data.year,
                root=data.root,
                mask_values=data.mask_values,
                coco=_coco_listings(data) if data.layout == "coco" else (),
            )
            classes, _ = merge_classes(names, data.ignore_classes, data.merge_classes)
            if classes != names:
                OmegaConf.update(typed, "data.source_classes", list(names), merge=False)
            OmegaConf.update(typed, "data.classes", list(classes), merge=False)
        if missing := sorted(OmegaConf.missing_keys(typed)):
            raise ConfigError(f"{missing[0]} is not set: give {missing[0]}=…")
        OmegaConf.resolve(typed)
        _write_weights_as_floats(typed)
        config: T = OmegaConf.to_object(typed)  # type: ignore[assignment]
    except ConfigKeyError as error:
        key = str(error.full_key)
        raise unknown([key], sorted(dotted(_structured(schema, composed)))) from None
    except OmegaConfBaseException as error:
        raise wrong_type(error) from None
    except OverflowError:
        raise ConfigError("a number in the configuration is too large") from None
    check_values(config)
    if isinstance(config, TrainConfig):
        config.check_channels()
        config.check_loss()
        _check_monitors(config)
    plain: Any = OmegaConf.to_container(typed)
    _check_integers(plain)
    return config, plain


def _check_monitors(config: TrainConfig) -> None:
    """Check that a run has the metrics of its validation that callbacks watch.

    Raises:
        ConfigError: names the key and the nearest metrics.
    """
    for name, node in config.callbacks.items():
        monitor = node.get("monitor") if isinstance(node, dict) else None
        if isinstance(monitor, str) and monitor.startswith("val/"):
            check_metrics(f"callbacks.{name}.monitor", [monitor], config)


def _check_integers(plain: dict[str, Any]) -> None:
    """Check that the settings of a run can be read back.

    Raises:
        ConfigError: a whole number has more than 63 bits; names the key.
    """
    for key, value in flatten(plain):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int) and not -MAX_INTEGER < item < MAX_INTEGER:
                raise ConfigError(f"{key}={item}: must be less than 2^63")


def _coco_listings(data: DictConfig) -> list[str]:
    """Return the COCO files in the root that define the categories; one if the data is divided."""
    splits = [data.train_split, *([data.val_split] if data.val_fraction is None else [])]
    return list(dict.fromkeys(data.annotations.replace("{split}", split) for split in splits))


def _structured(schema: type[Any], composed: DictConfig) -> DictConfig:
    """Return the schema as a writable configuration for merging with ``composed``.

    OmegaConf makes nodes of frozen dataclasses read-only, including an optional group once it is
    created.
    """
    typed: DictConfig = OmegaConf.structured(schema)
    OmegaConf.set_readonly(typed, None)
    hints = get_type_hints(schema, include_extras=True)
    for field in fields(schema):
        types: list[Any] = [hints[field.name], *get_args(hints[field.name])]  # of an optional too
        inner = next((candidate for candidate in types if is_dataclass(candidate)), None)
        group = composed.get(field.name) if not OmegaConf.is_missing(composed, field.name) else None
        if inner is not None and isinstance(group, DictConfig):
            if Any in types and _is_foreign(group, inner):
                continue
            typed[field.name] = _structured(cast("type[Any]", inner), group)
    return typed


def _is_foreign(group: DictConfig, dataclass: Any) -> bool:
    """Return whether a group names a target other than seglab's own."""
    target = group.get("_target_", None)
    return target is not None and target not in (field.default for field in fields(dataclass))


def leave_own_keys(composed: DictConfig, schema: type[Any], parsed: Sequence[Override]) -> None:
    """Remove a group's default keys if the command line replaces its target.

    These keys belong to the replaced target, such as the terms of seglab's loss.
    """
    keys = [override.key_or_group for override in parsed]
    hints = get_type_hints(schema, include_extras=True)
    for group, hint in hints.items():
        dataclass = next((part for part in get_args(hint) if is_dataclass(part)), None)
        if dataclass and f"{group}._target_" in keys and _is_foreign(composed[group], dataclass):
            parts = [key.split(".")[1] for key in keys if key.startswith(f"{group}.")]
            named = dict.fromkeys(parts)  # in the order of the command line
            with open_dict(composed):
                composed[group] = {name: composed[group][name] for name in named}


def _write_mask_values_as_text(composed: DictConfig) -> None:
    """Convert the keys of ``data.mask_values`` to strings: YAML and Hydra read ``0`` as a number.

    Raises:
        ConfigError: it is not a mapping.
    """
    values = OmegaConf.select(composed, "data.mask_values")
    if values is not None and not isinstance(values, DictConfig):
        raise ConfigError(
            f"data.mask_values={values}: must be values and what they mean, such as "
            "{0: background, 255: person}"
        )
    if values is not None:
        texts = {str(key): value for key, value in values.items_ex(resolve=False)}
        OmegaConf.update(composed, "data.mask_values", texts, merge=False)


def _write_weights_as_floats(typed: DictConfig | ListConfig) -> None:
    """Convert the integers in ``loss.class_weights`` to floats, as a typed list would."""
    loss = OmegaConf.select(typed, "loss")
    if OmegaConf.get_type(loss) is LossConfig and isinstance(loss.class_weights, ListConfig):
        numbers = [float(item) if type(item) is int else item for item in loss.class_weights]
        OmegaConf.update(typed, "loss.class_weights", numbers, merge=False)
