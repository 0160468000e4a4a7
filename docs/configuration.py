"""Writes the tables of configuration.md from seglab/schema and the comments in conf/.

``python docs/configuration.py`` renews the file; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from seglab import schema

CONF = Path(__file__).parents[1] / "conf"
PAGE = Path(__file__).with_name("configuration.md")
BEGIN = "<!-- tables: begin; written by docs/configuration.py -->"
END = "<!-- tables: end -->"

COMMANDS = {
    "evaluate": schema.EvaluateConfig,
    "predict": schema.PredictConfig,
    "export": schema.ExportConfig,
    "score": schema.ScoreConfig,
    "data": schema.DataCommandConfig,
    "workspace": schema.WorkspaceConfig,
}
TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false"}
PLURALS = {float: "numbers", str: "texts"}
COMMENT = re.compile(r"(?:^|\s)# ?(.*)$")


@dataclass(frozen=True)
class Entry:
    """One key of one file of conf/: its value, and the comment beside it."""

    value: Any
    comment: str


def read_entries(path: Path) -> dict[str, Entry]:
    """Read a file of conf/ as its dotted keys, in order; items of lists are named ``key[]``."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    entries: dict[str, Entry] = {}

    def visit(node: yaml.Node, key: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                dotted = f"{key}.{name.value}" if key else name.value
                block = isinstance(value, yaml.CollectionNode) and not value.flow_style
                mark = name.end_mark if block else value.end_mark
                comment = COMMENT.search(lines[mark.line][mark.column :])
                loaded = yaml.safe_load(yaml.serialize(value))
                entries[dotted] = Entry(loaded, comment[1] if comment else "")
                if block:
                    visit(value, dotted)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value[:1]:
                visit(item, f"{key}[]")

    root = yaml.compose(text)
    assert root is not None, path
    visit(root, "")
    return entries


def header(path: Path) -> str:
    """Return the first comment of a file, without Hydra's ``@package`` line."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    comments = [line.removeprefix("# ") for line in lines if not line.startswith("# @package")]
    return comments[0] if lines[0].startswith("#") else ""


def options(group: str) -> list[Path]:
    """Return the files of a group: its base, then the default option, then the others."""
    defaults = yaml.safe_load((CONF / "train.yaml").read_text(encoding="utf-8"))["defaults"]
    default = next((d[group] for d in defaults if isinstance(d, dict) and group in d), None)
    first = ("base", default)
    paths = sorted((CONF / group).glob("*.yaml"))
    return sorted(paths, key=lambda p: first.index(p.stem) if p.stem in first else len(first))


def type_name(hint: Any) -> str:
    """Return a type, with its bounds and choices, in words."""
    rules: list[str] = []
    if hasattr(hint, "__metadata__"):
        rules = [str(rule) for rule in hint.__metadata__ if not isinstance(rule, schema.Mark)]
        chosen = any(isinstance(r, schema.OneOf | schema.Numbers) for r in hint.__metadata__)
        hint = hint.__origin__
        if chosen:
            return ", ".join(rules) + (" or null" if type(None) in get_args(hint) else "")
    parts = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is list:
        name = f"list of {PLURALS.get(parts[0], 'terms')}"
    elif get_origin(hint) is dict:
        name = "table of texts" if parts[1] is str else "table"
    elif parts:
        name = " or ".join(type_name(part) for part in parts)
    else:
        name = TYPES.get(hint, "table")
    null = " or null" if type(None) in get_args(hint) else ""
    return ", ".join([name + null, *rules])


def keys(config: Any, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield each key of a dataclass, its type in words and its default in Python."""
    hints = get_type_hints(config, include_extras=True)
    for spec in fields(config):
        hint, key = hints[spec.name], prefix + spec.name
        inner = [part for part in _parts(hint) if is_dataclass(part)]
        if not inner or "list" in str(get_origin(getattr(hint, "__origin__", hint))):
            yield key, type_name(hint), None if spec.default is MISSING else spec.default
        for part in inner:
            yield from keys(part, f"{key}[]." if "list" in str(hint) else f"{key}.")


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in get_args(hint):
        yield from _parts(part)


def mark(key: str) -> str:
    """Return what another value of a key means for a result."""
    key = key.replace("[]", "")
    for name in schema.Mark:
        if schema.has_mark(key, name):
            return name.value
    return "result"


def code(value: Any) -> str:
    """Return a value as YAML writes it, as code."""
    if value == "???":
        return "required"
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).split("\n...")[0].strip()
    return f"`{text}`".replace("|", "\\|")


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def is_list_of_nodes(value: Any) -> bool:
    """Tell whether a value is a list of what is built, such as transforms."""
    return isinstance(value, list) and any("_target_" in one for one in value if type(one) is dict)


def group_section(group: str) -> list[str]:
    """Return the tables of a group: its keys, its options, and the keys of single options."""
    files = {path.stem: read_entries(path) for path in options(group)}
    hints = get_type_hints(schema.TrainConfig, include_extras=True)
    inner = [part for part in _parts(hints.get(group)) if is_dataclass(part)]
    lines = [f"### {group}", ""]
    known: set[str] = set()
    rows = []
    for key, kind, default in keys(inner[0]) if inner else ():
        known.add(key)
        entries = [file[key] for file in files.values() if key in file]
        comment = next((entry.comment for entry in entries if entry.comment), "")
        value = entries[0].value if entries else default
        shown = "see below" if isinstance(value, dict) and value else code(value)
        full = f"{group}.{key}"
        rows.append([f"`{full}`", kind, shown, comment, mark(full)])
    if rows:
        lines += table(["key", "type", "default", "meaning", "mark"], rows)
    rows, own = [], []
    for name, file in files.items():
        if name == "base":
            continue
        sets = []
        first = next(iter(files.values()))
        nodes = {key for key, entry in file.items() if is_list_of_nodes(entry.value)}
        for key, entry in file.items():
            if key in nodes:
                sets += [code(node["_target_"]) for node in entry.value]
            if key.partition("[]")[0] in nodes:
                continue
            if (
                key.startswith("defaults")
                or key in ("name", "_target_")
                or isinstance(entry.value, dict)
            ):
                continue
            if key in known:
                if file is not first and "[]" not in key:
                    sets.append(f"`{group}.{key}`={code(entry.value)}")
            elif key.endswith("_target_"):
                sets.append(code(entry.value))
            elif group.startswith(("debug", "search")):
                sets.append(f"`{key}`={code(entry.value)}")
            else:
                spelled = f"`{group.replace('/', '.')}.{key}`"
                if entry.comment:
                    own.append([spelled, f"`{name}`", code(entry.value), entry.comment])
                else:
                    sets.append(f"{spelled}={code(entry.value)}")
        path = CONF / group / f"{name}.yaml"
        rows.append([f"`{group}={name}`", header(path), ", ".join(sets)])
    lines += table(["option", "what it is", "sets"], rows)
    if own:
        lines += ["Keys of single options:", ""]
        lines += table(["key", "option", "default", "meaning"], own)
    return lines


def loose_section() -> list[str]:
    """Return the table of the keys of train.yaml that are in no group."""
    file = read_entries(CONF / "train.yaml")
    rows = []
    for key, kind, _ in keys(schema.TrainConfig):
        if key in file:
            rows.append([f"`{key}`", kind, code(file[key].value), file[key].comment, mark(key)])
    for key in ("hydra.run.dir", "hydra.sweep.dir"):
        rows.append([f"`{key}`", "text", code(file[key].value), file[key].comment, "no effect"])
    return ["### The run itself", "", *table(["key", "type", "default", "meaning", "mark"], rows)]


def command_section(command: str) -> list[str]:
    """Return the table of the keys that one command adds."""
    file = read_entries(CONF / f"{command}.yaml")
    rows = [
        [f"`{key}`", kind, code(file[key].value), file[key].comment]
        for key, kind, _ in keys(COMMANDS[command])
        if key in file
    ]
    head = ["key", "type", "default", "meaning"]
    return [
        f"### seglab {command}",
        "",
        f"{header(CONF / f'{command}.yaml')}",
        "",
        *table(head, rows),
    ]


def tables() -> str:
    """Return all tables as Markdown."""
    in_train = [name for name in get_type_hints(schema.TrainConfig) if (CONF / name).is_dir()]
    lines = ["## Keys of seglab train", "", *loose_section()]
    for group in [*in_train, "search", "debug", "hydra/launcher", "hydra/sweeper"]:
        lines += group_section(group)
    lines += ["## Keys of the other commands", ""]
    for command in COMMANDS:
        lines += command_section(command)
    return "\n".join(lines)


def renewed(page: str) -> str:
    """Return the page with its tables as they are now."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
