"""Mask AP against two references, and no bit moved by order or processes."""

import json
import math
import os
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
from helpers.ranks import run_on_ranks
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.detection import MeanAveragePrecision

from seglab.data.instances import Detections, Instances, find_instances, tight_boxes
from seglab.metrics.mask_ap import MaskAP, encode, void_pixels

CLASSES = ["background", "a", "b", "c"]
Scene = tuple[Detections, Instances]
NOWHERE = torch.zeros(24, 24, dtype=torch.bool)
"""No void in any scene."""


def rectangles(rng: np.random.Generator, count: int, side: int = 24) -> torch.Tensor:
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    for mask in masks:
        y, x = rng.integers(side - 4, size=2)
        h, w = rng.integers(2, side // 2, size=2)
        mask[y : y + h, x : x + w] = True
    return masks


def scene(seed: int, true: int, others: int) -> Scene:
    """True objects, each found again a little moved or not at all, and others that are wrong."""
    rng = np.random.default_rng(seed)
    truth = rectangles(rng, true)
    labels = torch.from_numpy(rng.integers(1, len(CLASSES), true))
    kept = np.flatnonzero(rng.random(true) < 0.8)
    again = [truth[k].roll(tuple(rng.integers(-1, 2, 2)), (0, 1)) for k in kept]
    said = labels[kept].where(torch.from_numpy(rng.random(len(kept)) < 0.8), 1)
    masks = torch.cat([rectangles(rng, others), *(one[None] for one in again)])
    guesses = torch.cat([torch.from_numpy(rng.integers(1, len(CLASSES), others)), said])
    scores = torch.from_numpy(rng.integers(1, 8, len(masks)) / 8).float()  # many are equal
    order = scores.argsort(descending=True, stable=True)
    found = Detections(masks[order], guesses[order], scores[order], torch.zeros(len(masks), 4))
    flags = torch.zeros(2, true, dtype=torch.bool)
    ids = torch.arange(1, true + 1)
    return found, Instances(ids, truth, labels, tight_boxes(truth), *flags)


def measure(scenes: list[Scene], voids: list[torch.Tensor] | None = None) -> dict[str, float]:
    metric = MaskAP(CLASSES)
    for index, (found, truth) in enumerate(scenes):
        metric.update(found, truth, voids[index] if voids else NOWHERE, index)
    return metric.compute()


def by_pycocotools(scenes: list[Scene]) -> dict[str, float]:
    """The same by COCO's own tools, every class by itself."""
    images, true, found = [], [], []
    for number, (guess, truth) in enumerate(scenes, 1):
        height, width = guess.masks.shape[1:]
        images.append({"id": number, "height": height, "width": width})
        for objects, rows in ((truth, true), (guess, found)):
            for place, code in enumerate(encode(objects.masks)):
                row = {
                    "id": len(rows) + 1,
                    "image_id": number,
                    "category_id": int(objects.labels[place]),
                    "segmentation": {"size": [height, width], "counts": code},
                    "area": int(objects.masks[place].sum()),
                    "iscrowd": 0,
                }
                if objects is guess:
                    row["score"] = float(guess.scores[place])
                rows.append(row)
    sets = []
    for rows in (true, found):
        one = COCO()
        categories = [{"id": value, "name": name} for value, name in enumerate(CLASSES) if value]
        one.dataset = {"images": images, "annotations": rows, "categories": categories, "info": {}}
        one.createIndex()
        sets.append(one)
    result = {}
    for names, labels in [("", [1, 2, 3]), *((f"/{CLASSES[k]}", [k]) for k in (1, 2, 3))]:
        evaluation = COCOeval(*sets, iouType="segm")
        evaluation.params.catIds = labels
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        for name, value in zip(("mask_AP", "mask_AP50"), evaluation.stats[:2], strict=True):
            result[f"val/{name}{names}"] = math.nan if value < 0 else float(value)
    return result


counts = st.tuples(st.integers(0, 2**32), st.integers(0, 5), st.integers(0, 4))


@settings(max_examples=40, deadline=None)
@given(st.lists(counts, min_size=1, max_size=6))
def test_agrees_with_pycocotools(spec: list[tuple[int, int, int]]) -> None:
    scenes = [scene(*one) for one in spec]
    ours, theirs = measure(scenes), by_pycocotools(scenes)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name


def test_agrees_with_torchmetrics_where_every_image_has_objects() -> None:
    scenes = [scene(seed, 1 + seed % 4, seed % 3) for seed in range(12)]
    metric = MeanAveragePrecision(
        iou_type="segm",
        backend="faster_coco_eval",
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),  # its own are float32's: 0.8 > 4 / 5
        rec_thresholds=np.linspace(0, 1, 101).tolist(),
    )
    for found, truth in scenes:
        prediction = {"masks": found.masks, "labels": found.labels, "scores": found.scores}
        metric.update([prediction], [{"masks": truth.masks, "labels": truth.labels}])
    theirs, ours = metric.compute(), measure(scenes)
    assert 0.05 < ours["val/mask_AP"] < 0.95
    assert ours["val/mask_AP"] == pytest.approx(float(theirs["map"]), abs=1e-6)
    assert ours["val/mask_AP50"] == pytest.approx(float(theirs["map_50"]), abs=1e-6)


def test_what_is_found_where_nothing_is_counts() -> None:
    _, truth = scene(3, 2, 0)
    right = Detections(truth.masks, truth.labels, torch.tensor([0.5, 0.4]), truth.boxes)
    nothing = Instances(*(getattr(truth, name)[:0] for name in Instances.__slots__))
    wrong = Detections(right.masks, right.labels, torch.tensor([0.9, 0.8]), right.boxes)
    assert measure([(right, truth)])["val/mask_AP"] == 1
    assert measure([(right, truth), (wrong, nothing)])["val/mask_AP"] < 1


@pytest.mark.parametrize(("wrong", "precision"), [(99, 0.01), (100, 0.0)])
def test_of_an_image_the_100_detections_of_highest_score_count(
    wrong: int, precision: float
) -> None:
    square, corner = torch.zeros(2, 24, 24, dtype=torch.bool)
    square[8:16, 8:16], corner[:2, :2] = True, True
    masks = torch.stack([*[corner] * wrong, square])
    labels = torch.ones(wrong + 1, dtype=torch.int64)
    scores = torch.linspace(0.9, 0.1, wrong + 1)
    found = Detections(masks, labels, scores, torch.zeros(wrong + 1, 4))
    flags = torch.zeros(2, 1, dtype=torch.bool)
    boxes = tight_boxes(square[None])
    truth = Instances(torch.tensor([1]), square[None], torch.tensor([1]), boxes, *flags)
    scenes = [(found, truth)]
    assert measure(scenes)["val/mask_AP50/a"] == pytest.approx(precision)
    assert measure(scenes) == pytest.approx(by_pycocotools(scenes), nan_ok=True)


def test_nothing_found_is_zero_and_nothing_true_is_nan() -> None:
    found, truth = scene(0, 1, 0)
    none = found.above(2)
    name = CLASSES[int(truth.labels[0])]
    result = measure([(none, truth)])
    assert result["val/mask_AP"] == result[f"val/mask_AP/{name}"] == 0
    assert sum(math.isnan(value) for value in result.values()) == 4
    nothing = Instances(*(getattr(truth, one)[:0] for one in Instances.__slots__))
    assert all(math.isnan(value) for value in measure([(found, nothing)]).values())


def test_an_image_counts_once_and_reset_forgets() -> None:
    metric = MaskAP(CLASSES)
    metric.update(*scene(1, 2, 1), NOWHERE, 0)
    metric.update(*scene(2, 2, 1), NOWHERE, 0)
    with pytest.raises(ValueError, match="counted twice"):
        metric.compute()
    metric.reset()
    assert math.isnan(metric.compute()["val/mask_AP"])


def test_12_bytes_are_kept_of_each_detection() -> None:
    metric = MaskAP(CLASSES)
    found, truth = scene(1, 5, 20)
    for index in range(4):
        metric.update(found, truth, NOWHERE, index)
    assert len(metric.rows) == 12 * 4 * len(found)
    (held,) = (one for one in vars(metric).values() if isinstance(one, list))
    assert held == [0, 1, 2, 3], "and of an image its place"


# Void pixels are ignored.


def with_void(scene: Scene, seed: int) -> tuple[Scene, torch.Tensor, Scene]:
    """Put void anywhere; return the scene with it, the void, and the scene without its pixels."""
    found, truth = scene
    void = rectangles(np.random.default_rng(seed), 3).any(0)
    true_masks = truth.masks & ~void
    visible = true_masks.flatten(1).any(1)
    fields = (getattr(truth, name) for name in Instances.__slots__)
    left = Instances(*(field[visible] for field in fields))
    left.masks[:] = true_masks[visible]
    places = [k for k, mask in enumerate(found.masks) if not mask.any() or (mask & ~void).any()]
    fields = (getattr(found, name) for name in Detections.__slots__)
    cut = Detections(*(field[places] for field in fields))
    cut.masks[:, void] = False
    return (found, left), void, (cut, left)


@settings(max_examples=40, deadline=None)
@given(st.lists(counts, min_size=1, max_size=6))
def test_void_pixels_are_as_if_they_were_not_there(spec: list[tuple[int, int, int]]) -> None:
    given_scenes, voids, cut = zip(*(with_void(scene(*one), one[0]) for one in spec), strict=True)
    ours, theirs = measure(list(given_scenes), list(voids)), by_pycocotools(list(cut))
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name


def test_a_mask_of_nothing_but_void_is_neither_a_hit_nor_a_false_alarm() -> None:
    void = torch.zeros(24, 24, dtype=torch.bool)
    void[:8] = True
    masks = torch.zeros(4, 24, 24, dtype=torch.bool)
    masks[0, :5, :5] = True  # nothing but void
    masks[1, 6:12, 12:] = True  # a false alarm that reaches into void
    masks[3, 10:20, :10] = True  # the object; masks[2] has no pixel at all
    truth = find_instances(masks[3].to(torch.uint8), masks[3].to(torch.uint8))

    def of(*places: int) -> float:
        scores = torch.linspace(0.9, 0.5, len(places))
        labels = torch.ones(len(places), dtype=torch.long)
        found = Detections(masks[list(places)], labels, scores, torch.zeros(len(places), 4))
        return measure([(found, truth)], [void])["val/mask_AP/a"]

    assert of(3) == of(0, 3) == of(0, 0, 0, 3) == 1
    assert of(1, 3) == of(2, 3) == pytest.approx(0.5, abs=0.01)
    assert of(0, 1, 3) == of(1, 3)
    assert of(0) == 0, "an object is still missed"


def test_void_is_what_has_no_class_or_no_id_and_no_true_mask_has_any() -> None:
    random = np.random.default_rng(0)
    class_map = torch.from_numpy(random.choice([0, 1, 2, 255], (30, 40)).astype(np.uint8))
    instance_map = torch.from_numpy(random.choice([0, 1, 2, 255], (30, 40)).astype(np.uint8))
    void = void_pixels(class_map, instance_map)
    for (y, x), value in np.ndenumerate(void.numpy()):
        assert value == (class_map[y, x] == 255 or instance_map[y, x] == 255)
    assert not (find_instances(class_map, instance_map).masks & void).any()


SCENES = [(seed, seed % 4, seed % 3) for seed in range(7)]
DEALT = {2: [[0, 1, 4], [6, 5, 3, 2]], 3: [[], [5, 0, 1, 2, 6], [4, 3]]}


def join(rank: int, world: int, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    metric = MaskAP(CLASSES)
    for index in DEALT[world][rank]:
        metric.update(*scene(*SCENES[index]), NOWHERE, index)
    result = {name: value.hex() for name, value in metric.compute().items()}
    (folder / f"{rank}.json").write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("world", [2, 3])
def test_no_bit_depends_on_the_number_of_processes(world: int, tmp_path: Path) -> None:
    run_on_ranks(join, world, tmp_path)
    alone = {n: v.hex() for n, v in measure([scene(*one) for one in SCENES]).items()}
    for rank in range(world):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == alone
