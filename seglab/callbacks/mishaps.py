"""What torch raises for lack of memory or a dead loading process, as one line that helps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch

from seglab.errors import ConfigError, RunError, SeglabError
from seglab.schema import TrainConfig

_CPU = re.compile(r"can't allocate memory|not enough memory: you tried to allocate|std::bad_alloc")
_ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+ ?\w+)")
_NORM = re.compile(r"Expected more than 1 (value per channel|spatial element) when training")
_WORKER = re.compile(
    r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (is killed by signal: \w+|exited)"
)


class Mishaps(L.Callback):
    """Notes what a trainer was doing when it failed, and tells of it in seglab's words.

    Args:
        config: the checked configuration, whose sizes are named.
        doing: what the trainer is for: ``training``, ``evaluation`` or ``prediction``.
    """

    def __init__(self, config: TrainConfig, doing: str) -> None:
        self.config, self.doing = config, doing
        self.device: torch.device | None = None

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Note the device, and whether it was the validation within a training."""
        self.device = trainer.strategy.root_device
        if self.doing == "training" and trainer.validating:
            self.doing = "validation"

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn an error of torch into one of seglab's; others pass.

        Raises:
            SeglabError: of a loading process, without the traceback that torch puts before it.
            RunError: memory ran out, says of what size and what to lower; or a loading process
                died.
            ConfigError: a norm was given one number to take the variance of.
        """
        try:
            yield
        except SeglabError as error:
            marker = f"{type(error).__module__}.{type(error).__qualname__}: "
            raise type(error)(str(error).rpartition(marker)[2].strip()) from error
        except ValueError as error:
            if not _NORM.search(str(error)):
                raise
            data = self.config.data
            raise ConfigError(
                f"data.batch_size={data.batch_size} data.crop_size={data.crop_size}: a norm of "
                f"model={self.config.model.name} gets one number per channel, which has no "
                "variance; raise data.batch_size, or else data.crop_size"
            ) from None
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            text = str(error)
            if died := _WORKER.search(text):
                how = died[2].replace("is killed by signal: ", "killed by signal ")
                how = how.replace("exited", "it exited unexpectedly")  # whichever torch saw first
                raise RunError(
                    f"loading process {died[1].strip()} died during {self.doing}: {how}; if the "
                    f"system killed it for its memory, lower data.num_workers="
                    f"{self.config.data.num_workers} or data.batch_size="
                    f"{self.config.data.batch_size}"
                ) from None
            lacking = isinstance(error, torch.OutOfMemoryError | MemoryError)
            if not (lacking or _CPU.search(text)):
                raise
            asked = _ASKED.search(text)
            on_cpu = not isinstance(error, torch.OutOfMemoryError)
            where = describe(torch.device("cpu") if on_cpu or not self.device else self.device)
            raise RunError(
                f"out of memory on {where} during {self.doing}"
                + (f", asking for {asked[1]}" if asked else "")
                + f", with {advice(self.config, self.doing)}"
            ) from None


def describe(device: torch.device) -> str:
    """Name a device, and its memory where that is known."""
    if device.type != "cuda":
        return f"the {device.type.upper()}"
    found = torch.cuda.get_device_properties(device)
    return f"{device} ({found.name}, {found.total_memory / 2**30:.0f} GiB)"


def advice(config: TrainConfig, doing: str) -> str:
    """Give the sizes that decide how much memory is needed, and what to lower."""
    data, precision = config.data, config.trainer.precision
    half = "" if "16" in precision else ", or give trainer.precision=bf16-mixed"
    if doing == "training":
        size = f"data.batch_size={data.batch_size} data.crop_size={data.crop_size}"
        lower = "lower data.batch_size" if data.batch_size > 1 else "lower data.crop_size"
        if data.batch_size > 1:
            gathered = 2 * config.trainer.accumulate_grad_batches
            lower += f" (trainer.accumulate_grad_batches={gathered} makes up for half of it)"
            lower += " or data.crop_size"
        return f"{size} trainer.precision={precision}: {lower}{half}"
    size = f"data.eval_batch_size={data.eval_batch_size} on whole images"
    smaller = "give smaller images"
    if data.eval_batch_size > 1:
        smaller = "lower data.eval_batch_size, to 1 if need be"
    return f"{size}, trainer.precision={precision}: {smaller}{half}"
