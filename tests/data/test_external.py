"""External transforms: a pure function of (seed, epoch, id), and aligned, or refused by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from seglab.config.compose import compose
from seglab.data.datamodule import VOCDataModule
from seglab.data.external import ExternalTransform
from seglab.data.transforms import FILL, generator
from seglab.errors import ConfigError
from seglab.schema import DataConfig, TrainConfig
from seglab.session.augmentation import build_augmentation
from seglab.transforms import Albumentations, void_fill

Make = Callable[..., DataConfig]


class Draws:
    """Fills each channel with a number of another global generator."""

    def __call__(self, image: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        image[0] = int(torch.randint(256, ()))
        image[1] = int(np.random.randint(256))
        image[2] = random.randrange(256)
        return image, maps


def both() -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.choice(np.array([0, 3, 20], np.uint8), (2, 40, 50)))
    image = (labels[:1] * 10).expand(3, -1, -1).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    return image, labels


def augment(transform: Any, key: tuple[int, int, str] = (0, 0, "a"), crop: int = 32) -> Any:
    return ExternalTransform(transform, crop)(*both(), generator(*key), key[2])


def test_all_random_states_follow_from_seed_epoch_and_id_and_are_restored() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    image, maps = both()
    first = ExternalTransform(Draws(), 40)(image, maps, generator(0, 0, "a"), "a")
    assert image.equal(both()[0]), "what is given is not written to"
    assert before[0].equal(torch.get_rng_state())
    assert (before[1][1] == np.random.get_state()[1]).all()  # type: ignore[index]
    assert before[2] == random.getstate()
    torch.manual_seed(2)
    np.random.seed(2)
    random.seed(2)
    again = augment(Draws(), crop=40)
    assert first[0].equal(again[0])
    marks = {tuple(first[0][:, 0, 0].tolist())}
    for key in ((1, 0, "a"), (0, 1, "a"), (0, 0, "b")):
        marks.add(tuple(augment(Draws(), key, crop=40)[0][:, 0, 0].tolist()))
    assert len(marks) == 4
    for column in zip(*marks, strict=True):
        assert len(set(column)) > 1, "each generator was seeded"


def test_the_state_is_restored_after_an_error() -> None:
    def fails(image: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        torch.rand(1)
        raise KeyError("mine")

    before = torch.get_rng_state()
    with pytest.raises(ConfigError, match="transforms: sample a: KeyError: 'mine'"):
        augment(fails)
    assert before.equal(torch.get_rng_state())


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (lambda image, maps: (image[:, :9], maps), "an image of 50x9 pixels and maps of 50x40"),
        (lambda image, maps: (image / 255, maps), "torch.float32; must be torch.uint8"),
        (lambda image, maps: (image, maps.long()), "the maps as torch.int64"),
        (lambda image, maps: (image[:1], maps), r"must be \(3, H, W\)"),
        (lambda image, maps: (image, maps[:1]), r"must be \(2, H, W\)"),
        (lambda image, maps: (image, maps + 1), "with the value 1, which"),
        (lambda image, maps: image, "gives a Image; must be"),
        (lambda image, maps: (image, None), "gives a NoneType for the maps"),
        (v2.ToDtype(torch.float32, scale=True), "torch.float32; must be torch.uint8"),
    ],
)
def test_a_wrong_result_is_one_line_with_the_sample(transform: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        augment(transform)
    assert str(caught.value).startswith("transforms: sample a: ")
    assert "\n" not in str(caught.value)


def test_results_of_any_size_are_cropped_and_padded_with_void() -> None:
    for side in (10, 32, 70):
        image, maps = augment(v2.Resize([side, side + 3]))
        assert image.shape == (3, 32, 32)
        assert maps.shape == (2, 32, 32)
        assert type(image) is type(maps) is Tensor
        shown = (min(side, 32), min(side + 3, 32))
        assert int((maps[0] != 255).sum()) == shown[0] * shown[1]
        if side == 10:
            assert (torch.tensor(FILL) == image[:, maps[0] == 255].T).all()


@pytest.mark.parametrize("angle", [10, 45, 90])
def test_image_class_map_and_instances_turn_together(angle: int) -> None:
    turn = v2.RandomRotation([angle, angle], fill=void_fill(0))
    image, maps = augment(turn, crop=60)
    inside = maps[0] != 255
    assert 0 < int(inside.sum()) < 60 * 60
    assert inside.equal(maps[1] != 255), "void fills the instance map where it fills the class map"
    assert image[0][inside].equal((maps[0] * 10)[inside])


@pytest.mark.parametrize("fill", [0, [124, 116, 104], {tv_tensors.Image: 0, tv_tensors.Mask: 0}])
def test_a_transform_that_would_fill_maps_with_a_class_is_refused(fill: Any) -> None:
    transform = v2.Compose([v2.RandomApply([v2.RandomAffine(10, fill=fill)])])
    with pytest.raises(ConfigError, match=r"RandomAffine.fill=.*void_fill"):
        ExternalTransform(transform, 32)


@pytest.fixture
def config() -> Callable[..., TrainConfig]:
    def make(*overrides: str) -> TrainConfig:
        return compose("train", TrainConfig, overrides).config

    return make


@pytest.mark.parametrize("name", ["torchvision", "albumentations"])
def test_batches_are_the_same_for_any_worker_process_and_start(
    name: str,
    config: Callable[..., TrainConfig],
    data_config: Make,
    synth_root: Path,
) -> None:
    if name == "albumentations":
        pytest.importorskip("albumentations", reason="the extra albumentations is not installed")
    augmentation = build_augmentation(config(f"transforms={name}", "data.crop_size=24"))
    data = data_config(synth_root, batch_size=2)

    def batches(workers: int = 0, rank: int = 0, world: int = 1, **kwargs: Any) -> list[Any]:
        settings = replace(data, num_workers=workers, batch_size=2 if world == 1 else 1)
        module = VOCDataModule(settings, 1, instances=True, augmentation=augmentation, **kwargs)
        module.trainer = SimpleNamespace(global_rank=rank, world_size=world)  # type: ignore[assignment]
        return list(module.train_dataloader())

    alone = batches()
    pixels = {
        sample: image
        for batch in alone
        for sample, image in zip(batch.ids, batch.image, strict=True)
    }
    assert len(alone) == 5

    def same(other: list[Any], expected: list[Any]) -> bool:
        return all(
            a.ids == b.ids
            and a.image.equal(b.image)
            and a.class_map.equal(b.class_map)
            and a.instance_map.equal(b.instance_map)
            for a, b in zip(other, expected, strict=True)
        )

    torch.manual_seed(9)
    random.seed(9)
    np.random.seed(9)
    assert same(batches(workers=2), alone)
    assert same(batches(start=(0, 2)), alone[2:]), "as a resumed run starts"
    for rank in range(2):
        for batch in batches(rank=rank, world=2):
            assert batch.image[0].equal(pixels[batch.ids[0]])
    assert not same(batches(start=(1, 0)), alone), "another epoch"


def test_albumentations_moves_all_together_and_fills_with_void() -> None:
    albumentations = pytest.importorskip(
        "albumentations", reason="the extra albumentations is not installed"
    )
    turn = albumentations.Affine(rotate=(30, 30), interpolation=0, fill=0, fill_mask=255, p=1.0)
    image, maps = augment(Albumentations([turn]), crop=60)
    inside = maps[0] != 255
    assert 0 < int(inside.sum()) < 60 * 60
    assert inside.equal(maps[1] != 255)
    assert image[0][inside].equal((maps[0] * 10)[inside])
    with pytest.raises(ConfigError, match=r"Affine.fill_mask=0.*fill_mask: 255"):
        ExternalTransform(Albumentations([albumentations.Affine(rotate=(30, 30))]), 32)


def test_the_default_group_is_seglabs_own_with_the_keys_of_data(
    config: Callable[..., TrainConfig], data_config: Make, synth_root: Path
) -> None:
    made = config("data.crop_size=24", "data.scale=[0.7,0.9]", "data.flip=1", "data.photometric=1")
    ours = build_augmentation(made)
    data = data_config(synth_root, scale=[0.7, 0.9], flip=1.0, photometric=1.0, batch_size=4)
    built = VOCDataModule(data, 3, augmentation=ours).train_dataloader()
    plain = VOCDataModule(data, 3).train_dataloader()
    for one, two in zip(built, plain, strict=True):
        assert one.image.equal(two.image)
        assert one.class_map.equal(two.class_map)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("transforms._target_=fractions.Fraction", "gives a Fraction"),
        ("transforms._target_=nowhere.Nothing", r"transforms._target_=nowhere.Nothing: cannot"),
        ("+transforms.sides=3", "transforms.sides: .* has no such argument"),
    ],
)
def test_a_wrong_target_names_the_key(
    config: Callable[..., TrainConfig], override: str, expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        build_augmentation(config(override))
