"""EXIF orientation: pictures are read, sized, trained on and predicted as they are shown."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

import seglab
from seglab.data.files import image_size, read_image
from seglab.data.images import ImageBatches
from seglab.errors import DataError

if TYPE_CHECKING:
    from tests.data.conftest import Tree

# torchvision announces that its decoders move to torchcodec; here they are a second opinion.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")

SHOWN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}
"""How stored pixels are shown: EXIF 2.32, section 4.6.4, where row 0 and column 0 belong."""

STORED = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def tiff(orientation: int) -> bytes:
    """An EXIF block with nothing but the orientation."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def jpeg(pixels: np.ndarray, orientation: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, exif=b"Exif\0\0" + tiff(orientation))
    return stream.getvalue()


def png(picture: Image.Image, orientation: int, *, late: bool = False) -> bytes:
    """A PNG whose eXIf chunk comes before its pixels, or behind them."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    raw, body = stream.getvalue(), b"eXIf" + tiff(orientation)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    at = raw.index(b"IEND" if late else b"IDAT") - 4
    return raw[:at] + chunk + raw[at:]


@pytest.mark.parametrize("orientation", SHOWN)
def test_jpegs_are_read_as_another_reader_shows_them(tmp_path: Path, orientation: int) -> None:
    from torchvision.io import ImageReadMode, decode_jpeg

    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(STORED, orientation))
    raw = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    stored = decode_jpeg(raw, mode=ImageReadMode.RGB).permute(1, 2, 0).numpy()
    shown = decode_jpeg(raw, mode=ImageReadMode.RGB, apply_exif_orientation=True)
    np.testing.assert_array_equal(shown.permute(1, 2, 0), SHOWN[orientation](stored))
    np.testing.assert_array_equal(read_image(path), SHOWN[orientation](stored))
    assert image_size(path) == SHOWN[orientation](stored).shape[:2]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("orientation", SHOWN)
def test_pngs_too(tmp_path: Path, orientation: int, late: bool) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(Image.fromarray(STORED), orientation, late=late))
    np.testing.assert_array_equal(read_image(path), SHOWN[orientation](STORED))
    assert image_size(path) == SHOWN[orientation](STORED).shape[:2]


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_means_nothing_is_none(tmp_path: Path, orientation: int) -> None:
    (tmp_path / "a.png").write_bytes(png(Image.fromarray(STORED), orientation))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), STORED)


def test_damaged_metadata_turns_nothing_and_refuses_nothing(tmp_path: Path) -> None:
    raw = png(Image.fromarray(STORED), 6)
    odd = raw.replace(tiff(6), b"XX" + tiff(6)[2:])
    at = odd.index(b"eXIf")
    size = 4 + len(tiff(6))
    odd = (
        odd[: at + size] + struct.pack(">I", zlib.crc32(odd[at : at + size])) + odd[at + size + 4 :]
    )
    (tmp_path / "a.png").write_bytes(odd)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), STORED)
    assert image_size(tmp_path / "a.png") == STORED.shape[:2]


@pytest.mark.parametrize("orientation", SHOWN)
def test_a_sample_lies_under_its_mask_as_labelling_tools_show_it(
    tree: Tree, orientation: int
) -> None:
    """The mask is red where the shown image is; both have colours that JPEG keeps apart."""
    labels = np.zeros((16, 32), np.uint8)
    labels[:8, :16] = 15
    stored = np.full((16, 32, 3), 40, np.uint8)
    stored[:8, :16] = 220
    tree.image("a").write_bytes(jpeg(stored, orientation))
    tree.write_mask(tree.mask("a"), SHOWN[orientation](labels))
    sample = seglab.VOCSegmentation(tree.root, year=2007, split="train")[0]
    bright = sample.image.float().mean(0) > 128
    assert bright.equal(sample.class_map == 15)


def test_a_masks_own_orientation_counts_too(tree: Tree) -> None:
    labels = np.random.default_rng(1).integers(0, 21, (9, 6), dtype=np.uint8)
    shown = SHOWN[6](labels)
    with Image.open(tree.mask("a")) as mask:
        assert shown.shape == (mask.height, mask.width)
    tree.mask("a").write_bytes(png(Image.fromarray(labels), 6))
    sample = seglab.VOCSegmentation(tree.root, year=2007)[0]
    np.testing.assert_array_equal(sample.class_map, shown)


def test_a_mask_that_only_fits_the_stored_image_is_an_error_with_a_way_out(tree: Tree) -> None:
    tree.image("a").write_bytes(jpeg(STORED, 6))  # stored with 9x6 pixels, as its mask
    with pytest.raises(DataError) as caught:
        seglab.VOCSegmentation(tree.root, year=2007)[0]
    text = str(caught.value)
    assert text.startswith(f"{tree.mask('a')}: 9x6 pixels, as {tree.image('a')} is stored")
    assert "orientation (6) shows it with 6x9" in text
    assert "turn the mask, or remove" in text


def test_images_to_predict_are_shown_upright_in_batches_of_their_shown_size(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(Image.fromarray(STORED), 1))
    (tmp_path / "b.png").write_bytes(png(Image.fromarray(STORED), 6, late=True))
    (tmp_path / "c.png").write_bytes(png(Image.fromarray(STORED), 8))
    batches = ImageBatches([tmp_path / f"{name}.png" for name in "abc"], 4)
    pixels = {
        ids: image for batch in batches for ids, image in zip(batch.ids, batch.image, strict=True)
    }
    for name, orientation in (("a", 1), ("b", 6), ("c", 8)):
        np.testing.assert_array_equal(pixels[name].permute(1, 2, 0), SHOWN[orientation](STORED))
    assert len(batches) == 2


def turn(path: Path, orientation: int) -> None:
    """Give a JPEG an EXIF orientation; its pixels stay as they are stored."""
    raw = path.read_bytes()
    block = b"Exif\0\0" + tiff(orientation)
    path.write_bytes(raw[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + raw[2:])


def test_masks_that_fit_either_way_are_listed_by_the_check_and_counted_by_a_run(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    from seglab.data.synthetic import SyntheticSpec, write_tree

    write_tree(tmp_path / "data", SyntheticSpec(train=8, val=5, width=64, height=48))
    images = tmp_path / "data/VOC2007/JPEGImages"
    turn(images / "000002.jpg", 3)
    turn(images / "000010.jpg", 2)
    turn(images / "000003.jpg", 1)
    checked = seglab_cli("data", "check", "data=voc2007", "data.root=data")
    assert checked.code == 0
    notes = [
        line for line in checked.out.splitlines() if line.startswith("note: ") and "EXIF" in line
    ]
    assert [Path(line.split(": ")[1]).name for line in notes] == ["000002.jpg", "000010.jpg"]
    tiny = [override for override in tiny if not override.startswith("data.synth")]
    for folder in ("run", "from-the-record"):
        answer = seglab_cli(
            "train", "data=voc2007", "data.root=data", *tiny, "trainer.max_epochs=1",
            f"hydra.run.dir={folder}",
        )  # fmt: skip
        assert answer.code == 0, answer.err
        (line,) = [line for line in answer.out.splitlines() if "EXIF" in line]
        assert line.startswith("warning: 2 images, such as 000002, are rotated")

    turn(images / "000004.jpg", 8)
    checked = seglab_cli("data", "check", "data=voc2007", "data.root=data")
    assert checked.code == 1
    assert "000004.png: " in checked.out
    assert "EXIF orientation (8)" in checked.out


def test_predict_writes_class_maps_of_the_shown_size(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    answer = seglab_cli("train", *tiny, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    (tmp_path / "in").mkdir()
    large = np.random.default_rng(2).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    (tmp_path / "in/turned.png").write_bytes(png(Image.fromarray(large), 6))
    Image.fromarray(SHOWN[6](large)).save(tmp_path / "in/upright.png")
    answer = seglab_cli("predict", "checkpoint=run/checkpoints/last.ckpt", "input=in", "output=out")
    assert answer.code == 0, answer.err
    maps = []
    for name in ("turned", "upright"):
        with Image.open(tmp_path / f"out/{name}.png") as mask:
            maps.append(np.array(mask))
    assert maps[0].shape == (56, 40)
    np.testing.assert_array_equal(*maps)
    predictor = seglab.load(tmp_path / "run/checkpoints/last.ckpt")
    np.testing.assert_array_equal(predictor.predict(tmp_path / "in/turned.png"), maps[0])
