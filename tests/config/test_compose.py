"""Configurations: every file composes against the schema, every mistake is named with its cure."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from seglab.config.compose import compose, compose_own
from seglab.config.overrides import home
from seglab.config.stored import override_stored
from seglab.data.classes import VOC_CLASSES
from seglab.errors import ConfigError, DataError
from seglab.schema import DataCommandConfig, EvaluateConfig, ScoreConfig, TrainConfig

OPTIONS = sorted(
    f"{path.parent.relative_to(home() / 'conf')}={path.stem}"
    for path in (home() / "conf").glob("*/**/*.yaml")
    if path.stem != "base"
)
EXPERIMENTS = sorted(path.stem for path in (home() / "experiments").glob("*.yaml"))


def train(*overrides: str) -> TrainConfig:
    return compose("train", TrainConfig, overrides).config


def refused(*overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        train(*overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


# What is there composes.


def test_the_files_are_found() -> None:
    assert {"data=synthetic", "model=padded_cnn", "schedule=cosine", "debug=overfit"} < {*OPTIONS}
    assert {"smoke", "padded_cnn_voc2007"} <= {*EXPERIMENTS}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_every_group(option: str) -> None:
    needs = ["data.root=somewhere", "data.classes=[background,leaf]"]
    own = option in ("data=coco", "data=folder", "data=pairs", "data=dataset")
    target = ["data.dataset._target_=mine.Data"] if option == "data=dataset" else []
    composed = compose("train", TrainConfig, [option, *(needs if own else []), *target])
    group, _, name = option.partition("=")
    of_another_target = ("schedule=multistep", "logger=tensorboard", "logger=mlflow")
    if group in ("data", "model", "schedule", "logger") and option not in of_another_target:
        assert composed.plain[group]["name"] == name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment(name: str) -> None:
    composed = compose("train", TrainConfig, [f"experiments={name}"])
    chosen = {part: composed.plain[part]["name"] for part in ("model", "data")}
    assert composed.folder.parts[:3] == ("runs", chosen["model"], chosen["data"])
    if name != "smoke":
        backbone = [part for part in ("vgg16", "efficientnet", "lite2") if part in name]
        model = "_".join([chosen["model"], *backbone])
        assert f"{model}_{chosen['data']}" == name


@pytest.mark.parametrize(
    ("command", "schema", "needs"),
    [
        ("evaluate", EvaluateConfig, ["checkpoint=a.ckpt"]),
        ("score", ScoreConfig, ["predictions=maps", "data=voc2007"]),
        ("data", DataCommandConfig, ["data=voc2012", "year=2012"]),
    ],
)
def test_every_command(command: str, schema: type[Any], needs: list[str]) -> None:
    assert compose(command, schema, needs).config.split in ("val", "train")
    if command != "data":
        with pytest.raises(ConfigError, match=f"^{needs[0].split('=')[0]} is not set: give "):
            compose(command, schema, needs[1:])


def test_values_arrive_typed() -> None:
    composed = compose(
        "train",
        TrainConfig,
        ["seed=3", "optimizer.lr=1", "data.classes=[a,b,c]", "hydra.run.dir=out/x"],
    )
    config = composed.config
    assert config.seed == 3
    assert isinstance(config.optimizer.lr, float)
    assert config.data.classes == ["a", "b", "c"]
    assert config.model.net["num_classes"] == 3
    assert str(composed.folder) == "out/x"
    assert composed.overrides[0] == "seed=3"
    assert composed.plain["data"]["store"] == vars(config.data.store)
    assert "hydra" not in composed.plain


def test_classes_follow_the_data_set() -> None:
    assert len(train().data.classes or ()) == train().model.net["num_classes"] == 7
    assert train("data=voc2007").model.net["num_classes"] == 21


def test_one_width_for_each_layer_may_stand_for_one_number() -> None:
    widths = [8, 8, 16, 16, 8, 8]
    assert train(f"model.net.channels={widths}").model.net["channels"] == widths


def test_composing_leaves_nothing_behind() -> None:
    assert train("seed=1").seed == 1
    assert train().seed == 0
    refused("sed=1")
    assert not GlobalHydra.instance().is_initialized()
    with initialize_config_dir(str(home() / "conf"), version_base="1.3"):
        train()
        refused("sed=1")
        assert hydra_compose("train").seed == 0  # the caller's own Hydra still works
    assert not GlobalHydra.instance().is_initialized()


# What is wrong is named.


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=abc", "seed=abc: must be a whole number"),
        ("seed=1.5", "seed=1.5: must be a whole number"),
        ("seed=-1", "seed=-1: must be at least 0 and at most 4294967295"),
        ("seed=null", "seed is not set: give seed=…"),
        ("~seed", "seed is not set: give seed=…"),
        ("++seed=abc", "seed=abc: must be a whole number"),
        ("sed=1", "unknown key 'sed': did you mean seed or "),
        ("lr=1", "unknown key 'lr': did you mean optimizer.lr?"),
        ("data.batchsize=1", "unknown key 'data.batchsize': did you mean data.batch_size"),
        ("+foo=1", "unknown key 'foo': seglab train --dry-run lists all keys"),
        ("++data.foo=1", "unknown key 'data.foo': "),
        ("resume=maybe", "resume=maybe: must be true or false"),
        ("data.crop_size=0", "data.crop_size=0: must be at least 1"),
        ("data.flip=1.5", "data.flip=1.5: must be at least 0 and at most 1"),
        ("data.root=a=b", "'data.root=a=b' is not key=value: "),
        ("data.scale=2", "data.scale=2: must be a list, such as [a,b]"),
        ("data.scale=[0.5]", "data.scale=[0.5]: must be a list of 2"),
        ("data.scale=[0,1]", "data.scale=0.0: must be greater than 0"),
        ("data.scale=[a,b]", "data.scale[0]=a: must be a number"),
        ("data.store=false", "data.store=False: must be a group of keys, such as {key: value}"),
        ("data.classes=[a]", "data.classes: 1 classes; a class map holds 2 to 255"),
        ("data=voc2008", "data=voc2008: no such data; nearest: voc2007, voc2012"),
        (
            "data=base",
            "data=base: no such data; available: coco, dataset, folder, pairs, synthetic, voc2007",
        ),
        ("data=null", "data=null: no such data; available: coco, dataset, folder, "),
        ("data=folder", "data.root is not set: give data.root=DIR"),
        ("experiments=smok", "experiments=smok: no such experiments; nearest: smoke"),
        ("model.mean=[0,nan,0]", "model.mean=nan: must be a finite number"),
        ("model.net=3", "model.net=3: must be a group of keys, such as {key: value}"),
        ("model.net.channels=abc", "model.net.channels=abc: must be a number, such as 32"),
        ("model.net.channels=1.5", "model.net.channels=1.5: must be a whole number, such as 32"),
        ("model.net.norm=3", "model.net.norm=3: must be a string, such as batch"),
        ("model.net.dilations=[1,x]", "model.net.dilations=[1, 'x']: must be a list of numbers"),
        ("model.net.chanels=8", "unknown key 'model.net.chanels': did you mean model.net.channels"),
        ("loss.terms=[]", "loss.terms=[]: must be a list of 1 or more"),
        ("loss.terms=[{loss: dice, weight: 0}]", "loss.terms: the weight of at least one must be"),
        (
            "loss.class_weights=[0,0,0,0,0,0,0]",
            "loss.class_weights=[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]: at least one must be greater",
        ),
        ("model.mean=[123.7,116.3,103.5]", "model.mean=123.7: must be at least 0 and at most 1"),
        ("model.std=[58,57,57]", "model.std=58.0: must be at most 1"),
        (f"data.split_seed={2**63}", f"data.split_seed={2**63}: must be less than 2^63"),
        (f"+callbacks.a={{_target_: b, c: [{-(2**63)}]}}", f"callbacks.a.c={-(2**63)}: must be"),
        (
            "+callbacks.stop={_target_: seglab.callbacks.EMA, monitor: val/miou}",
            "callbacks.stop.monitor=val/miou: no run has this metric; nearest: val/mIoU",
        ),
        ("optimizer.lr=nan", "optimizer.lr=nan: must be a finite number"),
        ("optimizer.lr=inf", "optimizer.lr=inf: must be a finite number"),
        ("optimizer.lr=0", "optimizer.lr=0.0: must be greater than 0"),
        ("schedule.name=ploy", "schedule.name=ploy: must be one of poly, cosine, constant"),
        ("seed", "'seed' is not key=value: "),
        ("=3", "'=3' is not key=value: "),
        ("seed=1,2", "seed=1,2: several values make several runs; give one"),
        ("seed=range(3)", "seed=range(3): several values make several runs; give one"),
        ("+seed=3", "Could not append to config. An item is already at 'seed'."),
        ("model.name=../../x", "model.name=../../x: must be a name without slashes"),
        ("data.name=..", "data.name=..: must be a name without slashes"),
        ("sweep.name=a/b", "sweep.name=a/b: must be a name without slashes"),
        # What a fuzz test found: Hydra and OmegaConf let Python's own errors through.
        ("~callbacks=1", "Config group override deletion value must be a string"),
        ("hydra/launcher=int(3)", "hydra/launcher=int(3): no such hydra/launcher"),
        ("hydra=null", "Config group override must be a string or a list"),
        (f"hydra/launcher={'a' * 5000}", "hydra/launcher=aaa"),
        (f"{'a' * 5000}=1", "unknown key 'aaa"),
        (f"seed={'9' * 5000}", "seed: a number of 5000 digits is too large"),
        (f"data.scale=[{'9' * 400},1]", "data.scale: a number of 400 digits is too large"),
        ("trainer.devices=[1]", "trainer.devices=[1]: must be a whole number or a string"),
        ("trainer.limit_train_batches=x", "trainer.limit_train_batches=x: must be a whole number"),
        (f"optimizer.lr={'9' * 400}", "optimizer.lr: a number of 400 digits is too large"),
        (f"data.classes={'[' * 900}{']' * 900}", "'data.classes=[[["),
    ],
)
def test_a_wrong_override(override: str, said: str) -> None:
    message = refused(override)
    assert message.startswith(said)


def test_an_option_that_an_own_experiment_asks_for_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path, text in {
        "conf/loss/myfocal.yaml": "_target_: a.B",
        "experiments/mine.yaml": "# @package _global_\ndefaults:\n  - override /loss: myfokal",
    }.items():
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text(text)
    assert refused("experiments=mine").startswith(
        "loss=myfokal: no such option, which experiments=mine asks for; nearest: myfocal"
    )


def test_the_wrong_one_of_several_is_named() -> None:
    assert refused("seed=1", "data.crop_size=64", "optimiser.lr=1").startswith(
        "unknown key 'optimiser.lr': did you mean optimizer.lr"
    )
    assert "momentum" in refused("optimizer=adamw", "optimizer.algorithm.momentum=0.5")


# Overrides on top of what a checkpoint holds.


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    return compose("train", TrainConfig, ["seed=5", "optimizer.lr=0.5"]).plain


def test_a_stored_configuration_is_taken_as_it_is(stored: dict[str, Any]) -> None:
    config = override_stored(stored, [])
    assert (config.seed, config.optimizer.lr, config.data.name) == (5, 0.5, "synthetic")


def test_one_value_of_a_stored_configuration(stored: dict[str, Any]) -> None:
    changes = ["data.root=/elsewhere", "trainer.devices=auto", "trainer.deterministic=false"]
    config = override_stored(stored, [*changes, "+callbacks.a._target_=b", "data.scale=[1,1]"])
    assert config.data.root == "/elsewhere"
    assert (config.trainer.devices, config.trainer.deterministic) == ("auto", False)
    assert config.callbacks == {"a": {"_target_": "b"}}
    assert config.data.scale == [1.0, 1.0]
    assert (config.seed, config.optimizer.lr) == (5, 0.5)
    assert stored["data"]["root"] is None


def test_a_group_choice_replaces_the_stored_group(stored: dict[str, Any]) -> None:
    stored = {**stored, "data": {**stored["data"], "classes": [*VOC_CLASSES]}}
    config = override_stored(stored, ["data=voc2012", "data.root=/voc", "optimizer=adamw"])
    assert (config.data.name, config.data.year, config.data.synth) == ("voc2012", 2012, None)
    assert (config.data.root, config.data.crop_size) == ("/voc", 320)
    assert len(config.data.classes or ()) == 21
    assert config.optimizer.algorithm == {"_target_": "torch.optim.AdamW", "betas": [0.9, 0.999]}
    assert config.seed == 5


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sed=1", "unknown key 'sed': did you mean seed"),
        ("+foo=1", "unknown key 'foo': "),
        ("seed=abc", "seed=abc: must be a whole number"),
        ("data.crop_size=0", "data.crop_size=0: must be at least 1"),
        ("data=voc2008", "data=voc2008: no such data; nearest: voc2007, voc2012"),
        ("optimizer@x=sgd", "Could not override 'optimizer@x'. "),
        ("model.net.kernel_size=a", "model.net.kernel_size=a: must be a number"),
        ("experiments=smoke", "experiments=smoke: cannot be applied to a checkpoint's config"),
        ("~data", "~data: cannot be applied to a checkpoint's config"),
        ("~seed", "~seed: cannot be applied to a checkpoint's config"),
        ("seed=1,2", "seed=1,2: several values make several runs; give one"),
    ],
)
def test_a_wrong_override_of_a_stored_configuration(
    stored: dict[str, Any], override: str, said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        override_stored(stored, [override])
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
    assert not GlobalHydra.instance().is_initialized()


def test_a_commands_own_keys_are_told_from_the_checkpoints() -> None:
    overrides = ["checkpoint=a.ckpt", "data.root=x", "hydra.run.dir=out", "split=train", "data=b"]
    composed, rest = compose_own("evaluate", EvaluateConfig, overrides)
    assert composed.config == EvaluateConfig("a.ckpt", "train")
    assert str(composed.folder) == "out"
    assert rest == ["data.root=x", "data=b"]


def test_a_label_map_that_cannot_be_read_is_the_data_sets_fault(tmp_path: Any) -> None:
    (tmp_path / "labelmap.txt").write_text("nonsense\n")
    with pytest.raises(DataError, match=r"labelmap.txt:1: 'nonsense'"):
        train("data=folder", f"data.root={tmp_path}")


# Speed.


def test_help_and_checks_need_no_torch() -> None:
    code = (
        "import sys; import seglab.config.compose; from seglab.cli import main\n"
        "codes = [main(a) for a in (['--help'], ['train', '--help'], ['train', 'seed=abc'])]\n"
        "heavy = [m for m in ('torch', 'lightning', 'numpy', 'PIL') if m in sys.modules]\n"
        "assert codes == [0, 0, 2] and not heavy, (codes, heavy)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: seglab COMMAND")
    assert result.stderr == "seglab: error: seed=abc: must be a whole number\n"


def test_no_device_is_no_number_of_devices():
    with pytest.raises(ConfigError, match=r"trainer.devices=0: must be at least 1"):
        compose("train", TrainConfig, ["trainer.devices=0"])


def test_an_option_of_the_current_folder_is_read_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/model").mkdir(parents=True)
    option = tmp_path / "conf/model/mine.yaml"
    text = "defaults: [base]\nname: mine\nnet: {_target_: mine.Net, width: "
    option.write_text(f"{text}8}}\n")
    with pytest.raises(ConfigError, match=r"model.net.width=a: must be a number"):
        compose("train", TrainConfig, ["model=mine", "model.net.width=a"])
    option.write_text(f"{text}some}}\n")
    assert compose("train", TrainConfig, ["model=mine", "model.net.width=a"]).config.model.net == {
        "_target_": "mine.Net",
        "width": "a",
    }
