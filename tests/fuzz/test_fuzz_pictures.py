"""Pictures as they come: what is read is what another reader reads, all else is refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.bare_png import Unreadable, read_png
from helpers.damage import damaged
from helpers.fuzzing import check_line, fuzzed, trying
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seglab.data.check import problems
from seglab.data.classes import VOC_CLASSES, flat_palette
from seglab.data.dataset import VOCSegmentation
from seglab.data.files import image_size, read_image
from seglab.data.instances import find_instances
from seglab.errors import DataError

SIZE = (7, 11)
LABELS = np.random.default_rng(1).integers(0, 21, SIZE, dtype=np.uint8)

# torchvision 0.29 announces that its decoders move to torchcodec; here they are a second opinion.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning"),
    # Pillow's, of damaged EXIF, where a test opens a picture itself.
    pytest.mark.filterwarnings("ignore:Tag data larger than file", "ignore:Corrupt EXIF data"),
]


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def rotated(pixels: np.ndarray, orientation: int) -> bytes:
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = orientation
    return encoded(picture, "JPEG", exif=exif)


def huge(raw: bytes, width: int, height: int) -> bytes:
    """A PNG that claims another size, checksum and all."""
    head = b"IHDR" + struct.pack(">II", width, height) + raw[24:29]
    return raw[:12] + head + struct.pack(">I", zlib.crc32(head)) + raw[33:]


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    """A picture file of any kind, under whatever name, whole or not."""
    height = draw(st.sampled_from([0, 1, 2, 7, 17]))
    width = draw(st.sampled_from([1, 1, 3, 11, 16]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    pixels = rng.integers(0, 256, (max(height, 1), width, 4), dtype=np.uint8)
    rgb, grey = Image.fromarray(pixels[..., :3]), Image.fromarray(pixels[..., 0])
    kind = draw(
        st.sampled_from(
            [
                *("jpeg", "progressive", "grey", "cmyk", "rotated", "rgb", "rgba", "l", "la", "p"),
                *("clear", "wide", "bits", "animated", "interlaced", "gif", "bmp", "webp", "tiff"),
                *("ppm", "huge", "empty", "text"),
            ]
        )
    )
    palette = grey.copy()
    palette.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tolist())
    make = {
        "jpeg": lambda: encoded(rgb, "JPEG", quality=draw(st.integers(1, 100))),
        "progressive": lambda: encoded(rgb, "JPEG", progressive=True),
        "grey": lambda: encoded(grey, "JPEG"),
        "cmyk": lambda: encoded(rgb.convert("CMYK"), "JPEG"),
        "rotated": lambda: rotated(pixels[..., :3], draw(st.integers(0, 9))),
        "rgb": lambda: encoded(rgb, "PNG"),
        "rgba": lambda: encoded(Image.fromarray(pixels), "PNG"),
        "l": lambda: encoded(grey, "PNG"),
        "la": lambda: encoded(Image.fromarray(pixels[..., :2]), "PNG"),
        "p": lambda: encoded(palette, "PNG"),
        "clear": lambda: encoded(palette, "PNG", transparency=bytes(rng.integers(0, 256, 9))),
        "wide": lambda: encoded(Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), "PNG"),
        "bits": lambda: encoded(grey.convert("1"), "PNG"),
        "animated": lambda: encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)]),
        "interlaced": lambda: encoded(rgb, "PNG")[:28] + b"\1" + encoded(rgb, "PNG")[29:],
        "gif": lambda: encoded(palette, "GIF"),
        "bmp": lambda: encoded(rgb, "BMP"),
        "webp": lambda: encoded(rgb, "WEBP"),
        "tiff": lambda: encoded(rgb, "TIFF"),
        "ppm": lambda: encoded(rgb, "PPM"),
        "huge": lambda: huge(
            encoded(rgb, "PNG"),
            draw(st.sampled_from([0, 1, 30_000, 2**31 - 1, 2**32 - 1])),
            draw(st.sampled_from([0, 1, 30_000, 2**31 - 1])),
        ),
        "empty": lambda: b"",
        "text": lambda: draw(st.binary(max_size=40)),
    }
    return draw(damaged(make[kind]()))


def second_opinion(raw: bytes) -> np.ndarray | None:
    """Decode by other means; None where they do not know better."""
    from torchvision.io import ImageReadMode, decode_jpeg

    if raw[:2] == b"\xff\xd8":
        try:
            buffer = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
            upright = decode_jpeg(buffer, mode=ImageReadMode.RGB, apply_exif_orientation=True)
            return upright.permute(1, 2, 0).numpy()
        except RuntimeError:
            return None
    try:
        colour, samples, palette = read_png(raw)
    except Unreadable as error:
        if str(error) == "kind":
            return None
        raise
    if colour == 3:
        return np.pad(palette, ((0, 256 - len(palette)), (0, 0)))[samples[..., 0]]
    return samples[..., :3] if colour in (2, 6) else samples[..., :1].repeat(3, 2)


@fuzzed(60)
@given(raw=pictures())
def test_images(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(raw)
    with trying("images") as came_to:
        try:
            size = image_size(path)
            pixels = read_image(path)
        except DataError as error:
            check_line(error, path)
            came_to("refused")
            return
        assert pixels.dtype == np.uint8
        assert pixels.shape == (*size, 3)
        expected = second_opinion(raw)
        if expected is not None and not cmyk(raw):
            np.testing.assert_array_equal(pixels, expected)
        came_to("accepted")


def cmyk(raw: bytes) -> bool:
    """Tell ink from light: how inks become colours is a convention, and the two readers' differ."""
    with Image.open(io.BytesIO(raw)) as picture:
        return picture.mode == "CMYK"


@st.composite
def masks(draw: st.DrawFn) -> bytes:
    """A mask of any kind, often of the right size, with values that may be out of range."""
    size = draw(st.sampled_from([SIZE, SIZE, SIZE, (11, 7), (1, 1), (7, 12)]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    most = draw(st.sampled_from([2, 21, 21, 22, 256]))
    labels = rng.integers(0, most, size, dtype=np.uint8)
    if draw(st.booleans()):
        labels[labels == most - 1] = 255
    grey = Image.fromarray(labels)
    palette = grey.copy()
    palette.putpalette(flat_palette())
    kind = draw(st.sampled_from(["p", "p", "p", "bits", "l", "rgb", "la", "wide", "jpeg", "text"]))
    make = {
        "p": lambda: encoded(palette, "PNG"),
        "bits": lambda: encoded(palette, "PNG", bits=draw(st.sampled_from([1, 2, 4]))),
        "l": lambda: encoded(grey, "PNG"),
        "rgb": lambda: encoded(palette.convert("RGB"), "PNG"),
        "la": lambda: encoded(grey.convert("LA"), "PNG"),
        "wide": lambda: encoded(Image.fromarray(labels.astype(np.uint16)), "PNG"),
        "jpeg": lambda: encoded(grey, "JPEG"),
        "text": lambda: draw(st.binary(max_size=40)),
    }
    return draw(damaged(make[kind]()))


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A data set of one image, class map and instance map."""
    folder = tmp_path / "VOC2007"
    for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(LABELS).save(folder / "JPEGImages" / "a.jpg")
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    return folder


@fuzzed(60)
@given(class_map=masks(), instance_map=masks(), same=st.booleans())
def test_masks(voc: Path, class_map: bytes, instance_map: bytes, same: bool) -> None:
    if same:
        instance_map = class_map
    raw = {"SegmentationClass": class_map, "SegmentationObject": instance_map}
    for name, content in raw.items():
        (voc / name / "a.png").write_bytes(content)
    with trying("class and instance maps") as came_to:
        dataset = VOCSegmentation(voc.parent, 2007, instances=True)
        listed = list(problems(dataset))
        assert all("\n" not in problem and str(voc) in problem for problem in listed)
        try:
            sample = dataset[0]
        except DataError as error:
            check_line(error, voc)
            assert listed, "seglab data check says nothing of it"
            came_to("refused")
            return
        found = {"SegmentationClass": sample.class_map, "SegmentationObject": sample.instance_map}
        for name, pixels in found.items():
            assert pixels is not None
            _, expected, _ = read_png(raw[name])
            np.testing.assert_array_equal(pixels.numpy(), expected[..., 0])
        assert set(sample.class_map.unique().tolist()) <= {*range(len(VOC_CLASSES)), 255}
        objects = find_instances(sample.class_map, sample.instance_map)
        assert not (objects.masks & (sample.class_map == 255)).any()
        came_to("accepted")
