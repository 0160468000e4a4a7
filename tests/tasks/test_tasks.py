"""Tasks: plain RGB in, class maps out, each parameter in its group, no digit moved by batching."""

import shutil
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from seglab.config.compose import compose
from seglab.data.batches import Batch
from seglab.errors import ConfigError
from seglab.schema import OptimizerConfig, TrainConfig
from seglab.tasks.factories import build_optimizer, build_schedule, build_task
from seglab.tasks.parameters import freeze, freeze_norms, parameter_groups
from seglab.tasks.semantic import SemanticSegmentation

SEVEN = tuple("abcdefg")
SMALL = ["model.net.channels=16", "model.net.dilations=[1,2]", "trainer.accelerator=cpu"]


def configure(*overrides: str) -> TrainConfig:
    return compose("train", TrainConfig, [*SMALL, *overrides]).config


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return configure()


class Backbone(nn.Module):
    """Every kind of parameter, in a backbone and in a head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GroupNorm(2, 8))
        self.backbone_like = nn.Conv2d(8, 8, 1)  # of the head, whatever its name begins with
        self.norm = nn.LayerNorm(8)
        self.classifier = nn.Conv2d(8, 4, 1)


def rates(
    factor: float = 0.1, decay_all: bool = False, weight_decay: float = 0.01
) -> OptimizerConfig:
    algorithm = {"_target_": "torch.optim.SGD"}
    return OptimizerConfig(1.0, weight_decay, factor, decay_all, "none", algorithm)


# Parameter groups.


def test_the_backbone_is_slower_and_norms_and_biases_do_not_decay() -> None:
    net = Backbone()
    name_of = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = {
        group["name"]: (
            group["lr"],
            group["weight_decay"],
            {name_of[id(parameter)] for parameter in group["params"]},
        )
        for group in parameter_groups(net, rates())
    }
    norms = {f"backbone.{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")}
    assert groups == {
        "backbone": (0.1, 0.01, {"backbone.0.weight"}),
        "backbone_no_decay": (0.1, 0.0, {"backbone.0.bias", *norms}),
        "head": (1.0, 0.01, {"backbone_like.weight", "classifier.weight"}),
        "head_no_decay": (
            1.0,
            0.0,
            {"norm.weight", "norm.bias", "backbone_like.bias", "classifier.bias"},
        ),
    }


def test_norms_and_biases_decay_if_asked_to() -> None:
    groups = {group["name"]: group for group in parameter_groups(Backbone(), rates(decay_all=True))}
    assert set(groups) == {"backbone", "head"}
    assert [group["weight_decay"] for group in groups.values()] == [0.01, 0.01]
    assert [len(group["params"]) for group in groups.values()] == [6, 6]


@settings(max_examples=40, deadline=None)
@given(frozen=st.sets(st.integers(0, 11)), decay_all=st.booleans())
def test_each_trainable_parameter_is_in_one_group(frozen: set[int], decay_all: bool) -> None:
    net = Backbone()
    parameters = list(net.parameters())
    assert len(parameters) == 12
    for index in frozen:
        parameters[index].requires_grad_(False)
    groups = list(parameter_groups(net, rates(decay_all=decay_all)))
    assert all(group["params"] for group in groups)
    grouped = sorted(id(parameter) for group in groups for parameter in group["params"])
    assert grouped == sorted(id(p) for i, p in enumerate(parameters) if i not in frozen)


def test_a_net_without_backbone_has_a_head_only(config: TrainConfig) -> None:
    net = build_task(config).net
    assert [group["name"] for group in parameter_groups(net, rates())] == ["head", "head_no_decay"]


@pytest.mark.parametrize("choice", ["sgd", "adamw"])
def test_the_optimiser_gets_the_groups_and_the_schedule(choice: str) -> None:
    config = configure(f"optimizer={choice}", "optimizer.lr=0.5", "schedule.warmup_steps=2")
    task = SemanticSegmentation(
        Backbone(),
        config.data.classes,
        optimizer=partial(build_optimizer, config=config.optimizer),
        schedule=partial(build_schedule, config=config.schedule),
    )
    task._trainer = SimpleNamespace(estimated_stepping_batches=10, world_size=1)
    built = task.configure_optimizers()
    optimizer, scheduler = built["optimizer"], built["lr_scheduler"]["scheduler"]
    assert type(optimizer).__name__.lower() == choice
    assert built["lr_scheduler"]["interval"] == "step"
    seen = []
    for _ in range(11):
        seen.append(optimizer.param_groups[-1]["lr"])
        optimizer.step()
        scheduler.step()
    expected = [0.1, 0.55, *[(1 - t / 8) ** 0.9 for t in range(9)]]
    assert seen == pytest.approx([0.5 * share for share in expected])
    decays = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decays["head"] == config.optimizer.weight_decay > 0
    assert decays["head_no_decay"] == 0


def test_an_optimiser_that_does_not_take_an_argument_is_the_users(config: TrainConfig) -> None:
    wrong = configure("+optimizer.algorithm.momentum=0.9")
    task = build_task(wrong)
    task._trainer = SimpleNamespace(estimated_stepping_batches=10, world_size=1)
    with pytest.raises(
        ConfigError, match=r"optimizer.algorithm.momentum: torch.optim.AdamW has no"
    ):
        task.configure_optimizers()


# From RGB to class maps.


@pytest.mark.parametrize("channels_last", [True, False])
def test_normalisation_is_that_of_the_field(channels_last: bool) -> None:
    task = build_task(configure(f"trainer.channels_last={channels_last}"))
    values = torch.arange(256, dtype=torch.uint8)
    image = torch.stack([values, values.flip(0), values.roll(7)]).view(1, 3, 16, 16)
    normal = task.normalise(image)
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(normal.double(), (image / 255.0 - mean) / std, rtol=1e-5, atol=1e-5)
    assert normal.dtype == torch.float32
    wanted = torch.channels_last if channels_last else torch.contiguous_format
    assert normal.is_contiguous(memory_format=wanted)
    assert task.net.features[0].weight.is_contiguous(memory_format=wanted)
    both = [
        task.normalise(image.contiguous(memory_format=f)) for f in (torch.channels_last, wanted)
    ]
    assert torch.equal(*both)
    assert torch.equal(normal, (image - task.mean) / task.std)  # row by row, and yet the same bits


def test_mean_and_std_are_the_configurations_not_the_checkpoints(config: TrainConfig) -> None:
    assert not {"mean", "std"} & set(build_task(config).state_dict())


def test_rgb_in_and_a_class_map_out(config: TrainConfig) -> None:
    task = build_task(config).eval()
    image = torch.randint(256, (2, 3, 9, 14), dtype=torch.uint8)
    with torch.inference_mode():
        logits = task(image)
        prediction = task.predict(image).class_map
    assert logits.shape == (2, 7, 9, 14)
    assert prediction.dtype == torch.uint8
    assert prediction.shape == (2, 9, 14)
    assert torch.equal(prediction.long(), logits.argmax(1))


# Building.


@pytest.mark.parametrize("weights", ["[1,2]", "[1,1,1,1,1,1,1,1]"])
def test_class_weights_of_another_length_are_refused(weights: str) -> None:
    count = weights.count("1") + weights.count("2")
    with pytest.raises(ConfigError, match=f"loss.class_weights: {count} numbers for 7 classes"):
        build_task(configure(f"loss.class_weights={weights}"))


def test_class_weights_reach_the_loss() -> None:
    weights = [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0]
    task = build_task(configure(f"loss.class_weights={weights}"))
    assert task.loss.class_weights.tolist() == weights


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "model.net._target_=torch.optim.SGD",
            r"model.net.num_classes, .*: torch.optim.SGD has",
        ),
        ("model.net={_target_:builtins.len}", r"model.net.* builtins.len has no such argument"),
        ("model.net.kernel_size=4", r"model.net: kernel_size=4: must be odd"),
        ("+model.net.depth=4", r"model.net.depth: .*PaddedCNN has no such argument"),
        ("model.net.dilations=[1,2,3]", None),
        ("model.net.channels=[16,24,16]", r"model.net: channels=\[16, 24, 16\]: must be one"),
    ],
)
def test_a_net_that_cannot_be_built_is_the_users(override: str, said: str | None) -> None:
    config = configure(override)
    if said is None:
        assert build_task(config)
    else:
        with pytest.raises(ConfigError, match=said):
            build_task(config)


def not_a_net(**arguments: object) -> int:
    return 3


def test_a_net_must_be_a_module() -> None:
    with pytest.raises(ConfigError, match=r"model.net._target_=.*not_a_net: not an nn.Module"):
        build_task(configure(f"model.net._target_={__name__}.not_a_net"))


# Validation.


def validate(task: SemanticSegmentation, batches: list[Batch]) -> dict[str, str]:
    """Return every score, to the last bit."""
    task.metrics.reset()
    with torch.inference_mode():
        for index, batch in enumerate(batches):
            prediction = task.validation_step(batch, index).class_map
            assert prediction.dtype == torch.uint8
            assert prediction.shape == batch.class_map.shape
    return {name: value.hex() for name, value in task.metrics.compute().items()}


def deal(
    images: Tensor, truth: Tensor, size: int, memory_format: torch.memory_format
) -> list[Batch]:
    return [
        Batch(
            images[start : start + size].contiguous(memory_format=memory_format),
            truth[start : start + size],
            torch.arange(len(images))[start : start + size],
            [str(start + i) for i in range(len(images[start : start + size]))],
        )
        for start in range(0, len(images), size)
    ]


@pytest.mark.parametrize("channels_last", [True, False])
def test_no_digit_of_a_validation_depends_on_the_batch_size(channels_last: bool) -> None:
    torch.manual_seed(0)
    weights = "loss.class_weights=[0.3,1,1,2,1,1,1]"
    task = build_task(configure(f"trainer.channels_last={channels_last}", weights)).eval()
    images = torch.randint(256, (6, 3, 31, 37), dtype=torch.uint8)
    truth = torch.randint(7, (6, 31, 37), dtype=torch.uint8)
    truth[:, :9] = 255
    truth[4] = 255  # an image of nothing but void
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    one = validate(task, deal(images, truth, 1, memory_format))
    assert {"val/loss", "val/mIoU", "val/IoU/star"} < set(one)
    assert 0 < float.fromhex(one["val/mIoU"]) < 1
    for size in (2, 3):
        assert validate(task, deal(images, truth, size, memory_format)) == one
    backwards = deal(images, truth, 2, memory_format)[::-1]
    assert validate(task, backwards) == one


# What evaluation and training add to the net.


def test_flip_averages_the_logits_of_both_directions() -> None:
    task = build_task(configure("evaluation.flip=true")).eval()
    image = torch.randint(256, (2, 3, 9, 14), dtype=torch.uint8)
    with torch.inference_mode():
        expected = (task(image) + task(image.flip(-1)).flip(-1)) / 2
        assert torch.equal(task.infer(image), expected)
        assert torch.equal(task.infer(image.flip(-1)).flip(-1), expected), "no side is preferred"


class TwoHeads(nn.Module):
    """What torchvision's nets give: a dictionary, with an auxiliary output in training."""

    def __init__(self, num_classes: int = 7) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.out = nn.Conv2d(8, num_classes, 1)
        self.aux = nn.Conv2d(8, num_classes, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.backbone(image)
        return {"out": self.out(features), "aux": self.aux(features)}


def random_batch() -> Batch:
    torch.manual_seed(0)
    image = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    truth = torch.randint(7, (2, 8, 8), dtype=torch.uint8)
    return Batch(image, truth, torch.arange(2), ["a", "b"])


def test_an_auxiliary_head_counts_in_training_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = SemanticSegmentation(TwoHeads(), SEVEN, aux_weight=0.25)
    task.check_output()
    for name in ("log", "log_exact", "learning_rates"):
        monkeypatch.setattr(task, name, lambda *arguments, **named: {})
    batch = random_batch()
    output = task(batch.image)
    parts = [task.loss(output[name], batch.class_map) for name in ("out", "aux")]
    torch.testing.assert_close(task.training_step(batch, 0), parts[0] + 0.25 * parts[1])
    with torch.inference_mode():
        assert torch.equal(task.eval().infer(batch.image), task(batch.image)["out"])


def test_what_is_frozen_neither_learns_nor_counts() -> None:
    net = TwoHeads()
    task = SemanticSegmentation(net, SEVEN, frozen=[*freeze(net, ["out"]), *freeze_norms(net)])
    assert {n for n, p in task.net.named_parameters() if not p.requires_grad} == {
        "backbone.1.weight", "backbone.1.bias", "out.weight", "out.bias"
    }  # fmt: skip
    before = task.net.backbone[1].running_mean.clone()
    task.train()(random_batch().image)
    assert task.net.aux.training
    assert not task.net.out.training
    assert torch.equal(task.net.backbone[1].running_mean, before)
    unfrozen = SemanticSegmentation(TwoHeads(), SEVEN)
    unfrozen.train()(random_batch().image)
    assert not torch.equal(unfrozen.net.backbone[1].running_mean, before)


def test_a_layer_that_is_not_there_cannot_be_frozen() -> None:
    said = r"model.frozen: the net has no layer 'features.00'; nearest: features.0"
    with pytest.raises(ConfigError, match=said):
        build_task(configure("model.frozen=[features.00]"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_step_has_the_same_gradients_and_names() -> None:
    batch, results = random_batch(), []
    for compiled in (False, True):
        torch.manual_seed(0)
        task = build_task(configure(f"trainer.compile={compiled}"))
        task.setup("fit")
        task.train()
        task.loss(task(batch.image), batch.class_map).backward()
        results.append({name: p.grad for name, p in task.named_parameters()})
    assert results[0].keys() == results[1].keys()
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, rtol=1e-3, atol=1e-4)
