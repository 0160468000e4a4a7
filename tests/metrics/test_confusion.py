"""Every score against a plain loop over pixels, and no bit moved by batches, order, processes."""

import json
import math
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
from helpers.ranks import run_on_ranks
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from seglab.metrics.confusion import (
    SegmentationMetrics,
    accuracies,
    class_map,
    confusion_matrix,
    per_image_counts,
    scores,
    split_loss,
)

quick = settings(max_examples=30, deadline=None)


def names(num_classes: int) -> list[str]:
    return [f"c{k}" for k in range(num_classes)]


def same(result: dict[str, float], expected: dict[str, float]) -> bool:
    """Equal in every bit, NaN included."""
    bits = [{k: float(v).hex() for k, v in d.items()} for d in (result, expected)]
    return bits[0] == bits[1]


# The deliberately plain reference: one pixel at a time, fractions to the end.


def plain_scores(
    images: Sequence[tuple[np.ndarray, np.ndarray]], num_classes: int
) -> dict[str, float]:
    truth, guess, both = ([0] * num_classes for _ in range(3))
    for prediction, target in images:
        for p, t in zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True):
            if t == 255:
                continue
            truth[t] += 1
            guess[p] += 1
            both[t] += p == t
    pixels = sum(truth)
    iou: dict[int, Fraction] = {}
    recall: dict[int, Fraction] = {}
    for k in range(num_classes):
        if truth[k] + guess[k] > 0:
            iou[k] = Fraction(both[k], truth[k] + guess[k] - both[k])
        if truth[k] > 0:
            recall[k] = Fraction(both[k], truth[k])
    if not pixels:
        result = dict.fromkeys(("mIoU", "pixel_accuracy", "mean_accuracy", "fw_IoU"), math.nan)
    else:
        result = {
            "mIoU": float(sum(iou.values()) / len(iou)),
            "pixel_accuracy": float(Fraction(sum(both), pixels)),
            "mean_accuracy": float(sum(recall.values()) / len(recall)),
            "fw_IoU": float(sum(truth[k] * iou[k] for k in recall) / pixels),
        }
    result |= {f"IoU/c{k}": float(iou.get(k, math.nan)) for k in range(num_classes)}
    result |= {f"accuracy/c{k}": float(recall.get(k, math.nan)) for k in range(num_classes)}
    return {f"val/{name}": value for name, value in result.items()}


@st.composite
def splits(draw: st.DrawFn, most: int = 255, same_size: bool = False) -> tuple[int, list]:
    """K, and a few images (prediction, target) of K classes, of which some may be absent."""
    num_classes = draw(st.sampled_from([2, 3, most - 1, most]) | st.integers(2, most))
    pool = draw(st.lists(st.integers(0, num_classes - 1), min_size=1, max_size=4))
    sides = st.integers(1, 6)
    shape = (draw(sides), draw(sides))
    images = []
    for _ in range(draw(st.integers(1, 5))):
        if not same_size:
            shape = (draw(sides), draw(sides))
        truths = st.just(255) if draw(st.integers(0, 3)) == 0 else st.sampled_from([*pool, 255])
        prediction = draw(arrays(np.uint8, shape, elements=st.sampled_from(pool)))
        images.append((prediction, draw(arrays(np.uint8, shape, elements=truths))))
    return num_classes, images


def pair(image: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(image[0])[None], torch.from_numpy(image[1])[None]


@quick
@given(splits())
def test_scores_agree_with_a_plain_loop_over_pixels(split):
    num_classes, images = split
    metrics = SegmentationMetrics(names(num_classes))
    for image in images:
        metrics.update(*pair(image))
    result = {**metrics.compute(), **accuracies(metrics.confusion, names(num_classes))}
    expected = plain_scores(images, num_classes)
    assert list(result) == list(expected)
    assert result == pytest.approx(expected, rel=1e-12, abs=0, nan_ok=True)


@quick
@given(splits())
def test_confusion_matrix_agrees_with_torchmetrics(split):
    num_classes, images = split
    for image in images:
        prediction, target = pair(image)
        expected = multiclass_confusion_matrix(
            prediction.long(), target.long(), num_classes, ignore_index=255
        )
        result = confusion_matrix(prediction, target, num_classes)
        assert result.dtype == torch.int64
        assert torch.equal(result, expected)


def test_iou_is_the_development_kits():
    """VOCevalseg.m: accuracies(j) = 100 * gtjresj / (gtj + resj - gtjresj)."""
    confusion = torch.randint(0, 10**9, (21, 21), generator=torch.Generator().manual_seed(0))
    result = scores(confusion, names(21))
    for j in range(21):
        gtj, resj, gtjresj = confusion[j].sum(), confusion[:, j].sum(), confusion[j, j]
        expected = int(gtjresj) / int(gtj + resj - gtjresj)
        assert result[f"val/IoU/c{j}"] == pytest.approx(expected, rel=1e-12)


def test_known_numbers():
    confusion = torch.tensor([[6, 2, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    result = scores(confusion, ["sky", "sea", "sun", "sand"], prefix="test/")
    assert result["test/IoU/sky"] == 6 / 9
    assert result["test/IoU/sea"] == 1 / 4
    assert math.isnan(result["test/IoU/sun"])
    assert result["test/mIoU"] == pytest.approx((6 / 9 + 1 / 4) / 2, rel=1e-15)
    assert result["test/pixel_accuracy"] == 0.7
    assert result["test/mean_accuracy"] == (6 / 8 + 1 / 2) / 2
    assert result["test/fw_IoU"] == pytest.approx((8 * 6 / 9 + 2 * 1 / 4) / 10, rel=1e-15)


def test_a_class_only_predicted_lowers_miou_but_not_mean_accuracy():
    result = scores(torch.tensor([[3, 1], [0, 0]]), names(2))
    assert result["val/IoU/c1"] == 0.0
    assert result["val/mIoU"] == 0.375
    assert result["val/mean_accuracy"] == 0.75
    assert result["val/fw_IoU"] == 0.75


def test_nothing_seen_is_nan_throughout():
    assert all(math.isnan(value) for value in SegmentationMetrics(names(3)).compute().values())


def test_more_pixels_than_float32_can_count():
    """2^24 + 1 pixels of one class, one of them wrong: float32 could not tell it from none."""
    target = torch.ones(1, 1, 2**24 + 1, dtype=torch.uint8)
    prediction = target.clone()
    prediction[0, 0, 0] = 0
    metrics = SegmentationMetrics(names(2), per_image=True)
    metrics.update(prediction, target, index=torch.tensor([0]))
    assert metrics.confusion.tolist() == [[0, 0], [1, 2**24]]
    assert metrics.compute()["val/IoU/c1"] == 2**24 / (2**24 + 1) < 1
    metrics.update(prediction, target, index=torch.tensor([1]))
    assert metrics.confusion.tolist() == [[0, 0], [2, 2**25]]


def maps(*rows: list[int]) -> Tensor:
    return torch.tensor([rows], dtype=torch.uint8)


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (maps([0, 3]), maps([0, 1]), "prediction holds the value 3, but the classes are 0..2"),
        (maps([0, 255]), maps([0, 1]), "prediction holds the value 255"),
        (maps([0, 1]), maps([0, 3]), "target holds the value 3, but the classes are 0..2"),
        (maps([7, 1]), maps([254, 3]), "target holds the value 3"),
        (maps([0, 1]).long(), maps([0, 1]), r"uint8 of one shape, not torch.int64 \(1, 2\) and"),
        (maps([0, 1]), maps([0], [1]), r"uint8 of one shape.* \(1, 2\) and .* \(2, 1\)"),
    ],
)
def test_wrong_class_maps_are_refused_and_not_counted(prediction, target, message):
    metrics = SegmentationMetrics(names(3))
    with pytest.raises(ValueError, match=message):
        metrics.update(prediction, target)
    assert metrics.confusion.sum() == 0


def test_under_void_any_prediction_goes():
    confusion = confusion_matrix(maps([0, 7, 255]), maps([0, 255, 255]), 2)
    assert confusion.tolist() == [[1, 0], [0, 0]]


def test_class_map_is_argmax_first_of_ties_and_nan_largest():
    generator = torch.Generator().manual_seed(0)
    for shape in ((2, 2, 5, 7), (1, 255, 3, 4), (1, 21, 16, 33), (3, 21, 16, 33)):
        logits = torch.randint(0, 3, shape, generator=generator).float()
        logits[torch.rand(shape, generator=generator) < 0.05] = math.inf
        if shape[0] > 1:  # a NaN takes another path
            logits[torch.rand(shape, generator=generator) < 0.02] = math.nan
        for memory in (torch.contiguous_format, torch.channels_last):
            for dtype in (torch.float32, torch.bfloat16):
                given_logits = logits.to(dtype).to(memory_format=memory)
                result = class_map(given_logits)
                assert result.dtype == torch.uint8
                assert torch.equal(result.long(), given_logits.argmax(1))
                assert np.array_equal(result.numpy(), given_logits.float().numpy().argmax(1))


# Independence of batches, order and processes.


@quick
@given(splits(most=9, same_size=True), st.data())
def test_no_bit_depends_on_batches_or_order(split, data):
    num_classes, images = split
    predictions, targets = (torch.from_numpy(np.stack(x)) for x in zip(*images, strict=True))
    terms = data.draw(st.integers(1, 3))
    size = len(images) * terms * 2
    # No quotient of these is too large for a float.
    values = st.floats(1e-300, 1e6) | st.sampled_from([0.0, math.pi, 1e-300])
    drawn = data.draw(st.lists(values, min_size=size, max_size=size))
    fractions = torch.tensor(drawn, dtype=torch.float64).view(len(images), terms, 2)

    def run(batches: list[list[int]]) -> dict[str, float]:
        metrics = SegmentationMetrics(names(num_classes), per_image=True, terms=terms)
        for batch in batches:
            index = torch.tensor(batch)
            metrics.update(predictions[batch], targets[batch], fractions[batch], index)
        return metrics.compute()

    order = data.draw(st.permutations(range(len(images))))
    cut = data.draw(st.integers(1, len(images)))
    batches = [order[start : start + cut] for start in range(0, len(images), cut)]
    together = run([list(range(len(images)))])
    assert same(run(batches), together)
    sums = [[sum(map(Fraction, x)) for x in term] for term in fractions.permute(1, 2, 0).tolist()]
    defined = all(denominator for _, denominator in sums)
    expected = float(sum(n / d for n, d in sums)) if defined else math.nan
    assert together["val/loss"] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_the_loss_of_a_split_is_a_sum_of_quotients_of_exact_sums():
    def of(*rows: list[list[float]]) -> float:
        return split_loss(torch.tensor(rows, dtype=torch.float64))

    assert of([[2.0, 2.0]], [[0.0, 0.0]], [[4.0, 1.0]]) == 2.0
    assert of([[2.0, 1.0], [3.0, 4.0]], [[4.0, 1.0], [3.0, 4.0]]) == 3.75
    assert math.isnan(of([[0.0, 0.0]]))
    assert math.isnan(of([[1.0, 1.0], [0.0, 0.0]]))
    assert math.isnan(of([[math.nan, 1.0]], [[1.0, 1.0]]))
    assert of([[1e16, 1.0]], [[1.0, 1.0]], [[-1e16, 1.0]]) == 1 / 3  # a running sum loses the 1


def test_misuse_is_refused():
    zeros, two = maps([0, 1]), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="need the index"):
        SegmentationMetrics(names(2)).update(zeros, zeros, loss=torch.ones(1, 1, 2))
    with pytest.raises(ValueError, match="need the index"):
        SegmentationMetrics(names(2), per_image=True).update(zeros, zeros)
    with pytest.raises(ValueError, match="index has 2 rows for 1 images"):
        SegmentationMetrics(names(2)).update(zeros, zeros, index=two)
    twice = SegmentationMetrics(names(2))
    for _ in range(2):
        twice.update(zeros, zeros, index=two[:1])
    with pytest.raises(ValueError, match="counted twice"):
        twice.compute()
    partial = SegmentationMetrics(names(2))
    partial.update(zeros, zeros, torch.ones(1, 1, 2), index=two[:1])
    partial.update(zeros, zeros, index=two[1:])
    with pytest.raises(ValueError, match="2 images, but the losses of 1"):
        partial.compute()


def test_reset_forgets_everything():
    metrics = SegmentationMetrics(names(2), per_image=True)
    before = metrics.compute()
    with torch.inference_mode():
        metrics.update(maps([0, 1]), maps([0, 1]), torch.ones(1, 1, 2), torch.tensor([0]))
        assert metrics.compute()["val/loss"] == 1.0
        metrics.reset()
    assert same(metrics.compute(), before)
    metrics.update(maps([0, 1]), maps([0, 1]), index=torch.tensor([0]))
    assert metrics.compute()["val/mIoU"] == 1.0


def join(rank: int, world: int, folder: Path) -> None:
    """Run as one of ``world`` processes, and write the results of every way of dealing."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    results = [measure(world, rank, batches, loss) for batches, loss in WAYS]
    (folder / f"{rank}.json").write_text(json.dumps(results))
    torch.distributed.destroy_process_group()


WAYS = [  # batches, dealt in turn, and whether with a loss
    ([[0, 1], [2, 3], [4], [5, 6]], True),
    ([[6, 3], [5], [4, 2, 1, 0]], False),
    ([[0, 1, 2, 3, 4, 5, 6]], True),  # for one process only
    ([[], [0, 1, 2, 3, 4, 5, 6]], True),  # and not for the first one
    ([], True),
]


def measure(world: int, rank: int, batches: list[list[int]], loss: bool) -> list[dict[str, str]]:
    generator = torch.Generator().manual_seed(0)
    predictions, targets = torch.randint(0, 5, (2, 7, 9, 11), generator=generator).byte()
    targets[targets == 4] = 255
    targets[3] = 255
    losses = torch.rand(7, 2, 2, generator=generator, dtype=torch.float64)
    metrics = SegmentationMetrics(names(6), per_image=True, terms=2)
    results = []
    for shift in (0, 7):  # after a result, the counting goes on
        for batch in filter(None, batches[rank::world]):
            arguments = predictions[batch], targets[batch], losses[batch] if loss else None
            metrics.update(*arguments, torch.tensor(batch) + shift)
        results.append({name: value.hex() for name, value in metrics.compute().items()})
    return results


@pytest.mark.parametrize("world", [2, 3])
def test_no_bit_depends_on_the_number_of_processes(world, tmp_path):
    run_on_ranks(join, world, tmp_path)
    alone = [measure(1, 0, batches, loss) for batches, loss in WAYS]
    assert len({repr(results) for results in alone[2:4]}) == 1
    assert "val/loss" in alone[0][0]
    assert "val/loss" not in alone[1][0]
    for rank in range(world):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == alone


def test_per_image_counts():
    confusion = torch.tensor([[[1, 2], [3, 4]]])
    assert per_image_counts(confusion).tolist() == [[[3, 7], [4, 6], [1, 4]]]


@quick
@given(splits(same_size=True))
def test_what_the_scores_came_from_is_kept_in_the_order_of_the_split(split):
    num_classes, images = split
    metrics = SegmentationMetrics(names(num_classes))
    for index in reversed(range(len(images))):
        prediction, target = pair(images[index])
        metrics.update(prediction[None], target[None], index=torch.tensor([index]))
    result = metrics.compute()
    found = metrics.evaluation
    assert found is not None
    assert found.index.tolist() == list(range(len(images)))
    assert same(scores(found.confusion, names(num_classes)), result)
    for index, (image, miou) in enumerate(zip(images, found.mious(), strict=True)):
        one = confusion_matrix(*pair(image), num_classes)
        assert torch.equal(found.counts[index], per_image_counts(one[None])[0])
        assert float(miou).hex() == scores(one, names(num_classes))["val/mIoU"].hex()
