"""Exchange of plain data between the ranks of a job, without pickle.

``torch.distributed.all_gather_object`` unpickles what arrives on a socket, so the sender can run
any code (its documentation warns of that). Here a message is JSON and arrays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from safetensors.numpy import load, save

Array = npt.NDArray[Any]

_JSON = "json"


class Message(NamedTuple):
    """The message of one rank.

    Attributes:
        value: JSON-compatible data; tuples become lists.
        arrays: by name.
    """

    value: Any
    arrays: dict[str, Array]


def gather(value: Any, arrays: Mapping[str, Array] | None = None) -> list[Message]:
    """Return the messages of all ranks, in rank order.

    Args:
        value: JSON-compatible data.
        arrays: of any shape, of numpy's number types; no name is ``json``.

    Raises:
        TypeError: ``value`` is not JSON-compatible.
    """
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    content = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    own = save({**content, _JSON: text})
    several = dist.is_available() and dist.is_initialized()
    return [_read(part) for part in (_all_gather(own) if several else [own])]


def _read(part: bytes) -> Message:
    arrays = load(part)
    return Message(json.loads(arrays.pop(_JSON).tobytes()), arrays)


def _all_gather(own: bytes) -> list[bytes]:
    count = dist.get_world_size()
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    length = torch.tensor([len(own)], device=device)
    lengths = [torch.zeros_like(length) for _ in range(count)]
    dist.all_gather(lengths, length)
    # all_gather needs equal sizes.
    padded = torch.zeros(int(max(lengths)), dtype=torch.uint8, device=device)
    padded[: len(own)] = torch.frombuffer(bytearray(own), dtype=torch.uint8)
    parts = [torch.empty_like(padded) for _ in range(count)]
    dist.all_gather(parts, padded)
    sizes = (int(size) for size in lengths)
    return [p[:size].cpu().numpy().tobytes() for p, size in zip(parts, sizes, strict=True)]


class PlainDDP(DDPStrategy):
    """Lightning's DDP, whose broadcasts of Python objects (paths, flags) are JSON, not pickle."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Return the object of rank ``src``.

        Raises:
            TypeError: it is not JSON-compatible.
        """
        return gather(obj if self.global_rank == src else None)[src].value
