"""One file at a time: what is right is read exactly, what is wrong is one line with its name."""

from __future__ import annotations

import io
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from seglab.data.files import MAX_PIXELS, Box, image_size, read_boxes, read_image
from seglab.data.masks import LabelTable, read_mask
from seglab.errors import DataError

RGB = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 256, (7, 11), dtype=np.uint8)

ANNOTATION = """<?xml version="1.0" encoding="utf-8"?>
<annotation>
  <filename>a.jpg</filename>
  <object>
    <name>cat</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
    <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>3</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>
  </object>
  <object>
    <name> dog </name><occluded>1</occluded><difficult>1</difficult>
    <bndbox><xmin>4.5</xmin><ymin>5</ymin><xmax>6</xmax><ymax>7</ymax></bndbox>
  </object>
</annotation>
"""


def by_colour(colours: dict[tuple[int, int, int], int]) -> LabelTable:
    return LabelTable(None, colours, "labelmap.txt")


BLACK = by_colour({(0, 0, 0): 7})


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def palette_png(labels: np.ndarray = LABELS, **options: object) -> bytes:
    mask = Image.fromarray(labels)
    mask.putpalette(list(range(256)) * 3)
    return encoded(mask, "PNG", **options)


def bare_png(
    width: int, height: int, depth: int, colour: int, rows: bytes, stray: bytes = b""
) -> bytes:
    """A PNG without Pillow's help; ``stray`` lies between the two halves of its pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(rows)
    halves = chunk(b"IDAT", data[:4]) + stray + chunk(b"IDAT", data[4:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + halves + chunk(b"IEND", b"")


def refused(read: Callable[[Path], object], path: Path) -> str:
    """Return the one line with which ``path`` is refused."""
    with pytest.raises(DataError) as caught:
        read(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line.removeprefix(f"{path}: ")


def read_labels(path: Path) -> np.ndarray:
    return read_mask(path)


def test_an_image_is_its_rgb_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(RGB), "PNG"))
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, RGB)
    assert image_size(path) == (7, 11)


def test_any_kind_of_picture_becomes_rgb(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    grey = Image.fromarray(RGB[..., 0])
    path.write_bytes(encoded(grey, "PNG"))
    np.testing.assert_array_equal(read_image(path), RGB[..., :1].repeat(3, 2))
    path.write_bytes(encoded(grey, "JPEG"))
    pixels = read_image(path)
    assert (pixels == pixels[..., :1]).all()
    rgba = np.dstack([RGB, LABELS])
    path.write_bytes(encoded(Image.fromarray(rgba), "PNG"))
    np.testing.assert_array_equal(read_image(path), RGB)
    path.write_bytes(palette_png(transparency=bytes([0, 128, 255])))  # Pillow warns of these
    np.testing.assert_array_equal(
        read_image(path), np.array([*range(256)] * 3, np.uint8).reshape(256, 3)[LABELS]
    )
    red = Image.new("RGB", (8, 8), (200, 30, 30)).convert("CMYK")
    path.write_bytes(encoded(red, "JPEG", quality=95))
    with Image.open(path) as picture:
        assert picture.mode == "CMYK"
    assert np.abs(read_image(path).astype(int) - (200, 30, 30)).max() <= 4


def test_16_bit_images_are_refused_rather_than_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(LABELS.astype(np.uint16) * 257), "PNG"))
    assert "more than 8 bits per channel" in refused(read_image, path)
    assert "give data.value_range=[LOW,HIGH]" in refused(read_image, path)


@pytest.mark.parametrize("read", [read_image, read_labels, image_size, read_boxes])
def test_missing_and_foreign_files(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "a.png"
    assert "o such file" in refused(read, path)
    for content in (b"", b"hello", b"<a>", RGB.tobytes()):
        path.write_bytes(content)
        refused(read, path)
    path.unlink()
    path.mkdir()
    refused(read, path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_images(tmp_path: Path, kind: str) -> None:
    whole = encoded(Image.fromarray(RGB.repeat(9, 0)), kind)
    path = tmp_path / "a.jpg"
    for length in (len(whole) // 2, len(whole) * 3 // 4):
        path.write_bytes(whole[:length])
        assert "cannot be decoded: " in refused(read_image, path)


def test_truncated_masks(tmp_path: Path) -> None:
    whole = palette_png(LABELS.repeat(9, 0))
    path = tmp_path / "a.png"
    path.write_bytes(whole[: len(whole) * 3 // 4])
    assert "cannot be decoded: " in refused(read_labels, path)


def test_a_damaged_chunk(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    whole = palette_png()
    path.write_bytes(whole.replace(b"IHDR", b"IHdr"))
    assert "not a PNG file" in refused(read_labels, path)
    path.write_bytes(bare_png(8, 8, 8, 0, bytes(72)))
    assert not read_labels(path).any()
    path.write_bytes(bare_png(8, 8, 8, 0, bytes(72), stray=b"\0\0\0\0\0\1\2\3zzzz"))
    assert "broken PNG file" in refused(read_labels, path)


def test_a_flipped_bit_in_a_pngs_pixels_is_noticed(tmp_path: Path) -> None:
    """Pillow decodes some of these to other pixels, without a word."""
    path = tmp_path / "a.png"
    whole = encoded(Image.fromarray(RGB.repeat(8, 0).repeat(8, 1)), "PNG")
    start = whole.index(b"IDAT") + 4
    unnoticed = 0
    for at in range(start, whole.index(b"IEND") - 8):
        flipped = bytearray(whole)
        flipped[at] ^= 4
        path.write_bytes(flipped)
        with suppress(OSError, SyntaxError, ValueError), Image.open(path) as picture:
            picture.load()
            unnoticed += 1
        assert "cannot be decoded: " in refused(read_image, path)
    assert unnoticed, "Pillow looks at checksums now: no need to do it for it"


def test_only_pictures_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    assert "not a picture file" in refused(read_image, path)
    path.write_bytes(encoded(Image.fromarray(LABELS), "JPEG"))
    read_image(path)
    assert "not a PNG file" in refused(read_labels, path)  # its labels would be blurred


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (100_000, 1000), (60_000, 60_000)])
@pytest.mark.parametrize("read", [read_image, read_labels, image_size])
def test_huge_pictures_are_refused_before_they_are_decoded(
    tmp_path: Path, width: int, height: int, read: Callable[[Path], object]
) -> None:
    assert width * height > MAX_PIXELS
    path = tmp_path / "a.png"
    path.write_bytes(bare_png(width, height, 8, 0, b""))  # decoded, it would say 'truncated'
    said = refused(read, path)
    assert "pixels" in said
    assert "truncated" not in said


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_mask_holds_the_labels(tmp_path: Path, bits: int) -> None:
    labels = LABELS & (2**bits - 1)
    path = tmp_path / "a.png"
    path.write_bytes(palette_png(labels, bits=bits))
    np.testing.assert_array_equal(read_mask(path), labels)
    assert read_mask(path, BLACK).dtype == np.uint8  # labels already: no colours asked
    np.testing.assert_array_equal(read_mask(path, BLACK), labels)


def test_a_greyscale_mask_holds_the_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(LABELS), "PNG"))
    np.testing.assert_array_equal(read_mask(path), LABELS)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_greyscale_of_few_bits_is_refused_rather_than_stretched(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bare_png(8 // depth, 1, depth, 0, b"\0" + bytes([0b01010101])))
    assert "8-bit palette or greyscale PNG" in refused(read_labels, path)


def test_16_bit_masks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(LABELS.astype(np.uint16)), "PNG"))
    assert "mode I;16" in refused(read_labels, path)


def test_rgb_masks_need_a_label_map(tmp_path: Path) -> None:
    colours = {(0, 0, 0): 0, (0, 0, 1): 3, (1, 0, 0): 5, (224, 224, 192): 255}
    table = np.array(list(colours), np.uint8)
    choice = LABELS % 4
    path = tmp_path / "a.png"
    for pixels in (table[choice], np.dstack([table[choice], LABELS])):
        path.write_bytes(encoded(Image.fromarray(pixels), "PNG"))
        assert "labelmap.txt" in refused(read_labels, path)
        np.testing.assert_array_equal(
            read_mask(path, by_colour(colours)),
            np.array(list(colours.values()), np.uint8)[choice],
        )
    pixels = table[np.zeros((3, 4), int)]
    pixels[2, 1] = 9, 8, 7
    path.write_bytes(encoded(Image.fromarray(pixels), "PNG"))
    said = refused(lambda path: read_mask(path, by_colour(colours)), path)
    assert "colour (9, 8, 7) at row 2, column 1" in said


def test_boxes_become_0_based_and_half_open(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(ANNOTATION)
    assert read_boxes(path) == (
        Box("cat", 0, 1, 10, 3, truncated=True, pose="Left"),
        Box("dog", 3.5, 4, 6, 7, difficult=True, occluded=True),
    )
    path.write_text("<annotation/>")
    assert read_boxes(path) == ()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("<name>cat</name>", "", "without <name>"),
        ("<xmin>1</xmin><ymin>2</ymin>", "<ymin>2</ymin>", "without <xmin>"),
        ("<bndbox><xmin>4.5</xmin>", "<bbox/><bndbox>", "without <xmin>"),
        ("<ymax>7</ymax>", "<ymax>many</ymax>", "'many', not a number"),
        ("<ymax>7</ymax>", "<ymax>nan</ymax>", "'nan', not a number"),
        ("<ymax>7</ymax>", "<ymax>inf</ymax>", "'inf', not a number"),
        ("<ymax>7</ymax>", "<ymax/>", "'', not a number"),
        ("</annotation>", "", "not a well-formed annotation"),
        ("utf-8", "klingon", "not a well-formed annotation"),
        ("utf-8", "shift_jis", "not a well-formed annotation"),
    ],
)
def test_wrong_annotations(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "a.xml"
    assert ANNOTATION.count(old) == 1
    path.write_text(ANNOTATION.replace(old, new))
    assert says in refused(read_boxes, path)


@pytest.mark.parametrize(
    "declarations",
    [
        "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9)) + '<!ENTITY l0 "lol">',
        '<!ENTITY l9 SYSTEM "file:///etc/hostname">',
    ],
    ids=["billion laughs", "another file"],
)
def test_entities_are_refused(tmp_path: Path, declarations: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(
        f"<!DOCTYPE a [{declarations}]><annotation><object><name>&l9;</name></object></annotation>"
    )
    assert "EntitiesForbidden" in refused(read_boxes, path)


WHOLE: list[tuple[Callable[[Path], object], bytes]] = [
    (read_image, encoded(Image.fromarray(RGB), "JPEG")),
    (read_image, encoded(Image.fromarray(RGB), "JPEG", progressive=True)),
    (read_image, encoded(Image.fromarray(RGB), "PNG")),
    (read_labels, palette_png(transparency=b"\0\1", dpi=(72, 72))),
    (read_boxes, ANNOTATION.encode()),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_damage_gets_past_as_another_error(data: st.DataObject) -> None:
    read, whole = data.draw(st.sampled_from(WHOLE), label="file")
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4), label="wounds")):
        place = data.draw(st.integers(0, max(len(content) - 1, 0)), label="place")
        gone = data.draw(st.integers(0, 12), label="gone")
        content[place : place + gone] = data.draw(st.binary(max_size=8), label="new")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damaged metadata, which is not used
        path = Path(folder) / "file"
        path.write_bytes(content)
        said = f"{path}: "
        try:
            read(path)
        except DataError as error:
            said = str(error)
        assert said.startswith(f"{path}: ")
        assert "\n" not in said


def test_a_jpeg_of_countless_scans_is_refused(tmp_path: Path) -> None:
    """Each of them takes as long to decode as the picture, and a hundred bytes on the disk."""
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).resize((64, 64)).save(path, progressive=True)
    plain = path.read_bytes()
    read_image(path)
    last = plain.rindex(b"\xff\xda")
    path.write_bytes(plain[:-2] + plain[last:-2] * 100 + plain[-2:])
    with pytest.raises(DataError, match="more than 100 scans"):
        read_image(path)
