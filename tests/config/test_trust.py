"""A configuration that came with a checkpoint names what seglab ships, and writes nowhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from seglab.config.compose import compose
from seglab.config.overrides import home
from seglab.config.trust import TARGETS, received_config
from seglab.errors import ConfigError, RunError
from seglab.run.untrusted import MAX_DEPTH
from seglab.schema import TrainConfig

FILE = Path("/nowhere/a.ckpt")

REFUSED = [
    *("torch.hub.load", "torch.load", "torch.utils.cpp_extension.load", "os.system"),
    *("builtins.eval", "functools.partial", "runpy.run_path", "hydra.utils.instantiate"),
    *(
        "torch.os.system",
        "seglab.instantiate.build",
        "seglab.api.load",
        "torch.nn.Sequential",
    ),
    *("timm.create_model", "timm.models.DistillationTeacher", "timm.task.DistillationTeacher"),
    *("segmentation_models_pytorch.from_pretrained", "segmentation_models_pytorch.create_model"),
    *("torchvision.models.get_model", "torchvision.datasets.MNIST", "lightning.Trainer"),
    *("torch.optim.Adam", "lightning.pytorch.callbacks.ModelCheckpoint", "my_nets.Net"),
    *("seglab.models.FCN ", "seglab.models.FCN.load_state_dict", "", None, 3, True),
    ["seglab.models.FCN"],
]


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return compose("train", TrainConfig, ["callbacks=ema", "data=synthetic"]).plain


def of_net(plain: dict[str, Any], net: Any) -> dict[str, Any]:
    return {**plain, "model": {**plain["model"], "net": net}}


@pytest.mark.parametrize("target", REFUSED, ids=str)
def test_what_seglab_does_not_ship_is_refused(plain: dict[str, Any], target: Any) -> None:
    stored = of_net(plain, {"_target_": target})
    with pytest.raises(ConfigError, match=r"model.net._target_=.*trust=true"):
        received_config(stored, FILE, trust=False)
    assert received_config(stored, FILE, trust=True)["model"] == stored["model"]


def shipped(folder: str) -> list[str]:
    return sorted(path.stem for path in (home() / "conf" / folder).glob("*.yaml"))


def targets(value: Any) -> set[str]:
    if isinstance(value, list):
        return {target for inner in value for target in targets(inner)}
    if not isinstance(value, dict):
        return set()
    own = {value["_target_"]} if "_target_" in value else set()
    return own | {target for inner in value.values() for target in targets(inner)}


def test_the_list_is_what_conf_ships_and_the_nets_of_its_extra() -> None:
    groups = ("model", "optimizer", "callbacks", "loss", "metrics", "schedule", "logger")
    groups += ("transforms",)
    files = [path for group in groups for path in (home() / "conf" / group).glob("*.yaml")]
    ours = {target for path in files for target in targets(yaml.safe_load(path.read_text()))}
    extra = {name for name in TARGETS if name.startswith("segmentation_models_pytorch.")} - ours
    assert ours | extra == {*TARGETS}
    smp = pytest.importorskip("segmentation_models_pytorch")
    assert all(issubclass(getattr(smp, name.split(".")[1]), torch.nn.Module) for name in extra)


@pytest.mark.parametrize(
    "choice",
    [
        *(f"model={name}" for name in shipped("model") if name != "base"),
        *(f"callbacks={name}" for name in shipped("callbacks")),
        *(
            f"{group}={name}"
            for group in ("optimizer", "loss", "metrics", "schedule", "logger")
            for name in shipped(group)
        ),
        *(f"experiments={path.stem}" for path in (home() / "experiments").glob("*.yaml")),
    ],
)
def test_every_configuration_of_ours_needs_no_trust(choice: str) -> None:
    stored = compose("train", TrainConfig, [choice]).plain
    received = received_config(stored, FILE, trust=False)
    for config in (received, stored):
        config["logger"] = config["data"]["store"] = config["data"]["num_workers"] = None
    assert received == stored


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("loss._target_=mine.Loss", "loss"),
        ("+metrics.k._target_=torchmetrics.classification.MulticlassAccuracy", "metrics.k"),
        ("schedule._target_=torch.optim.lr_scheduler.ExponentialLR", "schedule"),
        ("+logger._target_=lightning.pytorch.loggers.CSVLogger", "logger"),
    ],
)
def test_a_part_that_seglab_does_not_ship_is_refused_unless_trusted(
    override: str, key: str
) -> None:
    stored = compose("train", TrainConfig, [override]).plain
    with pytest.raises(ConfigError, match=rf"^checkpoint={FILE}: {key}._target_=.*trust=true"):
        received_config(stored, FILE, trust=False)
    group = key.split(".")[0]
    kept = received_config(stored, FILE, trust=True)[group]
    assert kept == ({"name": "csv"} if group == "logger" else stored[group])


FCN = "torchvision.models.segmentation.fcn_resnet50"
UNET = "segmentation_models_pytorch.Unet"
NO_WEIGHTS = {"weights": None, "weights_backbone": None}


@pytest.mark.parametrize(
    ("net", "told"),
    [
        ({"_target_": FCN}, "model.net.weights="),
        ({"_target_": FCN, "weights": None}, "model.net.weights_backbone="),
        ({"_target_": FCN, **NO_WEIGHTS, "weights": "DEFAULT"}, "model.net.weights=DEFAULT"),
        ({"_target_": UNET}, "model.net.encoder_weights="),
        ({"_target_": UNET, "encoder_weights": "imagenet"}, "encoder_weights=imagenet"),
        ({"_target_": UNET, "encoder_weights": None, "checkpoint_path": "x"}, "checkpoint_path"),
        ({"_target_": UNET, "encoder_weights": None, "pretrained_cfg": {}}, "pretrained_cfg"),
        ({"_target_": UNET, "_args_": ["resnet34", 5, "imagenet"]}, "model.net._args_"),
        ({"_target_": UNET, "encoder_weights": None, "_partial_": True}, "model.net._partial_"),
        (
            {"_target_": UNET, "encoder_weights": None, "encoder_name": "tu-hf-hub:a/b"},
            "encoder_name=tu-hf-hub:a/b",
        ),
        ({"_target_": "seglab.models.FCN", "backbone": "/etc/x"}, "model.net.backbone=/etc/x"),
        ({"_target_": "seglab.models.FCN", "x": [{"y": "http://z"}]}, r"x[0].y=http://z"),
    ],
)
def test_an_argument_that_reads_or_fetches_is_refused(
    plain: dict[str, Any], net: Any, told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        received_config(of_net(plain, net), FILE, trust=False)
    assert told in str(error.value)
    assert "trust=true" in str(error.value)
    assert received_config(of_net(plain, net), FILE, trust=True)


F1 = {"_target_": "torchmetrics.classification.MulticlassF1Score", "num_classes": 7}


@pytest.mark.parametrize(
    ("group", "node", "told"),
    [
        ("metrics", {"m": {**F1, "validate_args": {**F1}}}, "a target within another"),
        ("metrics", {"m": {**F1, "average": "hf-hub:a/b"}}, "metrics.m.average=hf-hub:a/b"),
        ("loss", {"_target_": "seglab.losses.SegmentationLoss", "terms": [F1]}, "within another"),
        ("loss", {"_target_": "seglab.losses.SegmentationLoss", "x": "/a"}, "loss.x=/a"),
        ("schedule", {"_target_": "seglab.schedules.warmup_decay", "x": F1}, "within another"),
    ],
)
def test_parts_beside_the_net_are_as_plain(
    plain: dict[str, Any], group: str, node: Any, told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        received_config({**plain, group: node}, FILE, trust=False)
    assert told in str(error.value)


EVIL = {"_target_": "torch.hub.load", "repo_or_dir": "x"}
NET = {"_target_": "seglab.models.FCN"}


@pytest.mark.parametrize(
    ("node", "key"),
    [
        (EVIL, "model.net"),
        ({**NET, "norm": EVIL}, "model.net.norm"),
        ({**NET, "layers": [NET, [1, {"deep": EVIL}]]}, r"model.net.layers\[1\]\[1\].deep"),
        ({"x": EVIL}, "model.net.x"),
    ],
)
def test_a_target_is_found_wherever_it_is(plain: dict[str, Any], node: Any, key: str) -> None:
    said = rf"^checkpoint={FILE}: {key}._target_=torch.hub.load: .*trust=true"
    with pytest.raises(ConfigError, match=said):
        received_config(of_net(plain, node), FILE, trust=False)


@pytest.mark.parametrize("group", ["callbacks", "loss", "optimizer", "data", "logger", "new"])
def test_no_part_of_a_configuration_is_left_out(plain: dict[str, Any], group: str) -> None:
    stored = {**plain, group: {**plain.get(group, {}), "x": EVIL}}
    with pytest.raises(ConfigError, match=rf"{group}.x._target_=torch.hub.load"):
        received_config(stored, FILE, trust=False)


@pytest.mark.parametrize("trust", [True, False])
def test_nothing_says_where_to_write_or_log(
    plain: dict[str, Any], tmp_path: Path, trust: bool
) -> None:
    data = {**plain["data"], "root": str(tmp_path / "made"), "store": {"dir": str(tmp_path)}}
    logger = {"name": "wandb", "project": "theirs", "mode": "online"}
    stored = {**plain, "data": data, "logger": logger}
    received = received_config(stored, FILE, trust)
    assert received["logger"] == {"name": "csv"}
    assert received["data"]["store"]["dir"] is None
    assert received["data"]["root"] is None
    assert stored["data"]["root"], "the checkpoint's own stays as it is"
    (tmp_path / "made/VOC2007").mkdir(parents=True)
    assert received_config(stored, FILE, trust)["data"]["root"] == str(tmp_path / "made")
    own = {**stored, "data": {**data, "synth": None, "root": "not/there"}}
    assert received_config(own, FILE, trust)["data"]["root"] == "not/there"


OUTSIDE = [
    ("annotations", "/etc/passwd"),
    ("annotations", "../{split}.json"),
    ("image_dir", "/home"),
    ("mask_dir", "a/../../b"),
    ("instance_dir", ".."),
]


@pytest.mark.parametrize(("key", "value"), OUTSIDE)
def test_the_files_of_a_data_set_are_in_its_root_unless_the_user_names_them(
    plain: dict[str, Any], key: str, value: str
) -> None:
    stored = {**plain, "data": {**plain["data"], "synth": None, "root": "/data/theirs", key: value}}
    refused = rf"^checkpoint={FILE}: its data.{key}={re.escape(value)} is outside data.root=/data/"
    for given in ([], ["data.root=/data/mine", "data.batch_size=1"]):
        with pytest.raises(ConfigError, match=refused):
            received_config(stored, FILE, trust=False, overrides=given)
    for own in ([f"data.{key}=mine"], ["data=voc2007"]):
        assert received_config(stored, FILE, trust=False, overrides=own)["data"][key] == value
    assert received_config(stored, FILE, trust=True)["data"][key] == value
    inside = {**stored, "data": {**stored["data"], key: f"/data/theirs/{{split}}/{key}"}}
    assert received_config(inside, FILE, trust=False)["data"]["root"] == "/data/theirs"
    with pytest.raises(ConfigError, match=r"is outside data\.root=/data/mine"):
        received_config(inside, FILE, trust=False, overrides=["data.root=/data/mine"])


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${oc.env:HOME}", "its model.name contains an interpolation"),
        ("a${len:x}", "contains an interpolation"),
        (torch.ones(2), "holds a Tensor in model.name"),
        ((1, 2), "holds a tuple"),
        ({1: 2}, "the key 1, which is not a string"),
        (deep(MAX_DEPTH + 1), "nested too deep"),
        (deep(900), "nested too deep"),
    ],
)
@pytest.mark.parametrize("trust", [True, False])
def test_only_plain_resolved_data_is_a_configuration(
    plain: dict[str, Any], value: Any, said: str, trust: bool
) -> None:
    stored = {**plain, "model": {**plain["model"], "name": value}}
    with pytest.raises(RunError, match=said):
        received_config(stored, FILE, trust=trust)


@pytest.mark.parametrize("stored", [None, [], 3, "x", {}, {"trainer": {}}, {"trainer": 1}])
def test_what_is_no_configuration_is_said(stored: Any) -> None:
    with pytest.raises(RunError, match=f"checkpoint={FILE}: its configuration has no"):
        received_config(stored, FILE, trust=False)
