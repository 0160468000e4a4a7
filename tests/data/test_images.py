"""Photographs to predict: found by name, batched by size, refused before the first batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seglab.data import images
from seglab.data.images import ImageBatches, ImagesAhead, find_images
from seglab.errors import ConfigError, DataError


def photo(path: Path, width: int, height: int) -> np.ndarray:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_a_folder_gives_its_images_by_name_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.jpeg"):
        photo(tmp_path / name, 4, 4)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "d").mkdir()
    assert [path.name for path in find_images(tmp_path)] == ["a.JPG", "b.png", "c.jpeg"]
    assert find_images(tmp_path / "b.png") == [tmp_path / "b.png"]


def test_batches_are_of_one_size_and_hold_every_image_once(tmp_path: Path) -> None:
    sizes = {"a": (5, 7), "b": (7, 5), "c": (5, 7), "d": (5, 7), "e": (6, 6)}
    pixels = {name: photo(tmp_path / f"{name}.png", *size) for name, size in sizes.items()}
    batches = ImageBatches(find_images(tmp_path), 2)
    found = [batches[index] for index in range(len(batches))]
    assert sorted(len(batch.ids) for batch in found) == [1, 1, 1, 2]
    assert sorted(name for batch in found for name in batch.ids) == list("abcde")
    for batch in found:
        assert batch.image.dtype == torch.uint8
        assert batch.image.is_contiguous(memory_format=torch.channels_last)
        for name, image in zip(batch.ids, batch.image, strict=True):
            assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels[name])


@pytest.mark.parametrize("limit", [1, 2**28])
def test_batches_decoded_together_come_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(images, "AHEAD_BYTES", limit)
    for index in range(images.AHEAD + 3):
        photo(tmp_path / f"{index:02}.png", 3 + index % 2, 4)
    batches = ImageBatches(find_images(tmp_path), 1)
    decoded = [batch.ids for batch in ImagesAhead(batches)]
    assert decoded == [batches[index].ids for index in range(len(batches))]
    assert len(decoded) == images.AHEAD + 3


def test_what_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    for name in "acd":
        photo(tmp_path / f"{name}.png", 64, 40)
    photo(tmp_path / "f.png", 32, 40)
    (tmp_path / "b.png").write_bytes(b"nothing")
    for name in "cf":  # the header is whole, the pixels are not
        whole = (tmp_path / f"{name}.png").read_bytes()
        (tmp_path / f"{name}.png").write_bytes(whole[: len(whole) // 2])
    batches = ImageBatches(find_images(tmp_path), 4)
    assert batches.readable == 4
    assert [error.split(": ")[0] for error in batches.unreadable] == [str(tmp_path / "b.png")]
    found = {batch.image.shape: batch for batch in (batches[0], batches[1])}
    assert found[2, 3, 40, 64].ids == ["a", "d"]
    assert "c.png: cannot be decoded" in found[2, 3, 40, 64].unreadable[0]
    assert found[0, 3, 40, 32].ids == []
    assert "f.png: cannot be decoded" in found[0, 3, 40, 32].unreadable[0]


def test_names_that_would_collide_and_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        find_images(tmp_path)
    photo(tmp_path / "a.png", 4, 4)
    photo(tmp_path / "a.jpg", 4, 4)
    with pytest.raises(DataError, match=r"a.jpg and a.png would both be named a.png"):
        find_images(tmp_path)
    with pytest.raises(ConfigError, match="no such file or folder"):
        find_images(tmp_path / "none")
