"""What prediction pictures show: exact colours, the right legend, no text cut off."""

from pathlib import Path
from typing import IO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from seglab.data.classes import VOC_CLASSES, VOID, palette
from seglab.drawing.pictures import (
    colourise,
    legend,
    overlay,
    panel,
    sample_sheet,
    save_class_map,
)

PAPER = (255, 255, 255)


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (height, width, 3), dtype=np.uint8)


def squares(height: int = 96, width: int = 128) -> np.ndarray:
    class_map = np.zeros((height, width), np.uint8)
    class_map[10:50, 20:60] = 15
    class_map[60:80, 70:110] = 7
    class_map[50:54, 20:60] = VOID
    return class_map


def colours(picture: Image.Image) -> set[tuple[int, int, int]]:
    counted = picture.getcolors(picture.width * picture.height)
    assert counted is not None
    return {colour for _, colour in counted}


def margins(picture: Image.Image, width: int = 8) -> set[tuple[int, int, int]]:
    pixels = np.asarray(picture)
    edges = (pixels[:width], pixels[-width:], pixels[:, :width], pixels[:, -width:])
    return {tuple(colour) for edge in edges for colour in edge.reshape(-1, 3).tolist()}


def test_colourise_gives_every_value_its_colour_of_the_palette() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    coloured = colourise(every)
    assert coloured.dtype == np.uint8
    assert [tuple(colour) for colour in coloured.reshape(-1, 3).tolist()] == palette()
    assert coloured[0, 15].tolist() == [192, 128, 128]  # person
    assert coloured[15, 15].tolist() == [224, 224, 192]  # void


def test_overlay_leaves_the_background_and_marks_the_rest() -> None:
    image, class_map = photo(96, 128), squares()
    drawn = np.asarray(overlay(image, class_map))
    assert np.array_equal(drawn[class_map == 0], image[class_map == 0])
    assert (drawn[class_map == VOID] != image[class_map == VOID]).any(axis=-1).all()
    assert drawn[10, 30].tolist() == [192, 128, 128]  # the outline has the class's own colour
    mixed = (image[30, 40].astype(float) + np.array([192, 128, 128])) / 2
    assert np.abs(drawn[30, 40] - mixed).max() <= 0.5


def test_overlay_of_strength_one_is_the_class_map_where_objects_are() -> None:
    image, class_map = photo(96, 128), squares()
    objects = (class_map != 0) & (class_map != VOID)
    drawn = np.asarray(overlay(image, class_map, alpha=1.0))
    assert np.array_equal(drawn[objects], colourise(class_map)[objects])


def test_void_is_told_from_every_class_and_from_the_background() -> None:
    gray = np.full((40, 40, 3), 90, np.uint8)
    void = np.asarray(overlay(gray, np.full((40, 40), VOID, np.uint8)))
    assert len({tuple(colour) for colour in void.reshape(-1, 3).tolist()}) == 2  # two stripes


def test_legend_names_what_occurs_in_any_map_once_and_void_last() -> None:
    truth = np.array([[0, 15], [VOID, 15]], np.uint8)
    prediction = np.array([[0, 3], [0, 15]], np.uint8)
    expected = [(0, "background"), (3, "bird"), (15, "person"), (VOID, "void")]
    assert legend(VOC_CLASSES, truth, prediction) == expected
    assert legend(VOC_CLASSES, prediction) == expected[:-1]


def test_legend_names_a_value_without_a_class_by_its_number() -> None:
    assert legend(["sky", "sea"], np.array([[1, 9]], np.uint8)) == [(1, "sea"), (9, "9")]


def test_panel_shows_small_pictures_three_times_as_large_in_exact_colours() -> None:
    image, truth = photo(96, 128), squares()
    prediction = np.zeros_like(truth)
    prediction[5:90, 5:90] = 12
    pixels = np.asarray(panel(image, truth, prediction, VOC_CLASSES, "000042 · mIoU 0.41"))
    # The text's size is 16 there, and so are the margin and the gaps between columns.
    corner = np.flatnonzero((pixels[:, 16 + 384 + 16] == 0).all(axis=-1))[0]
    for column, shown in enumerate((image, colourise(truth), colourise(prediction))):
        left = 16 + column * (384 + 16)
        part = pixels[corner : corner + 288, left : left + 384]
        assert np.array_equal(part, shown.repeat(3, axis=0).repeat(3, axis=1))


def test_panel_without_truth_has_a_column_less() -> None:
    image, class_map = photo(375, 500), squares(375, 500)
    with_truth = panel(image, class_map, class_map, VOC_CLASSES)
    without = panel(image, None, class_map, VOC_CLASSES)
    assert with_truth.width - without.width == 500 + 20
    assert with_truth.height == without.height


def test_panel_shrinks_very_large_images() -> None:
    picture = panel(photo(1500, 3000), None, np.zeros((1500, 3000), np.uint8), VOC_CLASSES)
    assert 2000 < picture.width < 2200
    assert picture.height < 800


def test_panel_of_all_classes_shows_every_swatch_within_the_margins() -> None:
    every = np.array([*range(len(VOC_CLASSES)), VOID], np.uint8).reshape(2, 11)
    picture = panel(photo(2, 11), every, every, VOC_CLASSES, "every class")
    assert {palette()[value] for value in every.ravel()} <= colours(picture)
    assert margins(picture) == {PAPER}


def test_long_names_and_titles_wrap_or_widen_but_are_not_cut() -> None:
    names = ["background", "one-very-long-name-without-any-space" * 3, *"abcdefghijklmn"]
    class_map = np.arange(16, dtype=np.uint8).reshape(4, 4)
    short = panel(photo(4, 4), None, class_map, names)
    long = panel(photo(4, 4), None, class_map, names, "a title of many words " * 20)
    assert margins(long) == margins(short) == {PAPER}
    assert long.width == short.width
    assert long.height > short.height
    wide = panel(photo(4, 4), None, class_map, names, "word" * 200)
    assert wide.width > short.width
    assert margins(wide) == {PAPER}


def test_sample_sheet_draws_boxes_instances_and_legend() -> None:
    image, class_map = photo(96, 128), squares()
    instances = np.where(class_map == 15, 1, np.where(class_map == 7, 2, class_map))
    instances = instances.astype(np.uint8)
    boxes = [("person", 20, 10, 60, 50), ("car", 70, 60, 110, 80)]
    sheet = sample_sheet(image, class_map, instances, VOC_CLASSES, boxes, "000042")
    bare = sample_sheet(image, class_map, None, VOC_CLASSES, (), "000042")
    assert sheet.width - bare.width == 384 + 16
    pixels, plain = np.asarray(sheet), np.asarray(bare)
    changed = (pixels[:, : 16 + 384] != plain[:, : 16 + 384]).any(axis=-1)
    assert changed.any()
    drawn = {tuple(colour) for colour in pixels[:, : 16 + 384][changed].tolist()}
    assert {palette()[15], palette()[7], PAPER} <= drawn
    third = sheet.crop((16 + 2 * (384 + 16), 0, sheet.width, sheet.height))
    second = sheet.crop((16 + 384 + 16, 0, 16 + 384 + 16 + 384, sheet.height))
    assert palette()[VOID] in colours(third)
    assert not {palette()[15], palette()[7], palette()[1], palette()[2]} & colours(third)
    assert {palette()[15], palette()[7], palette()[VOID]} <= colours(second)


@pytest.mark.parametrize(
    "box", [(-50, -50, -10, -10), (500, 500, 900, 900), (5, 5, 5, 5), (9, 9, 2, 2), (0, 0, 16, 12)]
)
def test_boxes_may_lie_anywhere(box: tuple[int, int, int, int]) -> None:
    class_map = np.zeros((12, 16), np.uint8)
    boxes = [("person", *box), ("no such class\nat all", *box), ("x" * 500, *box)]
    sheet = sample_sheet(photo(12, 16), class_map, class_map, VOC_CLASSES, boxes)
    assert margins(sheet) == {PAPER}


def test_save_class_map_round_trip(tmp_path: Path) -> None:
    every = np.arange(256, dtype=np.uint8).reshape(8, 32)
    path = tmp_path / "a.b.png"
    save_class_map(np.zeros((2, 2), np.uint8), path)
    save_class_map(every.T, path)  # replaces, and takes an array that is not contiguous
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.asarray(picture), every.T)
        assert np.array_equal(np.asarray(picture.convert("RGB")), colourise(every.T))
    assert list(tmp_path.iterdir()) == [path]


def test_save_class_map_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    save_class_map(squares(), path)
    before = path.read_bytes()

    def save(self: Image.Image, target: IO[bytes], **kwargs: object) -> None:
        target.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="no space"):
        save_class_map(squares() + 1, path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


class_maps = hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)))
any_text = st.text(st.characters(), max_size=30)  # line breaks and lone surrogates included


@settings(max_examples=40, deadline=None)
@given(class_maps, st.lists(any_text, min_size=1, max_size=30), any_text)
def test_any_size_and_any_text(class_map: np.ndarray, names: list[str], title: str) -> None:
    image = photo(*class_map.shape)
    drawn = np.asarray(overlay(image, class_map))
    assert drawn.shape == image.shape
    assert np.array_equal(drawn[class_map == 0], image[class_map == 0])
    boxes = [(names[0], 0.5, 0.5, 7.25, 3.5)]
    for picture in (
        panel(image, class_map, class_map, names, title),
        sample_sheet(image, class_map, class_map, names, boxes, title),
    ):
        assert picture.mode == "RGB"
        assert {palette()[value] for value in np.unique(class_map)} <= colours(picture)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (1000, 1), (1, 5000), (333, 500)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    class_map = np.full(shape, 3, np.uint8)
    picture = panel(photo(*shape), class_map, class_map, VOC_CLASSES, "odd")
    assert margins(picture) == {PAPER}
