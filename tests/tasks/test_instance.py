"""Objects: no digit moved by batching, maps painted by score, what does not fit refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import seglab
from seglab.config.compose import compose
from seglab.data.batches import Batch
from seglab.data.dataset import Sample
from seglab.data.instances import Detections, find_instances
from seglab.data.synthetic import SyntheticSpec, write_tree
from seglab.errors import ConfigError
from seglab.schema import TrainConfig
from seglab.tasks.factories import build_task
from seglab.tasks.instance import InstanceSegmentation

SMALL = [
    "model=mask_rcnn", "model.net.channels=16", "model.net.box_head=32", "model.net.mask_layers=1",
    "model.net.box_score_thresh=0.0", "trainer.accelerator=cpu",
]  # fmt: skip


def configure(*overrides: str) -> TrainConfig:
    return compose("train", TrainConfig, [*SMALL, *overrides]).config


@pytest.fixture(scope="module")
def task() -> InstanceSegmentation:
    torch.manual_seed(0)
    built = build_task(configure("evaluation.score_threshold=0.4"))
    assert isinstance(built, InstanceSegmentation)
    return built


def batch(count: int, height: int = 48, width: int = 64) -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(256, (count, 3, height, width), generator=generator, dtype=torch.uint8)
    class_map, instance_map = torch.zeros(2, count, height, width, dtype=torch.uint8)
    for index in range(count - 1):  # the last image holds no object
        class_map[index, 4:30, 8 + index : 40] = 1 + index
        instance_map[index, 4:30, 8 + index : 40] = 1
    position = torch.arange(count)
    return Batch(image, class_map, position, [str(i) for i in range(count)], instance_map)


def split(whole: Batch, *parts: slice) -> list[Batch]:
    return [
        Batch(whole.image[p], whole.class_map[p], whole.position[p], whole.ids[p],
              whole.instance_map[p] if whole.instance_map is not None else None)
        for p in parts
    ]  # fmt: skip


def test_no_digit_depends_on_the_batch(task: InstanceSegmentation) -> None:
    task.eval()
    results = []
    whole = batch(3)
    for batches in ([whole], split(whole, slice(2, 3), slice(0, 2))):
        with torch.inference_mode():
            maps = [task.validation_step(one, 0).class_map for one in batches]
        results.append(task.compute_scores())
    assert maps[0].dtype == torch.uint8
    assert maps[1].shape == (2, 48, 64)
    assert [value.hex() for value in results[0].values()] == [
        value.hex() for value in results[1].values()
    ]
    assert {"val/mIoU", "val/mask_AP", "val/mask_AP50", "val/mask_AP/circle"} <= set(results[0])


def spill(truth: Sample, reach: int) -> Detections:
    """Return the true objects, each with the void pixels that are within ``reach`` of it."""
    assert truth.instance_map is not None
    objects = find_instances(truth.class_map, truth.instance_map)
    near = F.max_pool2d(objects.masks.float(), 2 * reach + 1, 1, reach).bool()
    masks = objects.masks | (near & (truth.class_map == 255))
    return Detections(masks, objects.labels, torch.ones(len(objects)), objects.boxes)


def score_spilled(
    samples: Sequence[Sample], task: InstanceSegmentation, monkeypatch: pytest.MonkeyPatch
) -> dict[str, float]:
    for index, sample in enumerate(samples):
        assert sample.instance_map is not None
        found = spill(sample, 2)
        monkeypatch.setattr(task, "infer", lambda _, found=found: [found])
        maps = (sample.class_map[None], torch.tensor([index]), [sample.id])
        task.validation_step(Batch(sample.image[None], *maps, sample.instance_map[None]), index)
    return task.compute_scores()


def test_void_pixels_of_a_found_mask_do_not_count(
    task: InstanceSegmentation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ground truth plus the void around it is as good an answer as ground truth."""
    spec = SyntheticSpec(train=1, val=6)
    write_tree(tmp_path, spec)
    samples = seglab.VOCSegmentation(
        tmp_path, 2007, "val", classes=list(task.classes), instances=True
    )
    assert any((spill(sample, 2).masks & (sample.class_map == 255)).any() for sample in samples)
    scores = score_spilled(samples, task, monkeypatch)
    assert scores["val/mask_AP"] == scores["val/mask_AP50"] == 1


@pytest.mark.voc
def test_nor_do_those_of_real_objects(monkeypatch: pytest.MonkeyPatch, voc_root: Path) -> None:
    samples = seglab.VOCSegmentation(voc_root, 2007, "val", instances=True)
    real = build_task(configure("data=voc2007", f"data.classes=[{','.join(samples.classes)}]"))
    assert isinstance(real, InstanceSegmentation)
    some = [samples[index] for index in range(0, len(samples), 10)]
    assert score_spilled(some, real, monkeypatch)["val/mask_AP"] == 1


def test_only_sure_objects_are_painted_the_surest_on_top(
    task: InstanceSegmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = torch.ones(3, 2, 3, dtype=torch.bool)
    masks[0, :, 1:] = False
    masks[1, :, 2:] = False
    found = Detections(
        masks, torch.tensor([5, 3, 2]), torch.tensor([0.9, 0.4, 0.3]), torch.zeros(3, 4)
    )
    monkeypatch.setattr(task, "infer", lambda image: [found])
    output = task.predict(torch.zeros(1, 3, 2, 3, dtype=torch.uint8))
    assert output.class_map[0].tolist() == [[5, 3, 0], [5, 3, 0]]


def test_every_part_of_the_loss_is_logged(task: InstanceSegmentation, monkeypatch) -> None:
    logged: dict[str, float] = {}

    def keep(values: dict[str, torch.Tensor], **_: object) -> None:
        logged.update({name: value.item() for name, value in values.items()})

    monkeypatch.setattr(task, "log_dict", keep)
    monkeypatch.setattr(task, "learning_rates", dict)
    monkeypatch.setattr(task, "log_exact", lambda values: None)
    task.train()
    loss = task.training_step(batch(2), 0)
    parts = {name: value for name, value in logged.items() if name.startswith("train/loss_")}
    assert len(parts) == 5
    assert loss.item() == logged["train/loss"] == pytest.approx(sum(parts.values()))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.compile=true"], "trainer.compile=true: not for model.task=instance"),
        (["model.net.num_classes=5"], r"model.net: scores 5 classes; must be 7"),
        (["+model.net.rpn_nms_tresh=0.5"], "no setting rpn_nms_tresh; nearest: rpn_nms_thresh"),
    ],
)
def test_what_does_not_fit_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_task(configure(*overrides))


def test_a_net_for_class_maps_is_refused() -> None:
    config = compose("train", TrainConfig, ["model=padded_cnn", "model.task=instance"]).config
    with pytest.raises(ConfigError, match=r"a PaddedCNN; model\.task=instance needs"):
        build_task(config)
