"""Turns torch's errors for lack of memory or a dead loading process into one helpful line.

By hand, because torch has its own exception type only for accelerator memory; other errors are
recognised by their text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch

from seglab.errors import ConfigError, RunError, SeglabError
from seglab.schema import TrainConfig

_NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory: you tried to allocate|std::bad_alloc"
)


class Failures(L.Callback):
    """Records what a trainer was doing when it failed, and explains the error.

    Args:
        config: the checked configuration, whose sizes the error names.
        doing: the purpose of the trainer: ``training``, ``evaluation`` or ``prediction``.
    """

    def __init__(self, config: TrainConfig, doing: str) -> None:
        self.config, self.doing = config, doing

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Record whether training failed during validation."""
        if self.doing == "training" and trainer.validating:
            self.doing = "validation"

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise a known torch error as one of seglab's; others pass unchanged.

        Raises:
            SeglabError: raised in a loading process; torch's traceback is removed.
            RunError: memory ran out (names the sizes and what to lower), or a loading process died.
            ConfigError: a batch norm got a single value per channel.
        """
        data = self.config.data
        try:
            yield
        except SeglabError as error:
            marker = f"{type(error).__module__}.{type(error).__qualname__}: "
            raise type(error)(str(error).rpartition(marker)[2].strip()) from error
        except ValueError as error:
            if not str(error).startswith("Expected more than 1 "):
                raise
            raise ConfigError(
                f"data.batch_size={data.batch_size} data.crop_size={data.crop_size}: a norm of "
                f"model={self.config.model.name} gets one number per channel, which has no "
                "variance; raise data.batch_size, or else data.crop_size"
            ) from None
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            text = " ".join(str(error).split()).rstrip(".")
            if text.startswith("DataLoader worker"):
                raise RunError(
                    f"a loading process died during {self.doing}: {text}; if the system killed it "
                    f"for its memory, lower data.num_workers={data.num_workers} or "
                    f"data.batch_size={data.batch_size}"
                ) from None
            known = isinstance(error, torch.OutOfMemoryError | MemoryError)
            if not (known or _NO_MEMORY.search(text)):
                raise
            raise RunError(
                f"out of memory during {self.doing}, with {advice(self.config, self.doing)}; "
                f"torch: {text or 'MemoryError'}"
            ) from None


def advice(config: TrainConfig, doing: str) -> str:
    """Return the sizes that decide how much memory is needed, and what to lower."""
    data, precision = config.data, config.trainer.precision
    half = "" if "16" in precision else ", or give trainer.precision=bf16-mixed"
    if doing == "training":
        accumulated = 2 * config.trainer.accumulate_grad_batches
        return (
            f"data.batch_size={data.batch_size} data.crop_size={data.crop_size} "
            f"trainer.precision={precision}: lower data.batch_size "
            f"(trainer.accumulate_grad_batches={accumulated} makes up for half of it) or "
            f"data.crop_size{half}"
        )
    return (
        f"data.eval_batch_size={data.eval_batch_size} on whole images, "
        f"trainer.precision={precision}: lower data.eval_batch_size, to 1 if need be, or give "
        f"evaluation.tile=512{half}"
    )
