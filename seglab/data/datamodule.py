"""VOCDataModule: from a data configuration to batches for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import lightning as L
import torch
from torch.utils.data import DataLoader

from seglab.data.batches import Batch, EvalSet, Item, TrainSet, collate
from seglab.data.coverage import absent_classes, check_foreground, equal_images
from seglab.data.dataset import Samples, open_dataset
from seglab.data.layouts.opening import PARTS, check_training_lists
from seglab.data.prefetch import Progress, no_progress
from seglab.data.sampling import EpochOrder, evaluation_batches, first_batches
from seglab.data.store.background import BackgroundFilling
from seglab.data.store.cached import Cached
from seglab.data.store.decode import checked
from seglab.data.store.digests import Record
from seglab.data.store.records import usable_folder
from seglab.data.store.shards import free_bytes
from seglab.data.transforms import Augmentation, JointTransform
from seglab.errors import ConfigError
from seglab.schema import DataConfig


def check_batch_size(size: int, processes: int, split: str, samples: int) -> None:
    """Check that the training split fills a batch of each process.

    Raises:
        ConfigError: it does not.
    """
    if samples < size:
        raise ConfigError(
            f"data.batch_size={size}: the {split} split has {samples} samples; a batch cannot be "
            "larger"
        )
    if samples < size * processes:
        raise ConfigError(
            f"data.batch_size={size}: {processes} processes need {size * processes} samples per "
            f"step; the {split} split has {samples}"
        )


class VOCDataModule(L.LightningDataModule):
    """Training and validation batches of a data set in VOC's layout.

    Args:
        config: the checked data configuration.
        seed: determines order and augmentation.
        progress: shows the pass that decodes and checks all samples.
        instances: batches hold instance maps too.
        start: the epoch at which training starts, and how many of its batches each process has
            done.
        split: the split to validate on, as named on the command line.
        augmentation: for training samples; None: seglab's own, with the settings in ``config``.
        limit: of the batches of an evaluation; see :func:`~seglab.data.sampling.first_batches`.
        progressive: do not decode the training split before the first step: its samples are checked
            when they are used, and by :meth:`filling`.
    """

    def __init__(
        self,
        config: DataConfig,
        seed: int = 0,
        progress: Progress = no_progress,
        *,
        instances: bool = False,
        start: tuple[int, int] = (0, 0),
        split: str = "val",
        augmentation: Augmentation | None = None,
        limit: int | float | None = None,
        progressive: bool = False,
    ) -> None:
        super().__init__()
        self.limit = limit
        self.progressive = progressive
        self._background: BackgroundFilling | None = None
        self.config, self.seed, self.progress = config, seed, progress
        self.augmentation = augmentation or JointTransform(
            config.crop_size, config.scale, config.flip, config.photometric
        )
        self.instances, self.start = instances, start
        self.train_split, self.val_split = config.split_name("train"), config.split_name(split)
        self.splits: dict[str, Samples | Cached] = {}
        self.records: dict[str, Record] = {}
        self._sizes: dict[str, list[tuple[int, int]]] = {}

    def split(self, name: str) -> Samples | Cached:
        """Return the checked samples of a split, decoding them on first use.

        Raises:
            ConfigError, DataError: the data set cannot be used; names the key or file.
        """
        if name not in self.splits:
            dataset = open_dataset(
                self.config, name, instances=self.instances, progress=self.progress
            )
            store, folder = self.config.store, usable_folder(self.config)
            if store.enabled:
                progressive = self.progressive and name == self.train_split
                cached = Cached(
                    dataset,
                    folder,
                    int(store.max_gb * 1e9),
                    self.progress,
                    [other.path for other in self._cached().values()],
                    progressive,
                )
                self.splits[name], self.records[name] = cached, cached.record
            else:
                self.records[name] = checked(dataset, folder, self.progress)
                self.splits[name] = dataset
        return self.splits[name]

    def _cached(self) -> dict[str, Cached]:
        return {name: data for name, data in self.splits.items() if isinstance(data, Cached)}

    def record(self, name: str) -> Record:
        """Return the record of a split, checking it on first use: ``seglab.data.store.records``.

        Raises:
            ConfigError, DataError: as :meth:`split`.
        """
        self.split(name)
        return self.records[name]

    @property
    def identity(self) -> dict[str, str]:
        """The digests of the training split (``train``) and the validation split (``val``)."""
        splits = {"train": self.train_split, "val": self.val_split}
        return {name: self.record(split).identity for name, split in splits.items()}

    @property
    def divided(self) -> dict[str, list[str]]:
        """The ids of both parts of a data set divided by ``data.val_fraction``; otherwise empty."""
        if self.config.val_fraction is None:
            return {}
        return {name: self.split(name).ids for name in PARTS}

    def check(self) -> None:
        """Decode and check both splits before training.

        Raises:
            ConfigError, DataError: the data set cannot be used; names the key or file.
        """
        check_training_lists(self.config)
        size, length = self.config.batch_size, len(self.split(self.train_split))
        check_batch_size(size, 1, self.train_split, length)
        self.split(self.val_split)
        train = self.split(self.train_split)
        if (record := self.record(self.train_split)).counts is not None:
            check_foreground(self.config, train.classes, record)
        if not isinstance(self.augmentation, JointTransform):
            _ = TrainSet(train, self.augmentation, self.seed)[0, 0]  # a wrong one fails here

    def warnings(self) -> list[str]:
        """Return warnings about the two checked splits, at most one line of each kind."""
        config = self.config
        train, val = self.record(self.train_split), self.record(self.val_split)
        train_split, val_split = self.split(self.train_split), self.split(self.val_split)
        lines = absent_classes(config, train_split.classes, train)
        if not config.allow_overlap:
            pairs = equal_images(train_split.ids, train, val_split.ids, val)
            for twin, name in pairs[:1]:
                lines.append(
                    f"{len(pairs)} equal images in training and validation, such as {twin} and "
                    f"{name}: seglab data check lists them"
                )
        turned = list(dict.fromkeys([*train.ambiguous, *val.ambiguous]))
        for name in turned[:1]:
            lines.append(
                f"{len(turned)} images, such as {name}, are rotated by their EXIF orientation, "
                "and their masks fit either way: seglab data check lists them"
            )
        return lines

    def storage(self) -> list[str]:
        """Return one line on how much of the opened splits is stored; none if all of it is."""
        cached = self._cached()
        if all(data.stored == len(data) for data in cached.values()):
            return []
        if self.progressive and self.records[self.train_split].counts is None:
            return [f"training starts while the store of {self.train_split} is filled"]
        parts = [f"{data.stored:,} of {len(data):,} of {name}" for name, data in cached.items()]
        folder = next(iter(cached.values())).path.parent
        return [
            f"the store keeps {' and '.join(parts)}; the others are decoded in each epoch "
            f"(data.store.max_gb={self.config.store.max_gb:g}; {folder} has "
            f"{max(0, free_bytes(folder)) / 1e9:.1f} GB for more)"
        ]

    def filling(self, report: Callable[[str], None]) -> AbstractContextManager[None]:
        """Return a block in which a progressive training split is checked and stored.

        A problem is raised with the next batch, or at the end of the block.

        Args:
            report: takes the warnings about the split that only a whole check can give.
        """
        train = self._cached().get(self.train_split)
        if train is None or not self.progressive:
            return nullcontext()
        known = [*self.warnings(), *self.storage()]

        def finish() -> None:
            self.records[self.train_split] = train.record
            if train.record.counts is None:  # ended early
                return
            check_foreground(self.config, train.classes, train.record)
            train.look()
            for line in [*self.warnings(), *self.storage()]:
                if line not in known:
                    report(line)

        keep = [other.path for other in self._cached().values()]
        self._background = BackgroundFilling(train, keep, finish)
        return self._background

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Raise the problem that :meth:`filling` met."""
        if self._background is not None:
            self._background.check()
        return batch

    def train_dataloader(self) -> DataLoader[Item]:
        """Return batches of augmented crops, in the order of the epoch."""
        config = self.config
        samples = self.split(self.train_split)
        rank, world_size = self._rank_and_world_size()
        check_batch_size(config.batch_size, world_size, self.train_split, len(samples))
        epoch, batches = self.start
        start = (epoch, batches * config.batch_size)
        order = EpochOrder(len(samples), config.batch_size, self.seed, rank, world_size, start)
        return DataLoader(
            TrainSet(samples, self.augmentation, self.seed),
            batch_size=config.batch_size,
            sampler=order,
            drop_last=True,
            collate_fn=partial(collate, fill=self.augmentation.fill),
            num_workers=config.num_workers,
            persistent_workers=config.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Item]:
        """Return the validation split in batches of equal-sized whole images."""
        return self.evaluation_dataloader(self.val_split)

    def evaluation_dataloader(self, split: str) -> DataLoader[Item]:
        """Return any split in batches of equal-sized whole images, dealt to the processes."""
        rank, world_size = self._rank_and_world_size()
        sizes = self.sizes(split)
        batches = evaluation_batches(sizes, self.config.eval_batch_size)
        batches = first_batches(batches, self.limit)[rank::world_size]
        return DataLoader(
            EvalSet(self.split(split)),
            # A process without a batch gets an empty one: Lightning would skip its whole
            # validation, and the others would wait for it when the metrics are put together.
            batch_sampler=batches or [[]],
            collate_fn=collate,
            num_workers=self.config.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def sizes(self, split: str) -> list[tuple[int, int]]:
        """Return height and width of each image of a split, read once."""
        if split not in self._sizes:
            samples = self.split(split)
            self._sizes[split] = [samples.size(index) for index in range(len(samples))]
        return self._sizes[split]

    def _rank_and_world_size(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size
