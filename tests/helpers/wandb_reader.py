"""Reads what W&B has written to a run's .wandb file: LevelDB's log format around protobuf records.

https://github.com/google/leveldb/blob/main/doc/log_format.md; W&B puts 7 bytes before it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

BLOCK, HEAD = 32768, 7


@dataclass
class Logged:
    """What a run's file says."""

    run: pb.RunRecord = field(default_factory=pb.RunRecord)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, pb.MetricRecord] = field(default_factory=dict)
    artifacts: list[pb.ArtifactRecord] = field(default_factory=list)
    alerts: list[pb.AlertRecord] = field(default_factory=list)
    exit_code: int | None = None

    def values(self, key: str) -> list[Any]:
        return [row[key] for row in self.history if key in row]


def records(path: Path) -> Iterator[pb.Record]:
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    position, message = 7, b""
    while position < len(data):
        if BLOCK - position % BLOCK < HEAD:  # too little is left of the block for a head
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        message += data[position + HEAD : position + HEAD + length]
        position += HEAD + length
        if kind in (1, 4):  # whole, or its last part
            record = pb.Record()
            record.ParseFromString(message)
            message = b""
            yield record


def put(into: dict[str, Any], items: Any) -> None:
    for item in items:
        *outer, last = list(item.nested_key) or [item.key]
        target = into
        for key in outer:
            target = target.setdefault(key, {})
        target[last] = json.loads(item.value_json)


def read_run(path: Path) -> Logged:
    logged = Logged()
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            logged.run = record.run
            put(logged.config, record.run.config.update)
        elif kind == "config":
            put(logged.config, record.config.update)
        elif kind == "history":
            row: dict[str, Any] = {}
            put(row, record.history.item)
            logged.history.append(row)
        elif kind == "summary":
            put(logged.summary, record.summary.update)
        elif kind == "metric":
            logged.metrics[record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "artifact":
            logged.artifacts.append(record.artifact)
        elif kind == "alert":
            logged.alerts.append(record.alert)
        elif kind == "exit":
            logged.exit_code = record.exit.exit_code
    return logged


def run_files(folder: Path) -> list[Path]:
    """Return the .wandb files of a run folder, oldest first; offline follows online in a second."""

    def start(path: Path) -> tuple[str, bool]:
        kind, time_and_id = path.parent.name.split("run-", 1)
        return time_and_id, kind == "offline-"

    return sorted((folder / "wandb").glob("*run-*/run-*.wandb"), key=start)
