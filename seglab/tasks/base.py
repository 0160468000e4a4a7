"""The base of all tasks: net, optimiser, normalisation on the device."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection

from seglab.data.batches import Batch
from seglab.data.images import Images
from seglab.data.instances import Detections
from seglab.errors import ConfigError
from seglab.inference.tiles import Tiling
from seglab.metrics.boundary import BoundaryIoU
from seglab.metrics.confusion import Evaluation, SegmentationMetrics
from seglab.models.backbones import IMAGENET_MEAN, IMAGENET_STD
from seglab.ops import normalise_channels_last
from seglab.schedules import accumulation_factor, lr_factor


class Output(NamedTuple):
    """The output of a task for a batch, for display and writing.

    Attributes:
        class_map: ``(B, H, W)`` uint8.
        counts: ``(B, 3, K)`` int64, pixels of each class in truth, prediction and both; None in
            prediction, which has no truth.
        objects: the detections per image; None if the task has no objects.
        sure: the detections painted into the class map.
        probabilities: ``(K, H, W)`` float16 per image; None unless they were asked for.
    """

    class_map: Tensor
    counts: Tensor | None = None
    objects: list[Detections] | None = None
    sure: list[Detections] | None = None
    probabilities: list[Tensor] | None = None


class Task(L.LightningModule):
    """A net, and what is optimised and measured with it.

    Scaling and normalisation happen here, on the device: a task takes plain uint8.

    Args:
        net: maps normalised images ``(B, C, H, W)`` to what the task's steps take.
        classes: the names of the K classes, in the order of their values.
        optimizer: makes the optimiser of the net; None: AdamW with torch's defaults.
        schedule: makes the schedule of an optimiser, given the number of steps of the run; None:
            constant rates.
        interval: whether the schedule counts each ``step`` or each ``epoch``.
        lr_rule: scales the rates with the number of processes; see
            :func:`seglab.schedules.lr_factor`.
        metrics: further metrics by name, each one number, logged as ``val/NAME``; None: those of
            :meth:`configure_metrics`. Each validated image updates them by prediction and truth,
            ``(1, H, W)`` int64, void 255.
        frozen: parts of the net that stay in evaluation mode.
        mean: of each of the C channels that the net was trained on, in 0..1.
        std: their standard deviation.
        channels_last: the memory format of the net and the images.
        compile: whether the training step's net is compiled.
        seed: of what is random in the net, such as dropout.
        per_image: whether the metrics include an interval over images.
        flip: whether images are evaluated and predicted together with their mirror images.
        scales: at which images are evaluated and predicted, as factors of their height and width.
        tiling: how images are cut in evaluation and prediction; None: they stay whole.
        boundary: whether the metrics include boundary IoU.
    """

    mean: Tensor
    std: Tensor
    metrics: SegmentationMetrics
    scores: dict[str, float]
    """The metrics of the last validation, in float64."""
    evaluation: Evaluation | None
    """What they were computed from."""
    scored_at: int
    """The optimiser step of the last validation."""

    def __init__(
        self,
        net: nn.Module,
        classes: Sequence[str],
        *,
        optimizer: Callable[[nn.Module], Optimizer] | None = None,
        schedule: Callable[[Optimizer, int], LRScheduler] | None = None,
        interval: str = "step",
        lr_rule: str = "none",
        metrics: Mapping[str, Metric] | None = None,
        frozen: Sequence[nn.Module] = (),
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        channels_last: bool = False,
        compile: bool = False,
        seed: int = 0,
        per_image: bool = False,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        tiling: Tiling | None = None,
        boundary: bool = False,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = net.to(memory_format=self.memory_format)
        self.flip, self.scales, self.tiling = flip, tuple(scales), tiling
        self.compile_net, self.seed, self.frozen = compile, seed, list(frozen)
        self.compiled: Callable[[Tensor], Any] | None = None
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.interval, self.lr_rule = interval, lr_rule
        self.classes = tuple(classes)
        self.metrics = SegmentationMetrics(self.classes, per_image)
        self.boundary = BoundaryIoU(self.classes) if boundary else None
        more = self.configure_metrics() if metrics is None else metrics
        self.further_metrics = MetricCollection(dict(more), prefix="val/")
        self.scores, self.evaluation = {}, None
        self.scored_at = -1
        for name, value in (("mean", mean), ("std", std)):
            buffer = torch.tensor(value).view(1, -1, 1, 1) * 255
            self.register_buffer(name, buffer, persistent=False)

    def normalise(self, image: Tensor) -> Tensor:
        """Scale and normalise ``(B, C, H, W)`` uint8 for the net.

        The strides of the result depend on its shape alone. Torch and oneDNN choose kernels by
        strides, and ``contiguous`` does not normalise strides of dimensions of size 1, so the same
        image from a file and from a slice of a batch could differ in the last bits.
        """
        image = image.contiguous(memory_format=self.memory_format)
        if self.memory_format == torch.channels_last:
            return normalise_channels_last(image, self.mean, self.std)
        normal = torch.empty(image.shape, dtype=self.mean.dtype, device=image.device)
        return normal.copy_(image).sub_(self.mean).div_(self.std)

    def setup(self, stage: str) -> None:
        """Compile the training step's net; whole images of many sizes are not worth compiling."""
        if stage == "fit" and self.compile_net:
            self.compiled = torch.compile(self.net.forward)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def forward(self, image: Tensor) -> Any:
        """Map plain ``(B, C, H, W)`` uint8 to the net's output."""
        net = self.compiled if self.training and self.compiled else self.net
        return net(self.normalise(image))

    @abstractmethod
    def predict(self, image: Tensor) -> Output:
        """Map plain ``(B, C, H, W)`` uint8 to class maps and objects, as evaluated."""

    def check_output(self) -> None:
        """Try the net on a small blank image, so that a wrong class count is found at once.

        Raises:
            ConfigError: the output does not fit the image or the classes.
        """
        training = self.training
        with torch.inference_mode():
            blank = torch.zeros(1, self.mean.numel(), 64, 64, dtype=torch.uint8)
            output = main_output(self.eval()(blank))
        self.train(training)
        wanted = (1, len(self.classes), 64, 64)
        if not isinstance(output, Tensor) or output.shape != wanted:
            given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ConfigError(
                f"model.net: gives {given} for an image of 64x64 pixels; must be {wanted}, "
                f"for the {len(self.classes)} classes of data.classes"
            )

    def check_optimizer(self) -> None:
        """Make an optimiser and a schedule, so that a wrong argument is found at once.

        Raises:
            ConfigError: one of them cannot be made as it is configured.
        """
        self.optimizer_and_schedule(steps=1000)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the net's randomness, such as dropout, from (seed, step, process)."""
        key = (self.seed, self.global_step, batch_idx, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Scale the loss so that a step follows the mean of its batches; it is logged unscaled."""
        factor = accumulation_factor(
            self.trainer.fit_loop.batch_idx,
            self.trainer.num_training_batches,
            self.trainer.accumulate_grad_batches,
        )
        super().backward(loss if factor == 1 else loss * factor, *args, **kwargs)

    def predict_step(self, batch: Images, batch_idx: int) -> Output:
        """Return the output for a batch of photographs."""
        if not batch.ids:  # no file of it could be decoded
            return Output(batch.image[:, 0])
        return self.predict(batch.image)

    def on_validation_epoch_end(self) -> None:
        """Compute the metrics of the whole split, and log them."""
        self.scores, self.evaluation = self.compute_scores(), self.metrics.evaluation
        self.scored_at = self.global_step
        self.log_dict(self.scores, logger=False)  # for callbacks that watch a value
        if self.trainer.state.fn == "fit":
            self.log_exact(self.scores)

    def compute_scores(self) -> dict[str, float]:
        """Return the metrics of the validation over all processes, and reset them."""
        further = self.further_metrics.compute() if self.further_metrics else {}
        scores = {**self.metrics.compute(), **{name: float(v) for name, v in further.items()}}
        self.metrics.reset()
        self.further_metrics.reset()
        if self.boundary is not None:
            scores |= self.boundary.compute()
            self.boundary.reset()
        return scores

    def configure_metrics(self) -> dict[str, Metric]:
        """Return the default further metrics."""
        return {}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimiser and its schedule."""
        trainer = self.trainer
        total = int(trainer.estimated_stepping_batches) if self.make_schedule else 0
        optimizer, schedule = self.optimizer_and_schedule(total, trainer.world_size)
        if schedule is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": self.interval},
        }

    def optimizer_and_schedule(
        self, steps: int, processes: int = 1
    ) -> tuple[Optimizer, LRScheduler | None]:
        """Make the optimiser and the schedule of a run of so many steps."""
        make = self.make_optimizer or (lambda net: AdamW(net.parameters()))
        optimizer = make(self.net)
        for group in optimizer.param_groups:
            group["lr"] *= lr_factor(self.lr_rule, processes)
        return optimizer, self.make_schedule(optimizer, steps) if self.make_schedule else None

    def update_metrics(
        self, prediction: Tensor, batch: Batch, losses: Tensor | None = None
    ) -> None:
        """Add a batch to all metrics.

        Args:
            prediction: ``(B, H, W)`` uint8 class maps.
            batch: has the truth.
            losses: ``(B, T, 2)``; see :func:`seglab.metrics.confusion.split_loss`.
        """
        self.metrics.update(prediction, batch.class_map, losses, batch.position)
        if self.boundary is not None:
            self.boundary.update(prediction, batch.class_map)
        for pair in zip(prediction, batch.class_map, strict=True) if self.further_metrics else ():
            self.further_metrics.update(*(class_map[None].long() for class_map in pair))

    def log_exact(self, values: Mapping[str, float]) -> None:
        """Pass float64 values to the loggers: ``self.log`` would round them to float32."""
        # The step of ``self.log``, which ``trainer.global_step`` is one ahead of in a validation:
        # github.com/Lightning-AI/pytorch-lightning, src/lightning/pytorch/loops/
        # training_epoch_loop.py.
        step = self.trainer.fit_loop.epoch_loop._batches_that_stepped
        for logger in self.loggers:
            logger.log_metrics({**values, "epoch": self.current_epoch}, step=step)

    def learning_rates(self) -> dict[str, float]:
        """Return the rate of every parameter group, under the names they are logged by."""
        groups = self.trainer.optimizers[0].param_groups
        return {f"lr/{group.get('name', n)}": group["lr"] for n, group in enumerate(groups)}


def singles(batch: Tensor) -> Iterator[Tensor]:
    """Yield each image of a batch as a batch of one."""
    for index in range(len(batch)):
        yield batch[index : index + 1]


def main_output(output: Any) -> Any:
    """Return what torchvision's segmentation nets call ``out``, or the output itself."""
    return output["out"] if isinstance(output, Mapping) and "out" in output else output
