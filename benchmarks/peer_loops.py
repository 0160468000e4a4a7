"""Loops in the shape of public examples, over the same files as seglab: each trains and validates.

Written for this benchmark after torchvision's references/segmentation (transforms v2 on PIL images,
a confusion matrix), ashleve's lightning-hydra-template (Lightning, torchmetrics, a CSV logger), and
the examples of segmentation_models_pytorch (albumentations, statistics of each image).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification import MulticlassJaccardIndex
from torchvision import tv_tensors
from torchvision.transforms import v2

from benchmarks.job_start import age_of_process
from seglab.data.classes import VOID
from seglab.models.backbones import IMAGENET_MEAN, IMAGENET_STD

Pairs = list[tuple[Path, Path]]
"""Images and their class maps."""


class Clock(L.Callback):
    """Notes how old the process was after its first step, and the times of its last epoch.

    The processor's time, of all threads, is stretched less by other work on the machine.
    """

    seconds: ClassVar[dict[str, float]] = {}

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start, self.cpu = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds.setdefault("first step", age_of_process())

    def on_validation_start(self, *_: Any) -> None:
        self._note("training")

    def on_validation_end(self, *_: Any) -> None:
        self._note("validation")

    def _note(self, part: str) -> None:
        start, cpu = self.start, self.cpu
        self.start, self.cpu = time.perf_counter(), time.process_time()
        self.seconds |= {part: self.start - start, f"{part}, processor": self.cpu - cpu}


@dataclass(frozen=True)
class Job:
    """What every loop is given.

    Attributes:
        net: maps normalised images to logits of ``classes`` classes.
        train: the files to train on.
        val: the files to validate on.
        crop: the side of the training crops.
        batch: how many of them a step takes.
        lr: of AdamW.
        epochs: how many to train.
        folder: where it may write.
    """

    net: nn.Module
    classes: int
    train: Pairs
    val: Pairs
    crop: int
    batch: int
    lr: float
    epochs: int
    folder: Path

    def loaders(self, train: Callable[..., Any], val: Callable[..., Any]) -> tuple[Any, Any]:
        """Return batches of augmented crops, and single whole images."""
        crops, images = Peer(self.train, train), Peer(self.val, val)
        return DataLoader(crops, self.batch, shuffle=True, drop_last=True), DataLoader(images)

    def fit(self, module: L.LightningModule, train: Any, val: Any) -> None:
        """Train with Lightning as it comes; progress bar, summary and sanity check are off."""
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=self.epochs,
            callbacks=[ModelCheckpoint(save_last=True), Clock()],
            logger=CSVLogger(self.folder),
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, train, val)


class Peer(Dataset[Any]):
    """Files read and augmented one by one, as a training script does."""

    def __init__(self, files: Pairs, augment: Callable[..., Any]) -> None:
        self.files, self.augment = files, augment

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        return self.augment(*self.files[index])


def v2_preset(crop: int | None) -> Callable[[Path, Path], tuple[Tensor, Tensor]]:
    """Return torchvision's transforms v2 on PIL images: augmented crops, or whole images."""
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: VOID, Image.Image: 0}
    augmented = [
        v2.RandomResize(187, 750),  # the shorter side of VOC's usual 375, times 0.5 to 2
        v2.RandomHorizontalFlip(0.5),
        v2.RandomCrop(crop or 1, pad_if_needed=True, fill=fill),
    ]
    transform = v2.Compose(
        [
            *(augmented if crop else []),
            v2.ToImage(),
            v2.ToDtype({tv_tensors.Image: torch.float, tv_tensors.Mask: torch.int64}, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )

    def read(image_file: Path, mask_file: Path) -> tuple[Tensor, Tensor]:
        mask = tv_tensors.Mask(np.array(Image.open(mask_file)))
        image, mask = transform(Image.open(image_file).convert("RGB"), mask)
        return image.as_subclass(Tensor), mask.as_subclass(Tensor)

    return read


def torchvision_reference(job: Job) -> float:
    """A plain loop: the loss is read at every step, a confusion matrix in validation."""
    train, val = job.loaders(v2_preset(job.crop), v2_preset(None))
    net, k, clock = job.net, job.classes, Clock()
    optimizer = torch.optim.AdamW(net.parameters(), lr=job.lr)
    miou = 0.0
    for _ in range(job.epochs):
        clock.on_train_epoch_start()
        net.train()
        total = 0.0
        for image, mask in train:
            loss = cross_entropy(net(image), mask, ignore_index=VOID)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            clock.on_train_batch_end()
        clock.on_validation_start()
        net.eval()
        matrix = torch.zeros(k, k, dtype=torch.int64)
        with torch.inference_mode():
            for image, mask in val:
                truth, prediction = mask.flatten(), net(image).argmax(1).flatten()
                inside = truth < k
                pairs = k * truth[inside] + prediction[inside]
                matrix += torch.bincount(pairs, minlength=k * k).view(k, k)
        hits = matrix.diag()
        ious = hits / (matrix.sum(0) + matrix.sum(1) - hits).float()
        miou = float(ious.nanmean())
        clock.on_validation_end()
    return miou


class TemplateModule(L.LightningModule):
    """Mean losses and torchmetrics' IoU in training and validation, and the best IoU so far."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.net, self.lr = job.net, job.lr
        self.train_loss, self.val_loss, self.best = MeanMetric(), MeanMetric(), MaxMetric()
        self.train_iou = MulticlassJaccardIndex(job.classes, ignore_index=VOID)
        self.val_iou = MulticlassJaccardIndex(job.classes, ignore_index=VOID)

    def step(self, batch: Any, name: str, mean: MeanMetric, iou: MulticlassJaccardIndex) -> Tensor:
        image, mask = batch
        logits = self.net(image)
        loss = cross_entropy(logits, mask, ignore_index=VOID)
        mean(loss)
        iou(logits.argmax(1), mask)
        self.log(f"{name}/loss", mean, on_step=False, on_epoch=True, batch_size=len(image))
        self.log(f"{name}/iou", iou, on_step=False, on_epoch=True, batch_size=len(image))
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch, "train", self.train_loss, self.train_iou)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.step(batch, "val", self.val_loss, self.val_iou)

    def on_validation_epoch_end(self) -> None:
        self.best(self.val_iou.compute())
        self.log("val/iou_best", self.best.compute(), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.net.parameters(), lr=self.lr)


def hydra_template(job: Job) -> float:
    """Lightning and torchmetrics, which also measure the training batches."""
    module = TemplateModule(job)
    job.fit(module, *job.loaders(v2_preset(job.crop), v2_preset(None)))
    return float(module.best.compute())


class StatisticsModule(L.LightningModule):
    """True and false positives and negatives of each image and class, kept until the epoch ends."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.net, self.lr, self.classes = job.net, job.lr, job.classes
        self.outputs: dict[str, list[Any]] = {"train": [], "val": []}
        self.iou = 0.0

    def step(self, batch: Any, name: str) -> Tensor:
        from segmentation_models_pytorch.metrics import get_stats

        image, mask = batch[0], batch[1].long()
        logits = self.net(image)
        chosen = {"ignore_index": VOID, "num_classes": self.classes}
        stats = get_stats(logits.softmax(1).argmax(1), mask, mode="multiclass", **chosen)
        self.outputs[name].append(stats)
        return cross_entropy(logits, mask, ignore_index=VOID)

    def summarise(self, name: str) -> float:
        from segmentation_models_pytorch.metrics import iou_score

        stats = [torch.cat(each) for each in zip(*self.outputs[name], strict=True)]
        scores = {way: iou_score(*stats, reduction=way) for way in ("micro-imagewise", "macro")}
        self.log_dict({f"{name}/{way}": score for way, score in scores.items()})
        self.outputs[name].clear()
        return float(scores["macro"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch, "val")

    def on_train_epoch_end(self) -> None:
        self.summarise("train")

    def on_validation_epoch_end(self) -> None:
        self.iou = self.summarise("val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.net.parameters(), lr=self.lr)


def smp_example(job: Job) -> float:
    """Lightning, albumentations and the statistics of segmentation_models_pytorch."""
    from benchmarks.input import albumentations_preset, crops

    module = StatisticsModule(job)
    job.fit(module, *job.loaders(albumentations_preset(crops(job.crop)), albumentations_preset()))
    return module.iou


LOOPS: Mapping[str, Callable[[Job], float]] = {
    "torchvision's reference script": torchvision_reference,
    "lightning-hydra-template": hydra_template,
    "segmentation_models_pytorch's example": smp_example,
}
"""Each trains and validates, and returns the mean IoU of its last validation."""
