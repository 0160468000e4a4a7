"""Losses over several processes: averaged as DDP does, they are those of one process."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.ranks import run_on_ranks
from torch import Tensor

from seglab.losses import SegmentationLoss
from seglab.runtime.reduction import ALONE, Alone, Together

TERMS = ["cross_entropy", "dice", "lovasz_softmax"]


def samples() -> tuple[Tensor, Tensor]:
    """Logits (4, 5, 6, 7) and a class map: void in all, half or none of an image."""
    random = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 5, 6, 7, generator=random, dtype=torch.float64) * 3
    target = torch.randint(4, (4, 6, 7), generator=random)
    target[0], target[1, :3], target[2, 0] = 255, 255, 4
    return logits, target


def compute(
    term: str, logits: Tensor, target: Tensor, weights: list[float] | None, ranks: Alone
) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    smoothing = 0.1 if term == "cross_entropy" else 0.0
    loss = SegmentationLoss([(term, 2.0)], weights, smoothing)(logits, target, ranks)
    loss.backward()
    assert logits.grad is not None
    return loss.detach(), logits.grad


def compare(term: str, weights: list[float] | None, rank: int, world: int, folder: Path) -> None:
    import torch.distributed as dist

    store = dist.FileStore(str(folder / "store"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    logits, target = samples()
    loss, gradient = compute(term, logits, target, weights, ALONE)
    own = slice(rank, None, world)
    value, part = compute(term, logits[own], target[own], weights, Together())
    mean = value.clone()
    dist.all_reduce(mean)
    torch.testing.assert_close(mean / world, loss, rtol=1e-12, atol=1e-12)
    # DDP averages: a sample's gradient comes from its rank alone, divided by their number.
    torch.testing.assert_close(part / world, gradient[own], rtol=1e-10, atol=1e-12)
    empty = torch.full_like(target[own], 255)
    value, part = compute(term, logits[own], empty, weights, Together())
    assert (value, part.abs().max()) == (0, 0)
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("term", TERMS)
def test_a_loss_over_all_processes_is_that_of_one(tmp_path: Path, term: str, world: int) -> None:
    weights = [0.0, 1.0, 2.0, 0.5, 3.0] if term == "cross_entropy" else None
    run_on_ranks(partial(compare, term, weights), world, tmp_path)


@pytest.mark.parametrize("term", TERMS)
def test_the_mean_of_the_processes_own_losses_would_be_another(term: str) -> None:
    logits, target = samples()
    whole, _ = compute(term, logits, target, None, ALONE)
    halves = [compute(term, logits[r::2], target[r::2], None, ALONE)[0] for r in range(2)]
    assert abs(float(torch.stack(halves).mean() - whole)) > 1e-3
