"""Finds conf/ and experiments/, composes a configuration and checks it. Imports no torch.

Hydra composes; the dataclasses of :mod:`seglab.schema` check. A wrong key or type raises a
:class:`~seglab.errors.ConfigError` that names the key and its nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast, get_args, get_type_hints

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, Transformer
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from seglab.config.overrides import (
    REFUSALS,
    check_names,
    check_options,
    check_type,
    dotted,
    home,
    is_group,
    is_open,
    option_names,
    own_options,
    parse,
    searchpath,
    unknown,
    wrong_type,
)
from seglab.config.stored_classes import check_classes
from seglab.data.class_lists import class_names
from seglab.data.merging import merge_classes
from seglab.errors import ConfigError, one_line
from seglab.run.settings import flatten
from seglab.runtime.nodes import everywhere
from seglab.schema import LossConfig, TrainConfig, check_values

T = TypeVar("T")

CHECKPOINT_COMMANDS = ("evaluate", "predict", "export")
"""Their configuration comes from a checkpoint; the current folder has only what is asked for."""


@dataclass(frozen=True)
class Composed(Generic[T]):
    """A checked configuration, typed and as plain data, and its run folder."""

    config: T
    plain: dict[str, Any]
    folder: Path
    overrides: tuple[str, ...]


def compose(command: str, schema: type[T], overrides: Sequence[str]) -> Composed[T]:
    """Compose ``conf/<command>.yaml`` with Hydra overrides and check it against ``schema``.

    Raises:
        ConfigError: an unknown key, group or option, a wrong type or an impossible value.
    """
    parsed = parse(overrides)
    if command not in CHECKPOINT_COMMANDS:
        check_names()
    check_options(parsed)
    with _hydra():
        try:
            composed = hydra_compose(command, [*overrides], return_hydra_config=True)
        except REFUSALS as error:
            raise _diagnose(command, schema, parsed, error) from None
        _check_open_nodes(command, parsed)
        _leave_own_keys(composed, schema, parsed)
        own = _checked(composed, schema, overrides)
    return _agreed(own)


def _agreed(own: Composed[T]) -> Composed[T]:
    """Return the configuration with the folder of the first process of a job by torchrun.

    A folder named after the time differs between processes.

    Raises:
        ConfigError: the processes were started with different settings; names the first key.
    """
    settings = dict(flatten(own.plain))
    first, *others = everywhere("settings", [str(own.folder), settings])
    for number, (_, other) in enumerate(others, 1):
        for key in (key for key in settings if other.get(key) != first[1].get(key)):
            raise ConfigError(
                f"{key}={first[1].get(key)} for the first process and {other.get(key)} for number "
                f"{number}: torchrun must start all with the same settings"
            )
    return replace(own, folder=Path(first[0]))


def compose_sweep(overrides: Sequence[str]) -> tuple[DictConfig, list[Override]]:
    """Compose the configuration shared by the jobs of a sweep, as Hydra does under ``-m``.

    Returns:
        The configuration, and the overrides of the jobs: ``hydra.sweeper.params``, then those of
        the command line, which take precedence.

    Raises:
        ConfigError: not of the form key=value, or an unknown key, group or option of Hydra.
    """
    parsed = parse(overrides, several=True)
    check_names()
    check_options([override for override in parsed if not override.is_sweep_override()])
    with _hydra():
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        try:
            master = hydra.compose_config("train", [*overrides], run_mode=RunMode.MULTIRUN)
        except REFUSALS as error:
            raise _diagnose("train", TrainConfig, parsed, error) from None
        for kind in ("launcher", "sweeper"):
            node: Any = master.hydra[kind]
            if not isinstance(node, DictConfig):
                names = ", ".join(option_names(f"hydra/{kind}"))
                raise ConfigError(f"hydra.{kind}={node!r}: give hydra/{kind}=NAME, one of {names}")
        params: Any = master.hydra.sweeper.get("params")
        if params is not None and not OmegaConf.is_dict(params):
            raise ConfigError(
                "hydra.sweeper.params: must be a group of keys, such as {seed: '0,1'}"
            )
        values = [f"{key}={value}" for key, value in (params or {}).items()]
        lines = [*values, *master.hydra.overrides.task]
        overridden = parse(lines, several=True, loader=hydra.config_loader)
    return master, list({override.get_key_element(): override for override in overridden}.values())


def compose_own(
    command: str, schema: type[T], overrides: Sequence[str]
) -> tuple[Composed[T], list[str]]:
    """Compose the command's own keys; return the overrides meant for the checkpoint's config.

    Raises:
        ConfigError: one of its own overrides is wrong.
    """
    names = {field.name for field in fields(schema)}  # type: ignore[arg-type]
    parsed = parse(overrides)
    own = [o for o in parsed if o.key_or_group in names or o.key_or_group.startswith("hydra.")]
    rest = [str(o.input_line) for o in parsed if o not in own]
    return compose(command, schema, [str(o.input_line) for o in own]), rest


def check_root(overrides: Sequence[str]) -> None:
    """Check an override of ``data.root`` before the checkpoint is read.

    Raises:
        ConfigError: no such folder.
    """
    for override in parse(overrides):
        root = override.value() if override.key_or_group == "data.root" else None
        if isinstance(root, str) and not Path(root).is_dir():
            raise ConfigError(f"data.root={root}: no such folder")


def override_stored(stored: dict[str, Any], overrides: Sequence[str]) -> TrainConfig:
    """Apply overrides to the configuration that a checkpoint holds, and check the result.

    A group choice such as ``data=voc2012`` replaces the group; any other key changes one value.
    ``trainer.threads=null`` means the recorded number.

    Raises:
        ConfigError: an unknown key, group or option, a wrong type or an impossible value; data with
            another number or order of classes.
    """
    parsed = parse(overrides)
    check_options(parsed)
    config = OmegaConf.create(stored)
    for group in (o for o in parsed if is_group(o.key_or_group)):
        check_names()
        if group.key_or_group not in stored or group.is_delete():
            raise ConfigError(f"{group.input_line}: cannot be applied to a checkpoint's config")
        with _hydra():
            try:
                fresh = hydra_compose("train", [str(group.input_line)])
            except REFUSALS as error:
                raise _diagnose("train", TrainConfig, [group], error) from None
        config[group.key_or_group] = fresh[group.key_or_group]
    known = sorted(dotted(config))
    values = [o for o in parsed if not is_group(o.key_or_group)]
    if wrong := [o.key_or_group for o in values if not o.is_add() and o.key_or_group not in known]:
        raise unknown(wrong, known)
    for value in values:
        key = value.key_or_group
        if value.is_delete():
            raise ConfigError(f"{value.input_line}: cannot be applied to a checkpoint's config")
        if is_open(key):
            check_type(key, OmegaConf.select(config, key), value.value())
        OmegaConf.update(config, key, value.value(), force_add=value.is_add())
    if OmegaConf.select(config, "trainer.threads") is None:
        OmegaConf.update(config, "trainer.threads", stored["trainer"]["threads"])
    checked = _checked(config, TrainConfig, overrides, Path()).config
    given = [str(o.input_line) for o in parsed if o.key_or_group.split(".")[0] == "data"]
    if given and stored_classes(stored) and checked.data.classes:
        check_classes(stored_classes(stored), checked.data.classes, " ".join(given))
    return checked


def stored_classes(stored: dict[str, Any]) -> list[str]:
    """Return the classes of the configuration that a checkpoint holds; empty where unknown."""
    names = stored["data"].get("classes")
    return [str(name) for name in names] if isinstance(names, list) else []


def _checked(
    composed: DictConfig, schema: type[T], overrides: Sequence[str], folder: Path | None = None
) -> Composed[T]:
    try:
        folder = folder or Path(OmegaConf.select(composed, "hydra.run.dir"))
        with open_dict(composed):
            composed.pop("hydra", None)
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
    return Composed(config, OmegaConf.to_container(typed), folder, tuple(overrides))  # type: ignore[arg-type]


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


def _leave_own_keys(composed: DictConfig, schema: type[Any], parsed: Sequence[Override]) -> None:
    """Remove a group's default keys if the command line replaces its target.

    These keys belong to the replaced target, such as the terms of seglab's loss.
    """
    keys = {override.key_or_group for override in parsed}
    hints = get_type_hints(schema, include_extras=True)
    for group, hint in hints.items():
        dataclass = next((part for part in get_args(hint) if is_dataclass(part)), None)
        if dataclass and f"{group}._target_" in keys and _is_foreign(composed[group], dataclass):
            named = {key.split(".")[1] for key in keys if key.startswith(f"{group}.")}
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


class _hydra:
    """Initialise Hydra's global state for one composition, and restore the caller's."""

    def __enter__(self) -> None:
        OmegaConf.register_new_resolver("len", len, replace=True)
        OmegaConf.register_new_resolver("searchpath", searchpath, replace=True)
        self.outer = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        self.context = initialize_config_dir(str(home() / "conf"), version_base="1.3")
        self.context.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self.context.__exit__(*exception)
        GlobalHydra.instance().clear()
        if self.outer is not None:
            GlobalHydra.instance().initialize(self.outer)


def _check_open_nodes(command: str, parsed: Sequence[Override]) -> None:
    """Check the type of each value under an open node against the value that it replaces."""
    changed = [o for o in parsed if is_open(o.key_or_group)]
    if not any(not o.is_add() and not o.is_delete() for o in changed):
        return
    before = _groups_only(command, parsed)
    for override in changed:
        if not override.is_delete():
            # An interpolated value, such as the number of classes, is not resolved yet.
            old = OmegaConf.select(before, override.key_or_group, throw_on_resolution_failure=False)
            check_type(override.key_or_group, old, override.value())


def _groups_only(command: str, parsed: Sequence[Override], *, hydra: bool = False) -> DictConfig:
    """Compose the group choices alone; in a sweep, the first value of each."""
    groups = []
    for override in parsed:
        if not (is_group(override.key_or_group) or "/" in override.key_or_group):
            continue
        if override.is_sweep_override():
            option = next(override.sweep_iterator(transformer=Transformer.encode))
            groups.append(f"{override.get_key_element()}={option}")
        else:
            groups.append(str(override.input_line))
    return _composed_once(command, tuple(groups), hydra, tuple(own_options()))


@lru_cache(maxsize=32)
def _composed_once(
    command: str, groups: tuple[str, ...], hydra: bool, own: tuple[tuple[str, int, int], ...]
) -> DictConfig:
    """Compose group choices, once for the jobs of a sweep that make the same ones.

    Args:
        command: names the file of settings.
        groups: the choices, as on the command line.
        hydra: whether Hydra's own node is included.
        own: the user's options as they are now; others are composed anew.
    """
    composed = hydra_compose(command, list(groups), return_hydra_config=hydra)
    OmegaConf.set_readonly(composed, True)
    return composed


def _diagnose(
    command: str, schema: type[Any], parsed: Sequence[Override], error: Exception
) -> ConfigError:
    """Raise an error that names the unknown keys; otherwise Hydra's own message stays."""
    try:
        known = sorted(dotted(_groups_only(command, parsed, hydra=True)))
    except REFUSALS as inner:
        return ConfigError(one_line(inner))
    addable = {*known, *dotted(OmegaConf.structured(schema))}
    keys = {o.key_or_group: o for o in parsed if "/" not in o.key_or_group}
    wrong = [
        key
        for key, override in keys.items()
        if not (is_group(key) or key in (addable if override.is_add() else known))
        and not (override.is_add() and (is_open(key) or key.startswith("hydra.")))
        and f"{key.split('.')[0]}._target_" not in keys  # Hydra's own message says what is wrong
    ]
    by_default = {*dotted(_groups_only(command, []))} if wrong else set()
    for key in wrong:
        group = key.split(".")[0]
        if group in keys and key in by_default:
            option = keys[group].input_line
            return ConfigError(f"{key}: {option} has no such key, only the default {group} has")
    return unknown(wrong, known) if wrong else ConfigError(one_line(error))
