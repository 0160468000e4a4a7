"""Augmentation: a pure function of (seed, epoch, id), and image and class map stay aligned."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seglab.data.batches import TrainSet, collate
from seglab.data.dataset import Sample
from seglab.data.transforms import (
    FILL,
    JointTransform,
    flip,
    generator,
    pad,
    photometric,
    scale_and_crop,
)

LUMA = torch.tensor([0.299, 0.587, 0.114])


def noise(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """An image and a class map laid out as a decoder leaves them: rows of RGB pixels."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = rng.choice(np.array([0, 3, 20, 255], np.uint8), (height, width))
    return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(labels)


def augment(seed: int, epoch: int, name: str, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    image, class_map = noise(60, 80)
    ours = JointTransform(40, [0.5, 2.0], 0.5, strength)
    samples = [Sample(name, image, class_map)]
    image, maps = TrainSet(samples, ours, seed)[epoch, 0][2:]  # type: ignore[arg-type]
    return image, maps[0]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_random_stream_follows_from_seed_epoch_and_id() -> None:
    keys = [*itertools.product((0, 1, 2**32 - 1), (0, 1, 7), ("a", "b", "2007_000032", "ä"))]
    streams = {key: tuple(generator(*key).integers(2**62, size=2)) for key in keys}
    assert len(set(streams.values())) == len(keys)
    assert streams == {key: tuple(generator(*key).integers(2**62, size=2)) for key in keys}
    # Whatever the machine, Python's hash seed and the version: an old run can be repeated.
    raw = generator(0, 0, "2007_000032").bit_generator.random_raw()
    assert raw == 1520135420879795761


def test_augmentation_is_a_pure_function() -> None:
    first = augment(1, 2, "a")
    torch.manual_seed(5)
    np.random.seed(5)
    again = augment(1, 2, "a")
    assert first[0].equal(again[0])
    assert first[1].equal(again[1])
    for other in (augment(2, 2, "a"), augment(1, 3, "a"), augment(1, 2, "b")):
        assert not first[0].equal(other[0])


@pytest.mark.usefixtures("threads")
def test_augmentation_does_not_depend_on_threads() -> None:
    for epoch in range(8):
        torch.set_num_threads(1)
        one = augment(0, epoch, "a")
        torch.set_num_threads(2)
        two = augment(0, epoch, "a")
        assert one[0].equal(two[0])
        assert one[1].equal(two[1])


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    crop=st.integers(1, 120),
    scale=st.tuples(st.floats(0.05, 4), st.floats(0.05, 4)).map(sorted),
    seed=st.integers(0, 2**32 - 1),
)
def test_crops_of_any_size(size: tuple[int, int], crop: int, scale: list[float], seed: int) -> None:
    image, class_map = noise(*size, seed=seed)
    class_map[class_map == 255] = 20
    image //= 2  # the source has no pixel of FILL's red and no void: both mean padding
    image[0, image[0] == FILL[0]] = 0
    before = image.clone(), class_map.clone()
    low, high = scale
    rng = np.random.default_rng(seed)
    got, labels = scale_and_crop(image, class_map, crop, (low, high), rng)
    shape = labels.shape
    got, labels = pad(got, labels, crop, rng)
    assert got.shape == (3, crop, crop)
    assert labels.shape == (crop, crop)
    assert got.dtype == labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) <= set(class_map.unique().tolist()) | {255}
    padding = labels == 255
    assert padding.equal((got == torch.tensor(FILL, dtype=torch.uint8)[:, None, None]).all(0))
    rows, columns = (int((~padding).any(axis).sum()) for axis in (1, 0))
    assert (~padding).sum() == rows * columns  # what is shown is one rectangle
    assert (rows, columns) == shape
    for axis in (0, 1):  # it lies at an edge of each axis
        shown_lines = ~padding.all(1 - axis)
        assert shown_lines[0] or shown_lines[-1]
    for shown, length in ((rows, size[0]), (columns, size[1])):
        assert shown == crop or low * length - 1 <= shown <= max(1, high * length + 1)
    assert image.equal(before[0])
    assert class_map.equal(before[1])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), crop=st.integers(8, 90))
def test_the_quick_way_gives_the_pixels_of_the_plain_one(seed: int, crop: int) -> None:
    image, class_map = noise(60, 80, seed)
    found, _ = scale_and_crop(image, class_map, crop, (0.5, 2.0), np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    factor = rng.uniform(0.5, 2.0)
    rows, columns = (min(side, int(np.ceil(crop / factor))) for side in (60, 80))
    top, left = rng.integers(60 - rows + 1), rng.integers(80 - columns + 1)
    cut = image.contiguous()[:, top : top + rows, left : left + columns].contiguous()
    size = [min(crop, max(1, round(side * factor))) for side in (rows, columns)]
    plain = F.interpolate(cut[None], size, mode="bilinear", antialias=True)[0]
    assert torch.equal(found, plain)


def test_padding_is_at_all_four_corners_and_untouched_by_colour_changes() -> None:
    ours = JointTransform(200, [0.5, 1.0], 0.0, 1.0)
    fill = torch.tensor(FILL, dtype=torch.uint8)
    corners = set()
    changed = 0
    for seed in range(60):
        image, class_map = noise(60, 80, seed)
        class_map[class_map == 255] = 20
        samples = TrainSet([Sample("a", image, class_map)], ours, seed)  # type: ignore[arg-type]
        shown, maps = samples[0, 0][2:]
        padding = maps[0] == 255
        assert (shown[:, padding] == fill[:, None]).all()
        rows, columns = (~padding).any(1).nonzero()[:, 0], (~padding).any(0).nonzero()[:, 0]
        corners.add((bool(rows[0] == 0), bool(columns[0] == 0)))
        changed += abs(float(shown[:, ~padding].float().mean() - image.float().mean())) > 5
    assert len(corners) == 4
    assert changed > 10, "the colours do change elsewhere"


@pytest.mark.parametrize("factor", [0.4, 0.5, 0.77, 1.0, 1.3, 2.0, 3.1])
@pytest.mark.parametrize("vertical", [False, True])
def test_an_edge_lies_at_the_same_place_in_image_and_class_map(
    factor: float, vertical: bool
) -> None:
    class_map = torch.zeros(90, 130, dtype=torch.uint8)
    if vertical:
        class_map[:, 65:] = 1
    else:
        class_map[45:] = 1
    image = (class_map * 200)[None].expand(3, -1, -1)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        got, labels = scale_and_crop(image, class_map, 48, (factor, factor), rng)
        got, labels = flip(got, labels, 0.5, rng)
        axis = 1 if vertical else 0
        bright = ((got[0] > 100) & (labels != 255)).sum(axis)
        assert (bright - (labels == 1).sum(axis)).abs().max() <= 1


def test_shrinking_shifts_the_class_map_neither_way() -> None:
    off = []
    for edge in range(40, 160):
        class_map = torch.zeros(8, 200, dtype=torch.uint8)
        class_map[:, edge:] = 1
        image = (class_map * 200)[None].expand(3, -1, -1)
        rng = np.random.default_rng(edge)
        got, labels = scale_and_crop(image, class_map, 48, (0.25, 0.25), rng)
        off.append(float(got[0, 0].sum() / 200 - (labels[0] == 1).sum()))
    assert abs(float(np.mean(off))) < 0.2  # a quarter of a pixel would be half a source pixel


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 1000))
def test_colours_match_labels_away_from_borders(seed: int, epoch: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = torch.from_numpy(rng.integers(0, 21, (4, 5), dtype=np.uint8))
    class_map = blocks.repeat_interleave(30, 0).repeat_interleave(30, 1)
    image = torch.stack([class_map * 10, class_map * 5, 255 - class_map])
    rng = generator(seed, epoch, "a")
    got, labels = scale_and_crop(image, class_map, 64, (0.5, 2.0), rng)
    got, labels = flip(got, labels, 0.5, rng)
    reach = 3  # of the resizing filter, in pixels of the result
    windows = labels.unfold(0, 2 * reach + 1, 1).unfold(1, 2 * reach + 1, 1).flatten(2)
    inside = (windows == windows[..., :1]).all(-1) & (windows[..., 0] != 255)
    assert inside.any()
    middle = labels[reach:-reach, reach:-reach][inside].int()
    colour = got[:, reach:-reach, reach:-reach][:, inside].int()
    expected = torch.stack([middle * 10, middle * 5, 255 - middle])
    assert (colour - expected).abs().max() <= 1


def test_scale_1_copies_the_source() -> None:
    image, class_map = noise(50, 70)
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        got, labels = scale_and_crop(image, class_map, 20, (1.0, 1.0), rng)
        rows = image.unfold(1, 20, 1).unfold(2, 20, 1)  # (3, 31, 51, 20, 20)
        places = (rows == got[:, None, None]).flatten(3).all(-1).all(0).nonzero()
        assert len(places) == 1
        top, left = places[0].tolist()
        assert labels.equal(class_map[top : top + 20, left : left + 20])
        seen.add((top, left))
    assert max(top for top, _ in seen) > 25
    assert max(left for _, left in seen) > 40
    assert min(min(place) for place in seen) < 5


def test_crops_vary_in_scale() -> None:
    class_map = torch.zeros(40, 40, dtype=torch.uint8)
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    sides = [
        int((labels == 0).any(0).sum())
        for seed in range(60)
        for _, labels in [
            scale_and_crop(image, class_map, 100, (0.5, 2.0), np.random.default_rng(seed))
        ]
    ]
    assert min(sides) < 28
    assert max(sides) > 72
    assert all(20 <= side <= 80 for side in sides)


def test_flip() -> None:
    image, class_map = noise(5, 7)
    for seed in range(20):
        same = flip(image, class_map, 0.0, np.random.default_rng(seed))
        assert same[0].equal(image)
        assert same[1].equal(class_map)
        mirrored = flip(image, class_map, 1.0, np.random.default_rng(seed))
        assert mirrored[0].equal(image[:, :, torch.arange(6, -1, -1)])
        assert mirrored[1].equal(class_map[:, torch.arange(6, -1, -1)])
    rng = np.random.default_rng(0)
    flipped = sum(not flip(image, class_map, 0.3, rng)[1].equal(class_map) for _ in range(1000))
    assert 240 < flipped < 360


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_photometric_keeps_shape_and_grey(
    height: int, width: int, strength: float, seed: int
) -> None:
    image, _ = noise(height, width, seed)
    before = image.clone()
    got = photometric(image, strength, np.random.default_rng(seed))
    assert got.shape == image.shape
    assert got.dtype == torch.uint8
    assert image.equal(before)
    assert photometric(image, 0.0, np.random.default_rng(seed)).equal(image)
    grey = image[:1].expand(3, -1, -1)
    got = photometric(grey, strength, np.random.default_rng(seed)).int()
    assert (got - got[:1]).abs().max() <= 1


class Chosen:
    """A random stream that gives the chosen amounts."""

    def __init__(self, *amounts: float) -> None:
        self.amounts = np.array(amounts)

    def uniform(self, low: float, high: float, size: int) -> np.ndarray:
        return self.amounts * high

    def random(self, size: int) -> np.ndarray:
        return np.zeros(size)


def changed(image: Tensor, *amounts: float, strength: float = 1.0) -> Tensor:
    return photometric(image, strength, Chosen(*amounts)).float()  # type: ignore[arg-type]


@pytest.mark.parametrize("amount", [-1.0, -0.3, 0.4, 1.0])
def test_photometric_does_what_it_says(amount: float) -> None:
    image, _ = noise(20, 30)
    pixels = image.float()
    grey = (LUMA[:, None, None] * pixels).sum(0)
    expected = {
        "brightness": pixels + 32 * amount,
        "contrast": (pixels - 128) * (1 + 0.5 * amount) + 128,
        "saturation": grey + (1 + 0.5 * amount) * (pixels - grey),
    }
    for place, target in enumerate(expected.values()):
        amounts = [0.0] * 4
        amounts[place] = amount
        for strength in (1.0, 0.5):
            soft = pixels + strength * (target - pixels)  # all are linear in the amount
            got = changed(image, *amounts, strength=strength)
            assert (got - soft.clamp(0, 255)).abs().max() <= 0.51


@pytest.mark.parametrize("amount", [-1.0, 0.5, 1.0])
def test_hue_turns_colours_and_keeps_luma(amount: float) -> None:
    image, _ = noise(20, 30)
    image = image // 4 + 96  # far from the ends, so that nothing is clipped
    got = changed(image, 0, 0, 0, amount)
    luma = LUMA[:, None, None]
    assert ((got - image) * luma).sum(0).abs().max() <= 1
    assert (got - image).abs().max() > 4
    back = changed(got.to(torch.uint8), 0, 0, 0, -amount)
    assert (back - image).abs().max() <= 2
    grey = image[:1].expand(3, -1, -1)
    assert changed(grey, 0, 0, 0, amount).equal(grey.float())
    assert changed(grey, 0, 0, amount, 0).equal(grey.float())


def test_without_a_crop_size_images_stay_whole_and_a_batch_is_padded_to_its_largest() -> None:
    rng = np.random.default_rng(0)
    sizes, items = [(6, 9), (8, 5)], []
    for number, size in enumerate(sizes):
        image = torch.from_numpy(rng.integers(0, 256, (3, *size), np.uint8))
        maps = torch.from_numpy(rng.integers(0, 5, (2, *size), np.uint8))
        whole = JointTransform(None, (1.0, 1.0), 0.0, 0.0)(image, maps, rng)
        assert all(one.equal(given) for one, given in zip(whole, (image, maps), strict=True))
        halved = JointTransform(None, (0.5, 0.5), 0.0, 0.0)(image, maps, rng)
        assert halved[1].shape == (2, round(size[0] / 2), round(size[1] / 2))
        items.append((number, "ab"[number], *whole))
    batch = collate(items, fill=(1, 2, 3))
    assert batch.image.shape == (2, 3, 8, 9)
    assert batch.instance_map is not None
    for number, (height, width) in enumerate(sizes):
        _, _, image, maps = items[number]
        assert batch.image[number, :, :height, :width].equal(image)
        assert batch.class_map[number, :height, :width].equal(maps[0])
        assert batch.instance_map[number, :height, :width].equal(maps[1])
        outside = torch.ones(8, 9, dtype=torch.bool)
        outside[:height, :width] = False
        assert batch.image[number][:, outside].unique(dim=1).tolist() == [[1], [2], [3]]
        assert batch.class_map[number][outside].unique().tolist() == [255]
        assert batch.instance_map[number][outside].unique().tolist() == [255]
