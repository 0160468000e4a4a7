"""Exported files from strangers: nothing is unpickled, no other file is read, texts are bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import seglab
from seglab.config.compose import compose
from seglab.errors import ConfigError, RunError
from seglab.export.export import export, plain_config
from seglab.export.metadata import metadata
from seglab.schema import TrainConfig
from seglab.session import Session

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.fixture
def exported(tmp_path: Path, tiny: list[str]) -> Path:
    config = plain_config(compose("train", TrainConfig, tiny).config)
    task = Session(config, "predict", tmp_path).task
    path = tmp_path / "model.onnx"
    export(task, path, metadata(config, {"name": "a.ckpt", "step": 1, "data": {}}, {}))
    assert seglab.load(path).classes == task.classes
    return path


def changed(path: Path, key: str, change: Any) -> Path:
    """Change a text of the metadata in place."""
    model = onnx.load_model(path)
    for entry in model.metadata_props:
        if entry.key == key:
            entry.value = change(entry.value)
    onnx.save_model(model, path)
    return path


def test_weights_in_other_files_are_refused(exported: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(10_000))
    model = onnx.load_model(exported)
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "secret")
    tensor.ClearField("raw_data")
    exported.write_bytes(model.SerializeToString())
    with pytest.raises(RunError, match="refused: some of its weights are in other files"):
        seglab.load(exported)


def test_weights_in_other_files_are_found_in_inner_graphs(exported: Path) -> None:
    model = onnx.load_model(exported)
    inner = onnx.helper.make_tensor("inner", onnx.TensorProto.FLOAT, [1], bytes(4), raw=True)
    onnx.external_data_helper.set_external_data(inner, "secret")
    branch = onnx.helper.make_graph([], "branch", [], [], [inner])
    node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)
    exported.write_bytes(model.SerializeToString())
    with pytest.raises(RunError, match="refused: some of its weights are in other files"):
        seglab.load(exported)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda text: text + " " * 2**20, "more than 1,048,576 bytes"),
        (lambda text: "[" * 10_000, "damaged"),
        (lambda text: "{}", "its metadata has no configuration"),
        (
            lambda text: text.replace('"seed": 0', '"seed": "${oc.env:HOME}"'),
            "contains an interpolation",
        ),
    ],
)
def test_metadata_is_bounded_and_plain(exported: Path, change: Any, text: str) -> None:
    with pytest.raises(RunError, match=text):
        seglab.load(changed(exported, "seglab", change))


def test_the_configuration_builds_only_what_seglab_ships(exported: Path) -> None:
    def poison(text: str) -> str:
        own = json.loads(text)
        own["config"]["model"]["net"] = {"_target_": "os.system", "command": "false"}
        return json.dumps(own)

    # The net of the configuration is not built: the file is the net.
    assert seglab.load(changed(exported, "seglab", poison)).classes

    def poison_loss(text: str) -> str:
        own = json.loads(text)
        own["config"]["loss"] = {"_target_": "os.system", "command": "false"}
        return json.dumps(own)

    with pytest.raises(ConfigError, match=r"os.system: not one of the targets that seglab ships"):
        seglab.load(changed(exported, "seglab", poison_loss))


def test_other_files_are_named(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(RunError, match=r"damaged, or no ONNX file|has no metadata of it"):
        seglab.load(tmp_path / "text.onnx")
    with pytest.raises(RunError, match="no such file"):
        seglab.load(tmp_path / "none.onnx")
    model = onnx.load_model(exported)
    del model.metadata_props[:]
    onnx.save_model(model, exported)
    with pytest.raises(RunError, match="not written by seglab export"):
        seglab.load(exported)


def test_a_program_of_torch_is_opened_only_if_trusted(tmp_path: Path, tiny: list[str]) -> None:
    config = plain_config(compose("train", TrainConfig, tiny).config)
    path = tmp_path / "model.pt2"
    facts = metadata(config, {"name": "a.ckpt", "step": 1, "data": {}}, {})
    export(Session(config, "predict", tmp_path).task, path, facts)
    with pytest.raises(ConfigError, match="can run any code when they are opened"):
        seglab.load(path)
    image = torch.zeros(3, 40, 50, dtype=torch.uint8)
    assert seglab.load(path, trust=True).predict(image).shape == (40, 50)
    path.write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"damaged, or no model of torch.export"):
        seglab.load(path, trust=True)
