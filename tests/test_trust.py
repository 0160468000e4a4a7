"""A configuration that came with a checkpoint builds nets, and nothing that is not known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from seglab.config import compose
from seglab.errors import ConfigError, RunError
from seglab.overrides import home
from seglab.schema import TrainConfig
from seglab.trust import FUNCTIONS, MAX_DEPTH, objection, received_config

FILE = Path("/nowhere/a.ckpt")
NET = {"_target_": "torch.nn.Identity"}

HARMFUL = [
    "torch.hub.load",
    "torch.load",
    "torch.utils.cpp_extension.load",
    "torch.jit.load",
    "os.system",
    "posix.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "builtins.getattr",
    "functools.partial",
    "pickle.loads",
    "runpy.run_path",
    "importlib.import_module",
    "antigravity.webbrowser",
    "idlelib.idle.x",  # to import it is to open a window
    "hydra.utils.instantiate",
    "hydra.utils.get_method",
    "hydra.utils.get_class",
    "hydra.utils.get_object",
    "hydra.utils.call",
    "hydra._internal.utils._locate",
    "omegaconf.OmegaConf.load",
    "torch.os.system",  # a module that another one has imported
    "torchvision.models.segmentation.torch.load",
    "seglab.targets.build",
    "seglab.targets.instantiate",
    "seglab.api.load",
    "torch.nn.Module.load_state_dict",  # a method, not a class
    "lightning.LightningModule.load_from_checkpoint",
    "torch.nn.Module.__init__",
    "torch.nn.Module.__subclasses__",
    "torch.nn.functional.relu",
    "torch.classes.load_library",
    "torchvision.models.get_model",
    "torchvision.datasets.FakeData",
    "torchvision.datasets.MNIST",
    "lightning.Trainer",
    "lightning.pytorch.callbacks.EarlyStopping",
    "torch.nn",
    "torch",
    "torch.nn.Identity:forward",
    "torch.nn..Identity",
    "torch.nn.Identity ",
    " torch.nn.Identity",
    "torch.nn.Nothing",
    "no_such_module.Net",
    "",
    "ｔorch.hub.load",  # Python takes this letter for a t  # noqa: RUF001
    None,
    3,
    ["torch.nn.Identity"],
    True,
]


@pytest.mark.parametrize("target", HARMFUL, ids=str)
def test_what_is_not_known_to_be_harmless_is_refused(target: Any) -> None:
    assert objection(target, FILE.parent)


@pytest.mark.parametrize(
    "target",
    [
        *sorted(FUNCTIONS),
        "seglab.models.fcn.FCN",
        "seglab.models.mask_rcnn.MaskRCNN",
        "seglab.models.padded_cnn.PaddedCNN",
        "segmentation_models_pytorch.Unet",
        "torchvision.models.segmentation.FCN",
        "torch.nn.Sequential",
        "torch.nn.modules.batchnorm.BatchNorm2d",
        "torch.optim.AdamW",
        "torch.optim.lr_scheduler.StepLR",
        "torchmetrics.classification.MulticlassJaccardIndex",
    ],
)
def test_nets_their_parts_optimisers_and_metrics_pass(target: str) -> None:
    assert objection(target, FILE.parent) == ""


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return compose("train", TrainConfig, ["callbacks=ema", "data=synthetic"]).plain


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (home() / "conf/model").glob("*.yaml"))
)
def test_every_model_of_ours_needs_no_trust(name: str) -> None:
    if name != "base":
        stored = compose("train", TrainConfig, [f"model={name}", "callbacks=ema"]).plain
        assert received_config(stored, FILE, trust=False) == stored


@pytest.mark.parametrize("name", ["ema", "early_stopping"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_every_callback_and_optimiser_of_ours_needs_no_trust(name: str, optimizer: str) -> None:
    stored = compose("train", TrainConfig, [f"callbacks={name}", f"optimizer={optimizer}"]).plain
    assert received_config(stored, FILE, trust=False) == stored


EVIL = {"_target_": "torch.hub.load", "repo_or_dir": "x"}


@pytest.mark.parametrize(
    ("node", "key"),
    [
        (EVIL, "model.net._target_"),
        ({**NET, "norm": EVIL}, "model.net.norm._target_"),
        (
            {**NET, "layers": [NET, [1, {"deep": EVIL}]]},
            r"model.net.layers\[1\]\[1\].deep._target_",
        ),
        ({**NET, "_args_": [EVIL]}, r"model.net._args_\[0\]._target_"),
        ({**EVIL, "_partial_": True}, "model.net._target_"),
        ({**NET, "_recursive_": False, "inner": EVIL}, "model.net.inner._target_"),
        ({"x": EVIL}, "model.net.x._target_"),
    ],
)
def test_a_target_is_found_wherever_it_stands(plain: dict[str, Any], node: Any, key: str) -> None:
    stored = {**plain, "model": {**plain["model"], "net": node}}
    said = rf"^checkpoint={FILE}: {key}=torch.hub.load: .*trust=true"
    with pytest.raises(ConfigError, match=said):
        received_config(stored, FILE, trust=False)
    assert received_config(stored, FILE, trust=True) == stored


@pytest.mark.parametrize("group", ["callbacks", "loss", "logger", "optimizer", "data", "new"])
def test_no_part_of_a_configuration_is_left_out(plain: dict[str, Any], group: str) -> None:
    stored = {**plain, group: {**plain.get(group, {}), "x": EVIL}}
    with pytest.raises(ConfigError, match=rf"{group}.x._target_=torch.hub.load"):
        received_config(stored, FILE, trust=False)


def test_a_callback_that_is_never_built_is_no_hindrance(plain: dict[str, Any]) -> None:
    stopping = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/mIoU"}
    stored = {**plain, "callbacks": {**plain["callbacks"], "stop": stopping}}
    assert received_config(stored, FILE, trust=False) == stored


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${oc.env:HOME}", "its model.name is to be resolved"),
        ("a${len:x}", "is to be resolved"),
        (torch.ones(2), "holds a Tensor in model.name"),
        ((1, 2), "holds a tuple"),
        ({1: 2}, "the key 1, which is no name"),
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


WITNESS = (
    "import pathlib, torch\npathlib.Path({mark!r}).touch()\nclass Net(torch.nn.Identity): ...\n"
)


@pytest.mark.parametrize("where", ["here", "beside", "below"])
def test_a_module_that_came_with_a_download_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    mark, came = tmp_path / "it-ran", tmp_path / "came"
    (came / "package").mkdir(parents=True)
    for name in ("witness_here", "package/witness_below"):
        (came / f"{name}.py").write_text(WITNESS.format(mark=str(mark)))
    target = "package.witness_below.Net" if where == "below" else "witness_here.Net"
    monkeypatch.chdir(came if where != "beside" else tmp_path)
    monkeypatch.syspath_prepend(came)  # as `python -m` does with the current folder
    folder = tmp_path / "elsewhere" if where != "beside" else came
    assert "is not installed, but lies in" in objection(target, folder)
    assert not mark.exists()


def test_a_module_that_the_user_made_known_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "it-ran"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_nets.py").write_text(WITNESS.format(mark=str(mark)))
    monkeypatch.syspath_prepend(tmp_path / "mine")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert objection("my_nets.Net", FILE.parent) == ""
    assert mark.exists()
    sys.modules.pop("my_nets")


def test_a_module_that_ends_the_process_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "leaves.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path / "mine")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert objection("leaves.Net", FILE.parent)
