"""Parts of a task that are not seglab's: losses, metrics, schedules; and tasks without a config."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from seglab.config.compose import compose
from seglab.data.batches import Batch
from seglab.errors import ConfigError
from seglab.models import PaddedCNN
from seglab.schema import TrainConfig
from seglab.tasks.factories import build_task
from seglab.tasks.semantic import SemanticSegmentation

pytestmark = [  # both of Lightning's bare Trainer
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]

SMALL = ["model.net.channels=8", "model.net.dilations=[1]", "trainer.accelerator=cpu"]
CLASSES = ["background", "a", "b"]
F1 = "torchmetrics.classification.MulticlassF1Score"


def build(*overrides: str) -> SemanticSegmentation:
    config = compose("train", TrainConfig, [*SMALL, *overrides]).config
    return build_task(config)  # type: ignore[return-value]


def batches(number: int = 2) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(number):
        images = torch.randint(256, (2, 3, 17, 13), generator=generator, dtype=torch.uint8)
        maps = torch.randint(3, (2, 17, 13), generator=generator, dtype=torch.uint8)
        maps[:, :3] = 255
        place = torch.arange(2) + 2 * index
        made.append(Batch(images, maps, place, [str(int(one)) for one in place]))
    return made


def trainer(steps: int) -> L.Trainer:
    return L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def loader(made: list[Batch]) -> DataLoader[Batch]:
    return DataLoader(made, batch_size=None)  # type: ignore[arg-type]


# Without Hydra and without a configuration.


def test_a_task_is_made_of_its_parts_and_trains_two_steps() -> None:
    task = SemanticSegmentation(PaddedCNN(3, channels=8), CLASSES)
    before = [parameter.clone() for parameter in task.net.parameters()]
    trainer(steps=2).fit(task, loader(batches()), loader(batches()))
    pairs = zip(before, task.net.parameters(), strict=True)
    assert all(not torch.equal(*pair) for pair in pairs)
    assert 0 < task.scores["val/mIoU"] < 1
    assert task.scored_at == 2


class Own(SemanticSegmentation):
    def configure_losses(self) -> nn.Module:
        return nn.CrossEntropyLoss(ignore_index=255, reduction="mean")

    def configure_metrics(self) -> dict[str, Metric]:
        return {"accuracy": MulticlassAccuracy(len(self.classes), ignore_index=255)}


def test_hooks_are_overridden() -> None:
    task = Own(PaddedCNN(3, channels=8), CLASSES)
    trainer(steps=1).validate(task, loader(batches()), verbose=False)
    assert task.scores["val/accuracy"] == pytest.approx(task.scores["val/mean_accuracy"])
    given = Own(PaddedCNN(3, channels=8), CLASSES, metrics={}, loss=F.cross_entropy)
    assert not given.further_metrics
    assert given.loss is F.cross_entropy


# Losses.


def by_image(logits: Tensor, target: Tensor) -> Tensor:
    assert logits.dtype == torch.float32
    assert (target.dtype, target.ndim) == (torch.int64, 3)
    return F.cross_entropy(logits, target, ignore_index=255)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_validation_loss_of_a_foreign_loss_is_the_mean_over_images_with_valid_pixels(
    dtype: torch.dtype,
) -> None:
    task = SemanticSegmentation(PaddedCNN(3, channels=8), CLASSES, loss=by_image)
    task = task.to(dtype).eval()
    made = batches(3)
    made[1].class_map[0] = 255
    made[2].class_map[1, 4:] = 255
    expected = []
    with torch.inference_mode():
        for index, batch in enumerate(made):
            task.validation_step(batch, index)
            for image, truth in zip(batch.image, batch.class_map, strict=True):
                if bool((truth != 255).any()):
                    losses = F.cross_entropy(
                        task(image[None]).float(), truth[None].long(), ignore_index=255
                    )
                    expected.append(float(losses))
    assert len(expected) == 5
    assert task.compute_scores()["val/loss"] == pytest.approx(sum(expected) / 5, rel=1e-12)


@pytest.mark.parametrize(
    "name", ["DiceLoss", "JaccardLoss", "LovaszLoss", "FocalLoss", "TverskyLoss"]
)
def test_losses_of_smp_ignore_void(name: str) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    target = f"loss._target_=segmentation_models_pytorch.losses.{name}"
    task = build(target, "+loss.mode=multiclass", "+loss.ignore_index=255")
    logits = torch.randn(2, 7, 9, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    truth = torch.randint(7, (2, 9, 8), dtype=torch.uint8)
    truth[:, :4] = 255
    task.compute_loss(logits, truth).backward()
    assert logits.grad is not None
    assert not logits.grad[:, :, :4].any()
    assert logits.grad[:, :, 4:].any()


def test_class_weights_stay_typed_and_are_not_a_foreign_losss() -> None:
    assert build("loss.class_weights=[1,1,1,1,1,1,2]").loss.class_weights.tolist()[-1] == 2  # type: ignore[union-attr]
    with pytest.raises(
        ConfigError, match=r"^loss.class_weights=a: must be a list of numbers, auto or"
    ):
        build("loss.class_weights=a")
    with pytest.raises(ConfigError, match=r"^loss.class_weights: torch.nn.* has no such argument"):
        build("loss._target_=torch.nn.MSELoss", "loss.class_weights=[1,1,1,1,1,1,2]")
    both = ["+loss.alpha=1", "+loss.beta=2"]
    with pytest.raises(ConfigError, match=r"^loss.alpha, loss.beta: .*; available: size_average"):
        build("loss._target_=torch.nn.MSELoss", *both)


# Schedules.


@pytest.mark.parametrize(("interval", "rates"), [("step", [1.0, 0.5]), ("epoch", [1.0, 1.0])])
def test_a_foreign_schedule_counts_steps_or_epochs(interval: str, rates: list[float]) -> None:
    task = build(
        "schedule._target_=torch.optim.lr_scheduler.ExponentialLR",
        "+schedule.gamma=0.5",
        f"+schedule.interval={interval}",
        "optimizer.lr=1.0",
    )
    seen = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *others: object) -> None:
            seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    fitting = trainer(steps=4)
    fitting.callbacks.append(Watch())  # type: ignore[attr-defined]
    fitting.fit(task, loader(batches()), loader(batches()))
    later = 0.25 if interval == "step" else 0.5
    assert seen == pytest.approx(rates + [rate * later for rate in rates])


def test_a_schedule_that_takes_the_number_of_steps_is_given_it() -> None:
    one_cycle = "schedule._target_=torch.optim.lr_scheduler.OneCycleLR"
    task = build(one_cycle, "+schedule.max_lr=0.1")
    assert task.optimizer_and_schedule(steps=12)[1].total_steps == 12  # type: ignore[union-attr]
    task = build(one_cycle, "+schedule.max_lr=0.1", "+schedule.total_steps=20")
    assert task.optimizer_and_schedule(steps=12)[1].total_steps == 20  # type: ignore[union-attr]


# What cannot be used is one line.


class Pair(nn.Module):
    def forward(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return logits.sum(), logits.sum()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss._target_=torch.nn.CrossEntropyLoss"], r"loss: fails .* pixels are 255: Target"),
        (["loss._target_=torch.nn.ReLU6"], r"loss: fails on logits \(B, 7, H, W\)"),
        ([f"loss._target_={__name__}.Pair"], r"loss: gives tuple for a batch; must be a tensor"),
        (["loss._target_=torch.nn.CrossEntropyLoss", "+loss.ignore_index=255",
          "+loss.reduction=none"], r"loss: gives \(1, 8, 8\) for a batch"),
        (["loss._target_=fractions.Fraction"], r"loss._target_=fractions.Fraction: is not call"),
        (["loss._target_=nowhere.Loss"], r"loss._target_=nowhere.Loss: .*No module named"),
        (["schedule._target_=torch.optim.lr_scheduler.ReduceLROnPlateau"],
         r"schedule._target_=.*Plateau: not a scheduler of torch that follows from the step"),
        (["schedule._target_=torch.optim.lr_scheduler.CosineAnnealingLR"],
         r"schedule: .*missing 1 required positional argument: 'T_max'"),
        (["schedule=multistep", "schedule.interval=day"],
         r"schedule.interval=day: must be one of step, epoch"),
        ([f"+metrics.mIoU._target_={F1}"], r"metrics.mIoU: already used"),
        ([f"+metrics.items._target_={F1}"], r"metrics.items: already used"),
        (["+metrics.x._target_=torch.nn.ReLU"], r"metrics.x._target_=torch.nn.ReLU: not a torchme"),
        (["metrics=f1", "metrics.f1.average=none"], r"metrics.f1: gives 7 numbers; must give one"),
        (["metrics=f1", "~metrics.f1.ignore_index"], r"metrics.f1: fails on class maps .* are 255"),
        (["metrics=f1", "+metrics.f1.colour=1"], r"metrics.f1: Unexpected keyword arguments"),
    ],
)  # fmt: skip
def test_a_part_that_cannot_be_used_is_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match="^" + message) as error:
        build(*overrides).check_optimizer()
    assert "\n" not in str(error.value)
